"""A stand-in for the network between an uploader and an archive: a relay that hands on every byte a little later.

It makes the round trip longer and nothing else: connecting costs no round trip, bandwidth has no limit, no packet is lost. All
three are kinder to many short connections than a network is.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator

CHUNK_BYTES = 1 << 18


@contextlib.contextmanager
def link(port: int, round_trip_ms: float) -> Iterator[int]:
    """Yield the local port of a relay to another local port; it runs in a process of its own."""
    command = [sys.executable, __file__, str(port), str(round_trip_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield int(process.stdout.readline())
        finally:
            process.terminate()


async def serve(port: int, delay_seconds: float) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port, limit=CHUNK_BYTES)
        await asyncio.gather(pump(reader, far_writer, delay_seconds), pump(far_reader, writer, delay_seconds))

    server = await asyncio.start_server(relay, "127.0.0.1", 0, limit=CHUNK_BYTES)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_seconds: float) -> None:
    """Hand on in order, each piece `delay_seconds` after it came."""
    clock = asyncio.get_running_loop().time
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, piece = await pieces.get()
            if (left := due - clock()) > 0:
                await asyncio.sleep(left)
            if not piece:
                break
            writer.write(piece)
            await writer.drain()

    delivery = asyncio.create_task(deliver())
    with contextlib.suppress(OSError):
        while piece := await reader.read(CHUNK_BYTES):
            pieces.put_nowait((clock() + delay_seconds, piece))
        pieces.put_nowait((clock() + delay_seconds, b""))
        await delivery
    delivery.cancel()
    writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("round_trip_ms", type=float)
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.port, options.round_trip_ms / 2000))
