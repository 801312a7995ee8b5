"""A witness of Redis itself: claims and decisions in the very order in which it carried them out."""

import asyncio
import re

from tests.chaos.evidence.evidence import Write

CLAIM = re.compile(r'"SET" "\{[^}]*:t(\d+)\}:epoch" "(\d+)"')
#: the rest of an entry that is put back keeps the epoch of its decision, and is marked: "again" comes before "e"
OUTBOX = re.compile(r'"XADD" "\{[^}]*:t(\d+)\}:outbox" "\*" "e" "(\d+)"')
RECONNECT_SECONDS = 0.02


async def witness(port: int, writes: list[Write]) -> None:
    """Follow a server for ever, through its restarts."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**26)
            try:
                writer.write(b"MONITOR\r\n")
                while line := await reader.readline():
                    writes += seen(line.decode(errors="replace"))
            finally:
                writer.close()
        except OSError:
            pass
        await asyncio.sleep(RECONNECT_SECONDS)


def seen(line: str) -> list[Write]:
    """What a line of MONITOR says of a shard."""
    found = [(what, pattern.search(line)) for what, pattern in (("claim", CLAIM), ("outbox", OUTBOX))]
    return [Write(int(match[1]), what, int(match[2])) for what, match in found if match is not None]
