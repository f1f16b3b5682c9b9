"""How far something is that takes a while, on a line of its own, for somebody who watches a terminal."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOOK_EVERY_S = 0.2
_ERASE_LINE = "\r\x1b[K"


@contextmanager
def progress(look: Callable[[], str]) -> Iterator[None]:
    """Show what ``look`` says now and then, until left. Nothing where the standard error is no terminal."""
    if not sys.stderr.isatty():
        yield
        return
    over = threading.Event()
    showing = threading.Thread(target=_show, args=(look, over), daemon=True)
    showing.start()
    try:
        yield
    finally:
        over.set()
        showing.join()
        sys.stderr.write(_ERASE_LINE)
        sys.stderr.flush()


def _show(look: Callable[[], str], over: threading.Event) -> None:
    while not over.wait(LOOK_EVERY_S):
        sys.stderr.write(_ERASE_LINE + look())
        sys.stderr.flush()
