#!/usr/bin/env python3
"""Database servers of the tests' own: made in a temporary folder, stopped by their pid.

As a command it starts one or all of them, runs another command and passes its exit code on:

    python tests/servers/servers.py postgresql -- meson test -C build
    python tests/servers/servers.py all --fast -- pytest tests/py

pgbouncer is a PostgreSQL behind a pooler of transactions; it is not part of "all".
The command finds the URLs in ORM_TEST_POSTGRESQL_URL and ORM_TEST_MARIADB_URL.  A server listens
on a free port of the loopback address and on a Unix socket in its folder.  Servers refuse to run
as root: started by root, they run as the user of their package (postgres, mysql) or as nobody.
Writes are durable as they are by default; --fast turns fsync off.

As a module, for tests of faults:

    with servers.running("postgresql") as server:
        server.stop()   # SIGSTOP: it falls silent
        server.cont()
        server.kill()   # SIGKILL of the whole server
        server.start()  # again, on the same data and the same port

Only the standard library is used.  What is missing on a machine is `Unavailable`, with the
reason; the command then exits with 77, which test runners take for "skipped".
"""

import argparse
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SKIPPED = 77
START_SECONDS = 30.0
STOP_SECONDS = 10.0


class Unavailable(Exception):
    """The server is not installed here."""


class StartError(Exception):
    """The server is installed and does not start; the text ends with its log."""


def _find_program(name: str, *folders: str) -> str:
    """The path of a program: on PATH, or in one of the folders (patterns, the newest first)."""
    found = shutil.which(name)
    if found:
        return found
    for pattern in folders:
        for folder in sorted(Path("/").glob(pattern.lstrip("/")), reverse=True):
            path = folder / name
            if path.exists():
                return str(path)
    raise Unavailable(f"{name} is not installed")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _find_user(*names: str) -> pwd.struct_passwd | None:
    """Whom the server runs as; None: whoever we are."""
    if os.geteuid() != 0:
        return None
    for name in (*names, "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise Unavailable("there is no unprivileged user to run the server as")


def _is_stopped(pid: int) -> bool:
    """Whether no thread of it runs any more; true when it is gone."""
    try:
        texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return all(text.rpartition(")")[2].split()[0] in "TtZX" for text in texts)


class Server:
    """One server.  `url` is valid from the first start on, also while the server is down."""

    name = ""
    variable = ""
    users: tuple[str, ...] = ()
    end_signal = signal.SIGTERM

    def __init__(self, *, fast: bool = False) -> None:
        self.fast = fast
        self.user = _find_user(*self.users)
        self.find_programs()
        self.folder = Path(tempfile.mkdtemp(prefix=f"orm-{self.name}-"))
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.password = secrets.token_hex(8)
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.tls = False  # offers it from the next start on, with certificate() of its folder
        if self.user:
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)

    # what the kinds of servers differ in

    def find_programs(self) -> None:
        raise NotImplementedError

    def initialize(self) -> None:
        """Makes the data folder."""
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    def prepare(self) -> None:
        """After the first start: user and database of the tests."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        raise NotImplementedError

    @property
    def certificate(self) -> tuple[Path, Path]:
        """Where its certificate and key have to lie for `tls`."""
        return self.folder / "server.crt", self.folder / "server.key"

    def give_certificate(self, certificate: Path, key: Path) -> None:
        """Copies it there; a server that runs has to be started anew."""
        for source, target in zip((certificate, key), self.certificate, strict=True):
            shutil.copy(source, target)
            target.chmod(0o600)
            if self.user:
                os.chown(target, self.user.pw_uid, self.user.pw_gid)
        self.tls = True

    # running programs as the server's user

    def _popen(self, command: list[str]) -> "subprocess.Popen[bytes]":
        with open(self.log, "ab") as log:
            if self.user:
                os.chown(self.log, self.user.pw_uid, self.user.pw_gid)
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "HOME": str(self.folder)},
                user=self.user.pw_uid if self.user else None,
                group=self.user.pw_gid if self.user else None,
                extra_groups=[] if self.user else None,
                start_new_session=True,
            )

    def _run(self, command: list[str]) -> None:
        if self._popen(command).wait() != 0:
            raise StartError(f"{Path(command[0]).name} failed:\n{self._log_tail()}")

    def _log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    # its life

    def start(self) -> None:
        """Starts it and returns when it answers; makes the data at the first time."""
        if self.process and self.process.poll() is None:
            return
        fresh = not self.data.exists()
        if fresh:
            self.initialize()
        self.process = self._popen(self.command())
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if self.process.poll() is not None:
                raise StartError(f"{self.name} ended at once:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise StartError(f"{self.name} does not answer:\n{self._log_tail()}")
            time.sleep(0.02)
        if fresh:
            self.prepare()

    def _pids(self) -> list[int]:
        """The server and its children: PostgreSQL's leave the process group of the first."""
        if self.process is None or self.process.poll() is not None:
            return []
        first = self.process.pid
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return [first, *map(int, children)]

    def _signal(self, number: int) -> None:
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """SIGKILL, of everything: as if the machine had lost power, but for its disks."""
        self._signal(signal.SIGKILL)
        if self.process:
            self.process.wait()

    def stop(self) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)
        until = time.monotonic() + STOP_SECONDS
        while not all(map(_is_stopped, self._pids())) and time.monotonic() < until:
            time.sleep(0.001)  # on a busy machine its threads answer for a while yet

    def cont(self) -> None:
        """SIGCONT, after stop()."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Ends it and removes its folder."""
        if self.process and self.process.poll() is None:
            self.cont()
            self.process.send_signal(self.end_signal)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class PostgreSQL(Server):
    name = "postgresql"
    variable = "ORM_TEST_POSTGRESQL_URL"
    users = ("postgres",)
    end_signal = signal.SIGQUIT  # at once: nobody needs its data any more

    def find_programs(self) -> None:
        folders = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin")
        self.initdb = _find_program("initdb", *folders)
        self.postgres = _find_program("postgres", *folders)

    def initialize(self) -> None:
        secret = self.folder / "password"
        secret.write_text(self.password)
        if self.user:
            os.chown(secret, self.user.pw_uid, self.user.pw_gid)
        self._run([
            self.initdb, "--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C",
            "--username=orm", f"--pwfile={secret}", "--auth=scram-sha-256",
            f"--pgdata={self.data}",
        ])  # fmt: skip
        secret.unlink()

    def command(self) -> list[str]:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "shared_buffers": "32MB",
            "max_connections": 60,
            "max_prepared_transactions": 4,
        }
        if self.fast:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        if self.tls:
            certificate, key = self.certificate
            settings |= {"ssl": "on", "ssl_cert_file": certificate, "ssl_key_file": key}
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return [self.postgres, "-D", str(self.data), *options]

    def is_ready(self) -> bool:
        """The eighth line of its pid file says so; no client is needed."""
        with contextlib.suppress(OSError):
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            if self.process is None or len(lines) < 8:  # it is still being written
                return False
            return lines[0].strip() == str(self.process.pid) and lines[7].strip() == "ready"
        return False

    def prepare(self) -> None:
        """Nothing: the first user is the tests', the database is the one that initdb makes."""

    @property
    def url(self) -> str:
        return f"postgresql://orm:{self.password}@127.0.0.1:{self.port}/postgres"


