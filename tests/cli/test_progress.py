"""Progress is for people at a terminal, and leaves nothing behind."""

import io
import sys
import threading

from cacheproxy.cli import progress as progress_module
from cacheproxy.cli.progress import progress


class Terminal(io.StringIO):
    """A standard error that somebody watches, or not."""

    def __init__(self, *, watched: bool) -> None:
        """Empty."""
        super().__init__()
        self._watched = watched

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._watched


def test_it_is_shown_until_it_is_over(monkeypatch):
    """Each look replaces the one before it, and the end erases the last."""
    monkeypatch.setattr(sys, "stderr", Terminal(watched=True))
    monkeypatch.setattr(progress_module, "LOOK_EVERY_S", 0.001)
    looked, looks = threading.Event(), iter(range(1, 1000))

    def look() -> str:
        number = next(looks)
        if number == 3:
            looked.set()
        return f"{number} of many"

    with progress(look):
        assert looked.wait(10)
    shown = sys.stderr.getvalue().split("\r\x1b[K")
    assert ["", "1 of many", "2 of many"] == shown[:3]
    assert "" == shown[-1]


def test_a_program_that_reads_sees_none_of_it(monkeypatch):
    """And nobody is asked."""
    monkeypatch.setattr(sys, "stderr", Terminal(watched=False))
    with progress(lambda: 1 / 0):  # type: ignore[arg-type,return-value]
        pass
    assert "" == sys.stderr.getvalue()
