"""The servers that tests start for themselves: they start, fall silent, die, come back and go."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "servers" / "servers.py"
sys.path.insert(0, str(SCRIPT.parent))

import servers  # noqa: E402

KINDS = list(servers.KINDS)


def started(name: str) -> servers.Server:
    try:
        server = servers.KINDS[name](fast=True)
    except servers.Unavailable as reason:
        pytest.skip(str(reason))
    server.start()
    return server


def answers(server: servers.Server, seconds: float = 1.0) -> bool:
    """Whether it says anything: MariaDB greets, PostgreSQL answers a request for TLS."""
    with socket.socket() as probe:
        probe.settimeout(seconds)
        try:
            probe.connect(("127.0.0.1", server.port))
            if server.name == "postgresql":
                probe.sendall(bytes([0, 0, 0, 8, 4, 210, 22, 47]))
            return len(probe.recv(1)) == 1
        except OSError:
            return False


@pytest.mark.parametrize("name", KINDS)
def test_life(name: str) -> None:
    began = time.monotonic()
    server = started(name)
    try:
        assert time.monotonic() - began < 10
        assert answers(server)
        assert str(server.port) in server.url
        server.stop()
        assert not answers(server, 0.3)
        server.cont()
        assert answers(server)
        server.kill()
        assert not answers(server)
        server.start()
        assert answers(server)
        server.start()  # it runs already
    finally:
        server.close()
    assert not answers(server)
    assert not server.folder.exists()
    server.close()  # once more does nothing


@pytest.mark.parametrize("name", KINDS)
def test_closes_while_stopped(name: str) -> None:
    server = started(name)
    server.stop()
    server.close()
    assert server.process is not None
    assert server.process.poll() is not None


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(SCRIPT), *arguments]


def test_command_passes_the_exit_code() -> None:
    code = "import os, sys; sys.exit(5 if 'ORM_TEST_POSTGRESQL_URL' in os.environ else 6)"
    done = subprocess.run(command("postgresql", "--fast", "--", sys.executable, "-c", code))
    assert done.returncode in (5, servers.SKIPPED)


def test_command_without_a_server_is_skipped(tmp_path: Path) -> None:
    code = (
        "import sys, servers;"
        "servers._find_program = lambda n, *f: (_ for _ in ()).throw(servers.Unavailable(n));"
        "sys.exit(servers.main(['mariadb', '--', 'false']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == servers.SKIPPED
    assert "mariadb: skipped: mariadbd" in done.stderr


def test_a_signal_ends_the_servers(tmp_path: Path) -> None:
    url = tmp_path / "url"
    script = f"echo $ORM_TEST_POSTGRESQL_URL > {url}; exec sleep 60"
    running = subprocess.Popen(command("postgresql", "--fast", "--", "sh", "-c", script))
    deadline = time.monotonic() + 20
    while not (url.exists() and url.read_text().strip()) and running.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if running.poll() == servers.SKIPPED:
        pytest.skip("PostgreSQL is not installed")
    port = int(url.read_text().rsplit(":", 1)[1].split("/")[0])
    running.send_signal(signal.SIGTERM)
    assert running.wait(20) == 128 + signal.SIGTERM
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