class MariaDB(Server):
    name = "mariadb"
    variable = "ORM_TEST_MARIADB_URL"
    users = ("mysql",)

    def find_programs(self) -> None:
        folders = ("/usr/sbin", "/usr/libexec", "/usr/local/mysql/bin")
        self.mariadbd = _find_program("mariadbd", *folders)
        self.install = _find_program("mariadb-install-db", "/usr/bin", *folders)

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    @property
    def init(self) -> Path:
        """What the first start runs before anybody can connect."""
        return self.folder / "init.sql"

    @property
    def scratch(self) -> Path:
        """Its own place for temporary files: servers of one machine must not meet in /tmp."""
        return self.folder / "tmp"

    def initialize(self) -> None:
        self.scratch.mkdir()
        self.init.write_text(
            "CREATE DATABASE orm;\n"
            f"CREATE USER orm@'%' IDENTIFIED BY '{self.password}';\n"
            f"CREATE USER orm@localhost IDENTIFIED BY '{self.password}';\n"
            "GRANT ALL ON *.* TO orm@'%' WITH GRANT OPTION;\n"
            "GRANT ALL ON *.* TO orm@localhost WITH GRANT OPTION;\n"
        )
        if self.user:
            for path in (self.init, self.scratch):
                os.chown(path, self.user.pw_uid, self.user.pw_gid)
        self._run([
            self.install, "--no-defaults", f"--datadir={self.data}", "--skip-test-db",
            f"--tmpdir={self.scratch}",
            "--auth-root-authentication-method=normal", "--skip-name-resolve",
            "--innodb-log-file-size=8M",
        ])  # fmt: skip

    def command(self) -> list[str]:
        command = [
            self.mariadbd, "--no-defaults", f"--datadir={self.data}", f"--socket={self.socket}",
            f"--tmpdir={self.scratch}", f"--port={self.port}", "--bind-address=127.0.0.1",
            "--skip-networking=0", f"--pid-file={self.folder / 'pid'}", "--skip-name-resolve",
            "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M",
            "--character-set-server=utf8mb4", "--max-connections=60", "--performance-schema=off",
        ]  # fmt: skip
        if self.init.exists():
            command.append(f"--init-file={self.init}")
        if self.tls:
            certificate, key = self.certificate
            command += [f"--ssl-cert={certificate}", f"--ssl-key={key}"]
        if self.fast:
            command += ["--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync"]
        return command

    def is_ready(self) -> bool:
        """It greets; whoever closes without an answer is logged and nothing else."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(str(self.socket))
            return len(probe.recv(5)) == 5
        return False

    def prepare(self) -> None:
        self.init.unlink()

    @property
    def url(self) -> str:
        return f"mariadb://orm:{self.password}@127.0.0.1:{self.port}/orm"


class PgBouncer(Server):
    """A pooler of transactions in front of a PostgreSQL of its own.

    Every transaction gets the session that has rested longest, so that what one leaves in its
    session is missed by the next.  Its URL stands where PostgreSQL's would.
    """

    name = "pgbouncer"
    variable = PostgreSQL.variable
    users = PostgreSQL.users

    def __init__(self, *, fast: bool = False) -> None:
        self.server = PostgreSQL(fast=fast)
        super().__init__(fast=fast)

    def find_programs(self) -> None:
        self.pgbouncer = _find_program("pgbouncer", "/usr/sbin", "/usr/local/bin")

    def initialize(self) -> None:
        self.data.mkdir()
        (self.data / "users").write_text(f'"orm" "{self.server.password}"\n')
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": self.data / "users",
            "pool_mode": "transaction",
            "server_round_robin": 1,
            "min_pool_size": 3,
            "default_pool_size": 20,
            "max_client_conn": 300,
            "log_connections": 0,
            "log_disconnections": 0,
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        target = f"postgres = host=127.0.0.1 port={self.server.port}"
        text = "\n".join(["[databases]", target, "[pgbouncer]", *lines, ""])
        (self.data / "pgbouncer.ini").write_text(text)
        for path in (self.data, *self.data.iterdir()):
            if self.user:
                os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def command(self) -> list[str]:
        return [self.pgbouncer, "--quiet", str(self.data / "pgbouncer.ini")]

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def prepare(self) -> None:
        """Nothing: the server behind it has all there is."""

    def start(self) -> None:
        self.server.start()
        super().start()

    def close(self) -> None:
        super().close()
        self.server.close()

    @property
    def pooled_url(self) -> str:
        """Without prepare=off: what goes wrong then is for tests."""
        return f"postgresql://orm:{self.server.password}@127.0.0.1:{self.port}/postgres"

    @property
    def url(self) -> str:
        return f"{self.pooled_url}?prepare=off"


KINDS: dict[str, type[Server]] = {"postgresql": PostgreSQL, "mariadb": MariaDB}
POOLERS: dict[str, type[Server]] = {"pgbouncer": PgBouncer}


@contextlib.contextmanager
def running(name: str, *, fast: bool = False) -> Iterator[Server]:
    """A server that has started; it is closed at the end of the block."""
    server = (KINDS | POOLERS)[name](fast=fast)
    try:
        server.start()
        yield server
    finally:
        server.close()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="starts database servers around a command")
    parser.add_argument("server", choices=[*KINDS, *POOLERS, "all"])
    parser.add_argument("--fast", action="store_true", help="no fsync")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- command …")
    options = parser.parse_args(arguments)
    command = options.command
    if "--fast" in command[: command.index("--") if "--" in command else 0]:
        options.fast = True
    if "--" in command:
        command = command[command.index("--") + 1 :]
    if not command:
        parser.error("no command")
    names = list(KINDS) if options.server == "all" else [options.server]
    # a signal ends the block, and with it the servers
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _frame: sys.exit(128 + got))
    with contextlib.ExitStack() as stack:
        environment = dict(os.environ)
        for name in names:
            try:
                server = stack.enter_context(running(name, fast=options.fast))
            except Unavailable as reason:
                print(f"{name}: skipped: {reason}", file=sys.stderr)
                if options.server != "all":
                    return SKIPPED
                continue
            except StartError as reason:
                print(f"{name}: {reason}", file=sys.stderr)
                return 1
            environment[server.variable] = server.url
        return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
