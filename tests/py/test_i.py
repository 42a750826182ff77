"""Group I: TLS, servers that mean ill, and passwords that are nowhere to be read."""

import asyncio
import contextlib
import logging
import socket
import struct
import subprocess
import sys
import threading
import traceback
from types import SimpleNamespace
from urllib.parse import quote, urlsplit

import pytest

import orm
from tests.py.conftest import World
from tests.servers import certificates, servers

REFUSED = (orm.TLSError, orm.ConnectError)


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """A server with TLS, whose certificate is good for 127.0.0.1 and signed by `ca`."""
    if World.kind == "sqlite":
        pytest.skip("about servers")
    if not certificates.Authority.is_available():
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    ca, other = certificates.Authority(folder), certificates.Authority(folder, "other")
    server = servers.KINDS[World.kind](fast=True)
    try:
        server.give_certificate(*ca.issue("good", "IP:127.0.0.1"))
        server.start()
        yield SimpleNamespace(server=server, ca=ca, other=other, url=server.url)
    finally:
        server.close()


@contextlib.asynccontextmanager
async def opened(url, **options):
    database = orm.Database(url, max_size=1, connect_timeout=20, **options)
    try:
        yield database
    finally:
        await database.disconnect()


async def is_encrypted(url, **options):
    async with opened(url, **options) as database:
        if World.kind == "postgresql":
            sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            return await database.fetch_val(sql)
        return (await database.fetch_one("SHOW STATUS LIKE 'Ssl_cipher'"))[1] != ""


async def assert_refused(url, error=orm.TLSError, **options):
    async with opened(url, **options) as database:
        with pytest.raises(error) as caught:
            await database.fetch_val("SELECT 1")
        assert urlsplit(url).password not in str(caught.value)


# ---- certificates


async def test_I1_who_asks_for_tls_gets_it_verified(secure, world):
    root = {"ssl_ca": str(secure.ca.certificate)}
    assert await is_encrypted(secure.url, ssl="true", **root) is True
    assert await is_encrypted(secure.url, ssl="verify-full", **root) is True
    assert await is_encrypted(secure.url, **root) is True  # who names a CA wants it
    assert await is_encrypted(secure.url, ssl="require") is True
    assert await is_encrypted(secure.url, ssl="disable") is False


@pytest.mark.parametrize("options", [{"ssl": "true"}, {"ssl": "verify-full"}, {}])
async def test_I1_a_ca_that_nobody_knows(secure, world, options):
    await assert_refused(secure.url, ssl_ca=str(secure.other.certificate), **options)


async def test_I1_a_ca_that_the_system_does_not_know(secure, world):
    await assert_refused(secure.url, ssl="true", error=REFUSED)


async def test_I1_a_certificate_for_another_host(secure, world):
    url = secure.url.replace("127.0.0.1", "localhost")
    assert await is_encrypted(url, ssl="require") is True
    await assert_refused(url, ssl="true", ssl_ca=str(secure.ca.certificate))


async def test_I1_a_certificate_that_has_expired(secure, world):
    good = (secure.ca.folder / "good.crt", secure.ca.folder / "good.key")
    expired = secure.ca.issue("expired", "IP:127.0.0.1", days=-1)
    for pair, fails in ((expired, True), (good, False)):
        await asyncio.to_thread(secure.server.kill)
        secure.server.give_certificate(*pair)
        await asyncio.to_thread(secure.server.start)
        if fails:
            await assert_refused(secure.url, ssl="true", ssl_ca=str(secure.ca.certificate))
        else:
            assert await is_encrypted(secure.url, ssl="true", ssl_ca=str(secure.ca.certificate))


# ---- certificates of other shapes

SHAPES = [  # its name, its alternative names; for whom it is good, and for whom not
    ("CN=elsewhere.example", "", [], ["127.0.0.1", "localhost"]),
    ("CN=server", "IP:127.0.0.2", [], ["127.0.0.1", "localhost"]),
    ("CN=server", "DNS:localhost", ["localhost"], ["127.0.0.1"]),
    # without other names the client libraries go by the common name (docs/postgresql.md)
    ("CN=localhost", "", ["localhost"], ["127.0.0.1"]),
    ("CN=server", "DNS:localhost,IP:127.0.0.1", ["localhost", "127.0.0.1"], []),
]


