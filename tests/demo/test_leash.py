"""What is on the leash never outlives whoever holds it."""

import os
import signal
import subprocess
import sys
import time

import pytest

LEASH = [sys.executable, "-m", "cacheproxy.demo.leash", "0.5"]

# Says its own process id and that of a child it leaves behind, then waits; deaf to SIGTERM if asked.
STUBBORN = """
import os, signal, subprocess, sys, time
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
left_behind = subprocess.Popen(["sleep", "60"])
print(os.getpid(), left_behind.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def leash():
    """Starts a command on a leash that the test holds, and ends it at the latest with the test."""
    held = []

    def start(*command: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen([*LEASH, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        held.append(process)
        return process

    yield start
    for process in held:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def pids_of(process) -> list[int]:
    """The process ids that ``STUBBORN`` prints."""
    return [int(pid) for pid in process.stdout.readline().split()]


def is_running(pid: int) -> bool:
    """Whether the process is there and not a zombie."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return state.strip() != "" and not state.startswith("Z")


def gone(pids: list[int], within_s: float) -> bool:
    """Whether all of ``pids`` end in time."""
    give_up_at = time.monotonic() + within_s
    while any(is_running(pid) for pid in pids):
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize(("command", "status"), [("exit 3", 3), ("kill -TERM $$", 143)])
def test_the_status_is_the_commands_own(leash, command, status):
    """Whoever watches the leash learns how the command ended."""
    assert leash("sh", "-c", command).wait(10) == status


def test_letting_go_ends_the_command_and_what_it_started(leash):
    """Closing the pipe is all it takes, and nothing is left of the process tree."""
    process = leash(sys.executable, "-c", STUBBORN)
    pids = pids_of(process)
    process.stdin.close()
    assert process.wait(10) == 143
    assert gone(pids, 5)


def test_a_command_that_dies_takes_what_it_started_along(leash):
    """Workers do not outlive a parent that was killed."""
    process = leash(sys.executable, "-c", STUBBORN)
    pids = pids_of(process)
    os.kill(pids[0], signal.SIGKILL)
    assert process.wait(10) == 137
    assert gone(pids, 5)


def test_a_deaf_command_is_killed_after_the_grace(leash):
    """Nothing that ignores SIGTERM can stay."""
    process = leash(sys.executable, "-c", STUBBORN, "deaf")
    pids = pids_of(process)
    process.stdin.close()
    assert process.wait(20) == 137
    assert gone(pids, 5)


def test_killing_the_holder_ends_the_command():
    """Even SIGKILL, which lets nobody clean up, leaves no process."""
    holder = (
        "import subprocess, sys\n"
        f"process = subprocess.Popen({[*LEASH, sys.executable, '-c', STUBBORN]!r}, stdin=subprocess.PIPE)\n"
        "process.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE) as process:
        pids = pids_of(process)
        process.kill()
        process.wait()
        assert gone(pids, 10)
