"""Log lines, written by a thread of their own: whoever reads them may hang or go away, and no request waits for him.

A reader that hangs fills his pipe, then the queue here, which is bounded; what comes then is dropped and counted. When
he reads again he is told how many lines he missed.
"""

import atexit
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator

LIMIT_BYTES = 4 << 20
"""What may wait to be written: some ten thousand lines."""
GATHER_S = 0.01
"""How long lines are gathered: a thread that woke for each would take a tenth of the requests' time."""
FLUSH_S = 2.0
"""How long the end of the process waits for what is still to be written."""


class LogLines:
    """A logger for structlog. It never waits and never raises; any thread may use it."""

    def __init__(self, fd: int, notice: Callable[[int], str], *, limit_bytes: int = LIMIT_BYTES) -> None:
        """Write to ``fd``, which may block. ``notice`` is the line that says how many were dropped."""
        self._fd = fd
        self._notice = notice
        self._limit = limit_bytes
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._waiting: list[str] = []
        self._waiting_bytes = 0
        self._writing = False
        self._untold = 0
        self.dropped = 0
        """How many lines were dropped so far."""
        threading.Thread(target=self._write_on, name="log", daemon=True).start()
        atexit.register(self.flush)

    def msg(self, line: str) -> None:
        """Have ``line`` written soon, or drop it where too much is waiting."""
        with self._lock:
            if self._waiting_bytes + len(line) > self._limit:
                self._count_dropped(1)
                return
            if not self._waiting:
                self._changed.notify_all()
            self._waiting.append(line)
            self._waiting_bytes += len(line)

    debug = info = warning = error = critical = msg

    def flush(self, timeout_s: float = FLUSH_S) -> None:
        """Wait until all is written, but no longer than ``timeout_s``."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._waiting or self._writing), timeout_s)

    def _write_on(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting)
            time.sleep(GATHER_S)
            with self._changed:
                lines, self._waiting, self._waiting_bytes = self._waiting, [], 0
                untold, self._untold, self._writing = self._untold, 0, True
            self._write(lines)
            if untold and not _written(self._fd, _piece([self._notice(untold)])):
                with self._changed:
                    self._untold += untold

    def _write(self, lines: list[str]) -> None:
        for piece in _pieces(lines):
            if not _written(self._fd, _piece(piece)):
                with self._changed:
                    self._count_dropped(len(piece))

    def _count_dropped(self, lines: int) -> None:
        self.dropped += lines
        self._untold += lines


class LineHandler(logging.Handler):
    """Passes on to ``LogLines`` what libraries log."""

    def __init__(self, lines: LogLines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Pass ``record`` on as one line."""
        try:
            self._lines.msg(self.format(record))
        except Exception:
            self.handleError(record)


def _pieces(lines: Iterable[str]) -> Iterator[list[str]]:
    """``lines`` in pieces that a pipe takes whole: workers who share one never write into each other's lines."""
    piece: list[str] = []
    size = 0
    for line in lines:
        if piece and size + len(line) >= select.PIPE_BUF:
            yield piece
            piece, size = [], 0
        piece.append(line)
        size += len(line) + 1
    if piece:
        yield piece


def _piece(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


def _written(fd: int, data: bytes) -> bool:
    """Whether ``fd`` took all of ``data``; waits for it. False where nobody reads it, or the disk is full."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:  # whoever shares our output may have made it non-blocking
            select.select((), (fd,), ())
        except OSError:
            return False
    return True