async def present(secure, name, subject, alternative):
    """The server shows another certificate of the CA from now on."""
    pair = secure.ca.issue(name, alternative, subject=subject)
    await asyncio.to_thread(secure.server.kill)
    secure.server.give_certificate(*pair)
    await asyncio.to_thread(secure.server.start)


async def test_I1_names_and_addresses_of_a_certificate(secure, world):
    """A name of the CA's own that is not the host's is refused, and nobody falls back to plain
    text."""
    root = {"ssl": "verify-full", "ssl_ca": str(secure.ca.certificate)}
    try:
        for number, (subject, alternative, good, bad) in enumerate(SHAPES):
            await present(secure, f"shape{number}", subject, alternative)
            for host in good:
                assert await is_encrypted(secure.url.replace("127.0.0.1", host), **root) is True
            for host in bad:
                await assert_refused(secure.url.replace("127.0.0.1", host), **root)
    finally:
        await present(secure, "again", "CN=server", "IP:127.0.0.1")


async def test_I1_a_file_that_is_not_there(secure, world):
    await assert_refused(secure.url, ssl="true", ssl_ca="/nonexistent/ca.crt", error=orm.Error)


async def test_a_word_that_ssl_does_not_have(world):
    if world.kind == "sqlite":
        pytest.skip("about servers")
    for options in ({"ssl": "perhaps"}, {"ssl": "verify"}):
        async with opened(world.url, **options) as database:
            with pytest.raises(orm.ConfigurationError, match="expected"):
                await database.fetch_val("SELECT 1")


async def test_channel_binding(secure, world):
    if world.kind != "postgresql":
        pytest.skip("PostgreSQL's")
    root = {"ssl_ca": str(secure.ca.certificate), "channel_binding": "require"}
    assert await is_encrypted(secure.url, **root) is True
    await assert_refused(secure.url, ssl="disable", channel_binding="require", error=orm.Error)
    async with opened(secure.url, channel_binding="maybe") as database:
        with pytest.raises(orm.ConfigurationError, match="channel_binding"):
            await database.fetch_val("SELECT 1")


# ---- servers that mean ill: what they are sent stands in `received`


class Rogue:
    """Listens on the loopback address and runs `answer(self, connection)` for each caller."""

    def __init__(self, answer):
        self.answer, self.received = answer, b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with connection, contextlib.suppress(OSError, EOFError):
                    connection.settimeout(20)
                    self.answer(self, connection)
                    connection.settimeout(1)  # whoever waits for more gets the end
                    while data := connection.recv(65536):
                        self.received += data

    def read(self, connection, size):
        data = b""
        while len(data) < size:
            part = connection.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        self.received += data
        return data

    def packet(self, connection):
        """MariaDB's framing: three bytes of length, one of order."""
        header = self.read(connection, 4)
        return self.read(connection, int.from_bytes(header[:3], "little")), header[3]

    @staticmethod
    def send(connection, order, payload):
        connection.sendall(len(payload).to_bytes(3, "little") + bytes([order]) + payload)


@contextlib.contextmanager
def rogue(answer):
    one = Rogue(answer)
    try:
        yield one
    finally:
        # wakes accept()
        with contextlib.suppress(OSError):
            one.listener.shutdown(socket.SHUT_RDWR)
        one.listener.close()
        one.thread.join(30)


def url_of(world, port):
    return f"{world.kind}://someone:canary-X19@127.0.0.1:{port}/db"


def greeting(capabilities):
    """MariaDB's first packet."""
    low, high = capabilities & 0xFFFF, capabilities >> 16
    return (
        b"\x0a10.11.0-MariaDB\0" + struct.pack("<I", 7) + b"12345678\0" + struct.pack("<H", low)
        + b"\x2d" + struct.pack("<HH", 2, high) + bytes([21]) + b"\0" * 10
        + b"123456789012\0" + b"mysql_native_password\0"
    )  # fmt: skip


PROTOCOL_41, SECURE, PLUGIN, CONNECT_DB = 0x200, 0x8000, 0x80000, 0x8
BASE = PROTOCOL_41 | SECURE | PLUGIN | CONNECT_DB | 0x1
SSL, LOCAL_FILES, MULTI_STATEMENTS = 0x800, 0x80, 0x10000
OK = b"\0\0\0\2\0\0\0"


