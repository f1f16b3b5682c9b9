"""Log lines, written together for each turn of the event loop: a burst of requests costs one write, not one each."""

import asyncio
import atexit
from typing import TextIO


class LogLines:
    """A logger for structlog. Without a running event loop each line is written at once."""

    def __init__(self, stream: TextIO) -> None:
        """Write to ``stream``, and what is left at exit, too."""
        self._stream = stream
        self._lines: list[str] = []
        atexit.register(self.flush)

    def msg(self, line: str) -> None:
        """Write ``line`` before the event loop turns again."""
        self._lines.append(line)
        if len(self._lines) > 1:
            return
        try:
            asyncio.get_running_loop().call_soon(self.flush)
        except RuntimeError:
            self.flush()

    debug = info = warning = error = critical = msg

    def flush(self) -> None:
        """Write what is waiting."""
        if self._lines:
            lines, self._lines = self._lines, []
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()
