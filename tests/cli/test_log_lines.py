"""Log lines come in order and whole; whoever does not read them is not waited for."""

import contextlib
import errno
import json
import logging
import os
import select
import threading
import time
from collections.abc import Iterator

import pytest

from cacheproxy.cli import log_lines
from cacheproxy.cli.log_lines import LineHandler, LogLines


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe: where to read, and where to write."""
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        with contextlib.suppress(OSError):  # the test may have closed it
            os.close(fd)


def taken(read: int) -> list[str]:
    """The lines in the pipe by now."""
    lines = b""
    while select.select([read], [], [], 0)[0] and (piece := os.read(read, 1 << 16)):
        lines += piece
    return lines.decode().splitlines()


def notice(lines: int) -> str:
    """What is written of those that were dropped."""
    return f"dropped {lines}"


def stall(lines: LogLines, read: int) -> None:
    """Write until the writer hangs in a pipe that nobody reads, and take none of it."""
    lines.info("x" * (1 << 17))
    assert select.select([read], [], [], 10)[0]


def read_on(read: int, until: str) -> list[str]:
    """All lines that come, up to the one that is ``until``."""
    text = b""
    while until not in text.decode().splitlines():
        assert select.select([read], [], [], 10)[0], text[-200:]
        text += os.read(read, 1 << 16)
    return text.decode().splitlines()


def test_lines_come_in_order(pipe):
    """Of one thread, and none is left out."""
    read, write = pipe
    lines = LogLines(write, notice)
    for number in range(100):
        lines.info(str(number))
    lines.flush()
    assert taken(read) == [*map(str, range(100))]


def test_a_reader_who_hangs_is_not_waited_for(pipe):
    """What does not fit into the queue is dropped and counted, and told once he reads again."""
    read, write = pipe
    lines = LogLines(write, notice, limit_bytes=1 << 18)
    stall(lines, read)
    began = time.monotonic()
    for number in range(100_000):
        lines.info(f"line {number}")
    assert time.monotonic() - began < 5
    dropped = lines.dropped
    assert 0 < dropped < 100_000
    come = read_on(read, notice(dropped))
    kept = 100_000 - dropped
    assert come[1:] == [*(f"line {number}" for number in range(kept)), notice(dropped)]
    lines.info("after")
    lines.flush()
    assert taken(read) == ["after"]


def test_a_reader_who_is_gone_costs_the_lines_alone(pipe):
    """Nothing is raised; each line is counted."""
    read, write = pipe
    os.close(read)
    lines = LogLines(write, notice)
    lines.info("one")
    lines.flush()
    lines.info("two")
    lines.flush()
    assert lines.dropped == 2


def test_lines_that_could_not_be_written_are_told_of(pipe, monkeypatch):
    """As when the disk was full for a time."""
    read, write = pipe
    lines = LogLines(write, notice)

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(log_lines.os, "write", full)
        lines.info("lost")
        lines.flush()
    lines.info("kept")
    lines.flush()
    assert taken(read) == ["kept", "dropped 1"]


def test_the_end_waits_only_so_long(pipe):
    """For a reader who hangs."""
    read, write = pipe
    lines = LogLines(write, notice)
    stall(lines, read)
    began = time.monotonic()
    lines.flush(0.05)
    assert 0.05 <= time.monotonic() - began < 5
    read_on(read, "x" * (1 << 17))  # or its thread would go on in whatever gets the number of this pipe


def test_an_output_that_somebody_made_non_blocking_is_waited_for(pipe):
    """Whoever shares it may do so; no line is lost, nor broken."""
    read, write = pipe
    os.set_blocking(write, False)
    lines = LogLines(write, notice)
    for number in range(20_000):
        lines.info(f"line {number}")
    assert read_on(read, "line 19999") == [f"line {number}" for number in range(20_000)]
    assert lines.dropped == 0


def test_those_who_share_a_pipe_do_not_write_into_each_others_lines(pipe):
    """What is written at a time fits into what a pipe takes whole."""
    read, write = pipe
    both = [LogLines(write, notice), LogLines(write, notice)]

    def burst(name: int) -> None:
        for number in range(5_000):
            both[name].info(json.dumps([name, number, "x" * (number % 300)]))

    threads = [threading.Thread(target=burst, args=(name,)) for name in (0, 1)]
    for thread in threads:
        thread.start()
    seen: dict[int, list[int]] = {0: [], 1: []}
    text = b""
    while sum(map(len, seen.values())) < 10_000:
        assert select.select([read], [], [], 10)[0]
        *whole, text = (text + os.read(read, 1 << 16)).split(b"\n")
        for line in whole:
            name, number, _ = json.loads(line)
            seen[name].append(number)
    for thread in threads:
        thread.join()
    assert [*range(5_000)] == seen[0] == seen[1]


def test_what_libraries_log_takes_the_same_way(pipe):
    """Their records become lines, tracebacks and all."""
    read, write = pipe
    lines = LogLines(write, notice)
    logger = logging.getLogger("library")
    handler = LineHandler(lines)
    logger.addHandler(handler)
    logger.warning("%s of %s", 1, 2)
    logger.removeHandler(handler)
    lines.flush()
    assert taken(read) == ["1 of 2"]