def no_tls(self, connection):
    """Says that it has no TLS, as who strips it would."""
    if World.kind == "postgresql":
        self.read(connection, 8)
        connection.sendall(b"N")
    else:
        self.send(connection, 0, greeting(BASE))


def error_first(self, connection):
    """An error before TLS, that nobody has signed."""
    if World.kind == "postgresql":
        self.read(connection, 8)
        connection.sendall(b"E" + struct.pack(">I", 4 + 21) + b"SFATAL\0C28000\0Mevil\0\0")
    else:
        text = b"\xff" + struct.pack("<H", 1045) + b"#28000evil"
        self.send(connection, 0, text)


@pytest.mark.parametrize("mode", ["true", "require", "verify-full"])
@pytest.mark.parametrize("answer", [no_tls, error_first])
async def test_I2_tls_that_is_stripped_is_refused(world, mode, answer):
    if world.kind == "sqlite":
        pytest.skip("about servers")
    with rogue(answer) as server:
        await assert_refused(url_of(world, server.port), ssl=mode, error=orm.OperationalError)
    assert b"canary" not in server.received
    assert b"someone" not in server.received
    assert len(server.received) < 64  # nothing but the wish for TLS


async def test_I2_without_the_wish_for_tls_it_would_be_seen(world):
    """The control of the test above: what is sent in the clear does stand in `received`."""
    if world.kind == "sqlite":
        pytest.skip("about servers")
    with rogue(no_tls) as server:
        await assert_refused(url_of(world, server.port), ssl="disable", error=orm.OperationalError)
    assert b"someone" in server.received


async def test_I2_a_server_without_tls(world):
    if world.kind == "sqlite":
        pytest.skip("about servers")
    for mode in ("true", "require"):
        await assert_refused(world.url, ssl=mode)


def mariadb_session(self, connection, answer):
    """Lets anybody in; answer(command) gives the reply to each command, None ends it."""
    self.send(connection, 0, greeting(BASE | SSL | LOCAL_FILES | MULTI_STATEMENTS))
    login, order = self.packet(connection)
    self.flags = struct.unpack("<I", login[:4])[0]
    self.send(connection, order + 1, OK)
    while True:
        command, order = self.packet(connection)
        reply = answer(command)
        if reply is None:
            raise EOFError
        self.send(connection, order + 1, reply)


async def test_I3_a_server_that_asks_for_a_file_gets_nothing(world, folder):
    if world.kind != "mariadb":
        pytest.skip("LOCAL INFILE is MariaDB's")
    path = folder / "secret.txt"
    path.write_text("contents-of-a-file")
    asked = []

    def answer(command):
        asked.append(command)
        return b"\xfb" + str(path).encode()

    with rogue(lambda self, connection: mariadb_session(self, connection, answer)) as server:
        await assert_refused(url_of(world, server.port), error=orm.Error)
    assert asked, "the server was never asked: this shows nothing"
    assert b"contents-of" not in server.received
    assert not server.flags & LOCAL_FILES


async def test_I7_several_statements_at_once_are_off(world):
    if world.kind == "sqlite":
        pytest.skip("about servers")
    thing = world.fields()
    await world.create()
    for text in ("DELETE FROM thing; SELECT 1", "SELECT 1; DELETE FROM thing"):
        await thing.objects.create()
        with pytest.raises(orm.ProgrammingError):
            await world.database.execute(text)
        assert await thing.objects.count() > 0
    if world.kind == "mariadb":
        with rogue(lambda self, connection: mariadb_session(self, connection, lambda _: None)) as s:
            await assert_refused(url_of(world, s.port), error=orm.Error)
        assert not s.flags & MULTI_STATEMENTS


# ---- logins that never end

ENDLESS = """
import asyncio, os, sys, time, orm

async def main():
    database = orm.Database(sys.argv[1], connect_timeout=1, query_timeout=2)
    lag, over = 0.0, asyncio.Event()

    async def beat():
        nonlocal lag
        while not over.is_set():
            began = time.monotonic()
            await asyncio.sleep(0.01)
            lag = max(lag, time.monotonic() - began)

    heart = asyncio.create_task(beat())
    try:
        await database.fetch_val("SELECT 1")
    except orm.OperationalError as error:
        print(type(error).__name__)
    over.set()
    await heart
    assert lag < 10, lag
    await database.disconnect()

asyncio.run(main())
sys.stdout.flush()
os._exit(0)  # see docs/postgresql.md: a thread still hashes
"""


