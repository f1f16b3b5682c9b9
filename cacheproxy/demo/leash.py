"""Run a command that must not outlive whoever asked for it: ``python -m cacheproxy.demo.leash GRACE_S COMMAND...``.

Our standard input is a pipe that only the asker holds. When it closes, because they are done or because they were
killed, the command is ended: asked first, and after ``GRACE_S`` seconds made to. No prctl, so the same on Linux and
macOS.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading


def main(grace_s: float, command: list[str]) -> int:
    """Run ``command`` in a session of its own; its exit status, as a shell would give it."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_end_when_let_go, args=(child, grace_s), daemon=True).start()
    status = child.wait()
    _kill_group(child.pid)
    return status if status >= 0 else 128 - status


def _end_when_let_go(child: "subprocess.Popen[bytes]", grace_s: float) -> None:
    while os.read(0, 1024):  # not sys.stdin, whose lock this thread would hold when the interpreter ends
        pass
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(grace_s)
        return
    _kill_group(child.pid)


def _kill_group(leader: int) -> None:
    """Kill what the command started and left behind, too."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        os.killpg(leader, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
