"""Tells of another content of a file, by looking at it twice a second.

That is seen on every file system, network ones and those mounted from a host included, which tell of no changes. And a
look costs microseconds, where a library that is told needs a thread, and twice a megabyte in every sidecar.
"""

from asyncio import sleep
from collections.abc import AsyncIterator
from pathlib import Path

LOOK_AGAIN_S = 0.5
QUIET_S = 0.2
"""A file is left alone until it has not changed for so long: half a policy may be a valid one."""

_Mark = tuple[int, ...] | None
"""What is another if the file is, or None while there is none."""


async def contents(file: Path) -> AsyncIterator[bytes]:
    """The content of ``file``, and again each time that it has become another and stands still.

    What counts is the content, not the file: a ConfigMap changes by a symbolic link two levels up.
    """
    seen: _Mark = None
    told: bytes | None = None
    while True:
        mark = _mark(file)
        if mark == seen:
            await sleep(LOOK_AGAIN_S)
            continue
        await sleep(QUIET_S)
        if _mark(file) != mark:
            continue
        content = _content(file)
        if content is None:  # which may change without a trace
            await sleep(LOOK_AGAIN_S)
            continue
        seen = mark
        if content != told:
            told = content
            yield content


def _mark(file: Path) -> _Mark:
    try:
        found = file.stat()
    except OSError:
        return None
    # The time of its modification can be set, and is copied along; that of its change is the system's.
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None
