"""A proxy on the loopback address that misbehaves as it is told, for tests of faults.

    with FaultProxy(server.url) as proxy:
        database = orm.Database(proxy.url)
        proxy.stall()                    # a black hole: connections stay, nothing passes
        proxy.flow()                     # … and it all goes on
        proxy.cut()                      # every connection is reset (cut("close"): FIN)
        proxy.refuse() / proxy.listen()  # nobody listens / again
        proxy.faults = [Fault(at=100)]   # of connections from now on: a reset behind the 100th
                                         # byte from the server
        proxy.arm(Fault("client"))       # of those that are open, counted from now

A fault says in which stream it happens, behind how many bytes, and what:

    reset, close   both sides lose the connection (RST, FIN)
    stall          nothing passes any more, in either direction
    flip           one bit is wrong, everything else passes
    dribble        from there on the bytes come one at a time

What is cut from the client's stream is what the server never gets.
The proxy runs on a thread with an event loop of its own, so that it goes on while the loop of a
test is busy.  Only the standard library is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

CHUNK = 1 << 16
LINGER_NONE = struct.pack("ii", 1, 0)  # closing sends RST
START_SECONDS = 10


@dataclass
class Fault:
    """What happens behind the byte number `at` of one stream of a connection."""

    side: str = "server"  # whose bytes are counted: "server" or "client"
    at: int = 0
    do: str = "reset"
    bit: int = 0  # of flip


class Connection:
    """One client's connection, and ours to the server."""

    def __init__(self, proxy: FaultProxy, client: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.writers = [client]
        self.faults: list[Fault] = [Fault(**vars(fault)) for fault in proxy.faults]
        self.passed = {"client": 0, "server": 0}
        self.dribbles: set[str] = set()
        self.stalled = False
        self.over = asyncio.Event()

    def arm(self, fault: Fault) -> None:
        at = self.passed[fault.side] + fault.at
        self.faults.append(Fault(fault.side, at, fault.do, fault.bit))

    def end(self, how: str) -> None:
        self.over.set()
        for writer in self.writers:
            sock = writer.get_extra_info("socket")
            if how == "reset":
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
                writer.transport.abort()
            else:
                writer.close()

    def due(self, side: str, size: int) -> Fault | None:
        """The first fault that lies within the next `size` bytes of a stream."""
        at = self.passed[side]
        mine = [f for f in self.faults if f.side == side and at <= f.at < at + size]
        return min(mine, key=lambda fault: fault.at, default=None)

    async def send(self, writer: asyncio.StreamWriter, side: str, data: bytes) -> None:
        step = 1 if side in self.dribbles else len(data) or 1
        for start in range(0, len(data), step):
            writer.write(data[start : start + step])
            await writer.drain()
            if step == 1:
                await asyncio.sleep(0)
        self.passed[side] += len(data)

    async def strike(self, fault: Fault, writer: asyncio.StreamWriter, data: bytes) -> bytes:
        """The fault happens before `data`; what is left of it, to be passed on."""
        self.faults.remove(fault)
        if fault.do == "flip":
            first = bytes([data[0] ^ (1 << fault.bit)])
            await self.send(writer, fault.side, first)
            return data[1:]
        if fault.do == "dribble":
            self.dribbles.add(fault.side)
            return data
        if fault.do == "stall":
            self.stalled = True
            await self.over.wait()
        self.end("close" if fault.do == "close" else "reset")
        raise ConnectionResetError

    async def pump(
        self, side: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Passes the bytes of one side to the other."""
        while data := await reader.read(CHUNK):
            await self.proxy.flows.wait()
            if self.stalled:
                await self.over.wait()
            self.proxy.bytes[side] += len(data)
            while data:
                fault = self.due(side, len(data))
                if not fault:
                    await self.send(writer, side, data)
                    break
                good = fault.at - self.passed[side]
                await self.send(writer, side, data[:good])
                data = await self.strike(fault, writer, data[good:])
        await self.proxy.flows.wait()
        writer.write_eof()

    async def run(self, reader: asyncio.StreamReader) -> None:
        try:
            await self.proxy.flows.wait()
            far, writer = await asyncio.open_connection(*self.proxy.target)
            self.writers.append(writer)
            self.proxy._writers.append(writer)
            for each in self.writers:
                sock = each.get_extra_info("socket")
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.gather(
                self.pump("client", reader, writer), self.pump("server", far, self.writers[0])
            )
            self.end("close")
        except OSError:
            self.end("reset")


class FaultProxy:
    """See above.  Its methods may be called from any thread."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.target = (parts.hostname, parts.port)
        self.parts = parts
        self.faults: Iterable[Fault] = ()
        self.accepted = 0
        self.bytes = {"client": 0, "server": 0}  # of all connections, that have come
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, name="faultproxy", daemon=True)

    @property
    def url(self) -> str:
        """The server's, with the proxy in its place."""
        user = self.parts.netloc.rpartition("@")[0]
        return urlunsplit(self.parts._replace(netloc=f"{user}@127.0.0.1:{self.port}"))

    # ---- its thread

    def _main(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.flows, self.over = asyncio.Event(), asyncio.Event()
        self.flows.set()
        await self._listen()
        self._ready.set()
        await self.over.wait()
        await self._refuse()
        mine = {asyncio.current_task()}
        while asyncio.all_tasks() - mine - self._tasks:  # has been accepted, has not begun
            await asyncio.sleep(0)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()  # also one whose last bytes nobody reads
        await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self.accepted += 1
        self._writers.append(writer)
        connection = Connection(self, writer)
        self._open.add(connection)
        try:
            await connection.run(reader)
        except asyncio.CancelledError:
            connection.end("reset")
        finally:
            self._open.discard(connection)
            self._tasks.discard(task)

    async def _listen(self) -> None:
        if self._server:
            return
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self.port))
        self.port = sock.getsockname()[1]
        self._server = await asyncio.start_server(self._accept, sock=sock)

    async def _refuse(self) -> None:
        if self._server:
            self._server.close()
            self._server = None

    async def _do(self, function: Callable[..., None], *arguments: Any) -> None:
        function(*arguments)

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result(START_SECONDS)

    # ---- what it is told

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        assert self._ready.wait(START_SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._call(self._do(self.over.set))
        self._thread.join(START_SECONDS)

    def stall(self) -> None:
        """Nothing passes any more; connections are accepted and get no answer."""
        self._call(self._do(self.flows.clear))

    def flow(self) -> None:
        self._call(self._do(self.flows.set))

    def refuse(self) -> None:
        """Nobody listens; what is open stays so."""
        self._call(self._refuse())

    def listen(self) -> None:
        self._call(self._listen())

    def cut(self, how: str = "reset") -> int:
        """Ends every connection, and says how many there were."""
        connections = list(self._open)

        def end() -> None:
            for connection in connections:
                connection.end(how)

        self._call(self._do(end))
        return len(connections)

    def arm(self, fault: Fault) -> None:
        """The fault happens to every open connection; its bytes are counted from now."""

        def arm() -> None:
            for connection in self._open:
                connection.arm(fault)

        self._call(self._do(arm))

    @property
    def open(self) -> int:
        return len(self._open)
