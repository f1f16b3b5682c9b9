"""The origin of the chaos tests, a process that may be killed: what it knows lies in a file, and outlives it.

``python chaos_origin.py PORT FILE``. ``GET /{kind}/{number}`` tells the version of a thing, ``PUT`` makes a new one.
"""

import asyncio
import mmap
import random
import struct
import sys
from pathlib import Path

THINGS = 1024
_CELL = struct.Struct("QQ")
SLOWEST_S = 0.02


class Versions:
    """How often each thing was changed and asked for, in a file that several processes may look at."""

    def __init__(self, file: Path) -> None:
        """Open ``file``; make it, all zero, if it is not there."""
        if not file.exists():
            file.write_bytes(bytes(_CELL.size * THINGS))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), 0)

    def version(self, number: int) -> int:
        """How often the thing was changed."""
        return self._cell(number)[0]

    def asked(self, number: int) -> int:
        """How often it was asked for."""
        return self._cell(number)[1]

    def change(self, number: int) -> int:
        """Its new version."""
        version, asked = self._cell(number)
        _CELL.pack_into(self._memory, number * _CELL.size, version + 1, asked)
        return version + 1

    def ask(self, number: int) -> int:
        """Its version, of which it is noted that it was asked for."""
        version, asked = self._cell(number)
        _CELL.pack_into(self._memory, number * _CELL.size, version, asked + 1)
        return version

    def _cell(self, number: int) -> tuple[int, int]:
        version, asked = _CELL.unpack_from(self._memory, number * _CELL.size)
        return version, asked


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, versions: Versions) -> None:
    """Answer one connection's requests. The version is that of the moment in which a request has come."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, *_ = head.split(" ", 2)
            number = int(target.rpartition("/")[2])
            version = versions.change(number) if method == "PUT" else versions.ask(number)
            await asyncio.sleep(random.uniform(0, SLOWEST_S))
            writer.write(_answer(method, head, version))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _answer(method: str, head: str, version: int) -> bytes:
    tag = f'"{version}"'
    if method == "GET" and f"if-none-match: {tag}\r\n" in head.lower():
        return f"HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n\r\n".encode()
    body = f"{version}\n"
    return f"HTTP/1.1 200 OK\r\nETag: {tag}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


async def main(port: int, file: Path) -> None:
    """Serve until killed."""
    versions = Versions(file)
    server = await asyncio.start_server(lambda reader, writer: serve(reader, writer, versions), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
