"""The worker's side of its leash: a pipe on standard input that only the supervisor holds.

What comes first on it is what the worker is to do. When it closes, because the supervisor is done or because it was
killed, the worker drains and ends. No prctl, so the same on Linux and macOS.
"""

import os
import shutil
import signal
import threading
import time
from pathlib import Path

_STDIN = 0


def first_line() -> bytes:
    """The first line on standard input, without its end. Nothing of what follows is read."""
    line = bytearray()
    while (piece := os.read(_STDIN, 1)) not in (b"\n", b""):
        line += piece
    return bytes(line)


def end_when_let_go(directory: Path, grace_s: float) -> None:
    """From now on: drain when the leash is let go of, be gone after ``grace_s`` at the latest.

    ``directory``, which the supervisor would have removed, is removed then.
    """
    threading.Thread(target=_hold, args=(directory, grace_s), daemon=True).start()


def _hold(directory: Path, grace_s: float) -> None:
    while os.read(_STDIN, 1024):  # not sys.stdin, whose lock this thread would hold when the interpreter ends
        pass
    shutil.rmtree(directory, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_s)
    os._exit(1)