def scram_without_end(self, connection):
    """Asks for as many rounds of hashing as the field can say."""
    size = struct.unpack(">I", self.read(connection, 4))[0]
    if struct.unpack(">I", self.read(connection, 4))[0] == 80877103:  # wants TLS
        connection.sendall(b"N")
        size = struct.unpack(">I", self.read(connection, 4))[0] + 4 - 4
        self.read(connection, 4)
    self.read(connection, size - 8)
    mechanisms = b"SCRAM-SHA-256\0\0"
    connection.sendall(b"R" + struct.pack(">II", 8 + len(mechanisms), 10) + mechanisms)
    assert self.read(connection, 1) == b"p"
    first = self.read(connection, struct.unpack(">I", self.read(connection, 4))[0] - 4)
    nonce = first.rpartition(b"r=")[2]
    challenge = b"r=" + nonce + b"server,s=c2FsdHNhbHRzYWx0c2FsdA==,i=2147483647"
    connection.sendall(b"R" + struct.pack(">II", 8 + len(challenge), 11) + challenge)
    self.asked = True


def packet_without_end(self, connection):
    """A greeting of a GiB, of which some MiB come."""
    self.asked = True
    for order in range(2):
        connection.sendall(b"\xff\xff\xff" + bytes([order]))
        for _ in range(255):
            connection.sendall(b"\x0a" + b"x" * 65535)


def test_I4_a_login_that_never_ends(world, folder):
    """The loop goes on, and the deadline holds."""
    if world.kind == "sqlite":
        pytest.skip("about servers")
    (folder / "endless.py").write_text(ENDLESS)
    answer = scram_without_end if world.kind == "postgresql" else packet_without_end
    with rogue(answer) as server:
        server.asked = False
        ran = subprocess.run(
            [sys.executable, "endless.py", url_of(world, server.port)],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=folder,
        )
        assert server.asked
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() in ("ConnectError", "QueryTimeout", "ConnectionLost"), ran.stdout


# ---- passwords

CANARY = "canary/Zq81?&%"


def everything_that_shows(error):
    """All texts that a program could log of an error."""
    texts = traceback.format_exception(error)
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        texts += [str(error), repr(error), repr(error.args), repr(vars(error))]
        texts += getattr(error, "__notes__", [])
        error = error.__cause__ or error.__context__
    return "\n".join(map(str, texts))


async def test_I5_a_password_is_nowhere(world, caplog):
    if world.kind == "sqlite":
        pytest.skip("about servers")
    caplog.set_level(logging.DEBUG)
    parts = urlsplit(world.url)
    secret, where = quote(CANARY, safe=""), f"{parts.hostname}:{parts.port}{parts.path}"
    urls = {
        "a wrong password": f"{world.kind}://orm:{secret}@{where}",
        "a wrong user": f"{world.kind}://nobody:{secret}@{where}",
        "a wrong database": f"{world.kind}://orm:{secret}@{parts.hostname}:{parts.port}/nosuch",
        "a wrong port": f"{world.kind}://orm:{secret}@127.0.0.1:1/db",
        "no port at all": f"{world.kind}://orm:{secret}@127.0.0.1:port/db",
        "a wrong option": f"{world.kind}://orm:{secret}@{where}?ssl={secret}x",
        "an unknown option": f"{world.kind}://orm:{secret}@{where}?nosuch=1",
        "TLS": f"{world.kind}://orm:{secret}@{where}?ssl=true",
    }
    for what, url in urls.items():
        shown = ""
        try:
            database = orm.Database(url)
            shown = f"{database} {database!r} {database.url!r}"
            await database.fetch_val("SELECT 1")
        except orm.Error as error:
            shown += everything_that_shows(error)
        else:
            pytest.fail(f"{what} was accepted")
        for form in (CANARY, secret, "Zq81"):
            assert form not in shown.replace(f"ssl={secret}x", ""), what
    assert "Zq81" not in caplog.text
