"""A network that can be cut: TCP doors on loopback, each in front of one server port."""

import asyncio
import contextlib
import struct
from collections.abc import Iterable
from socket import SO_LINGER, SOL_SOCKET
from typing import Literal

Weather = Literal["open", "black hole", "reset", "slow", "half-open"]
CUTS: tuple[Weather, ...] = ("black hole", "reset", "slow", "half-open")

CHUNK = 64 * 1024
SLOW_CHUNK = 2048
SLOW_SECONDS = 0.05


class Door:
    """Forwards a port to another; ``set`` changes the weather for what is connected and for what comes.

    black hole: nothing comes through, in either direction, until it is open again; then what TCP would have sent anew
    arrives. reset: connections are torn down, and new ones at once. slow: 40 kB a second, each piece 50 ms late.
    half-open: the server's side of every connection is gone, and the client is not told; new connections work.
    """

    def __init__(self, port: int, behind: int) -> None:
        self.port = port
        self._behind = behind
        self._weather: Weather = "open"
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._links: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def set(self, weather: Weather) -> None:
        self._weather = weather
        if weather == "black hole":
            self._flowing.clear()
        else:
            self._flowing.set()
        if weather == "reset":
            for near, far in list(self._links):
                _tear(near)
                _tear(far)
        elif weather == "half-open":
            for _, far in list(self._links):
                _tear(far)

    async def stop(self) -> None:
        self.set("reset")
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        if self._weather == "reset":
            _tear(near)
            return
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self._behind)
        except OSError:
            _tear(near)
            return
        link = (near, far)
        self._links.add(link)
        try:
            await asyncio.gather(self._pump(reader, far, near), self._pump(far_reader, near, far))
        finally:
            self._links.discard(link)
            _tear(near)
            _tear(far)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, back: asyncio.StreamWriter) -> None:
        """Carry bytes one way until that way ends; an end is passed on, but for the server's in half-open weather."""
        with contextlib.suppress(OSError):
            while data := await source.read(SLOW_CHUNK if self._weather == "slow" else CHUNK):
                if self._weather == "slow":
                    await asyncio.sleep(SLOW_SECONDS)
                await self._flowing.wait()
                if sink.transport.is_closing():
                    # The server's side is gone: what the client says goes nowhere, and it hears nothing of that.
                    continue
                sink.write(data)
                await sink.drain()
        if self._weather == "half-open" and back.transport.is_closing():
            return
        await self._flowing.wait()
        with contextlib.suppress(OSError):
            sink.close()


class Doors:
    """Several doors whose weather changes together: a worker's way to all brokers, or to Redis."""

    def __init__(self, ports: Iterable[tuple[int, int]]) -> None:
        self._doors = [Door(port, behind) for port, behind in ports]

    async def start(self) -> None:
        for door in self._doors:
            await door.start()

    def set(self, weather: Weather) -> None:
        for door in self._doors:
            door.set(weather)

    async def stop(self) -> None:
        for door in self._doors:
            await door.stop()


def _tear(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of a farewell."""
    if writer.transport.is_closing():
        return
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
