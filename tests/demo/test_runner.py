"""The whole demo, as processes: it shows what it says, and leaves nothing behind however it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
RUN = "import sys; from pathlib import Path; from cacheproxy.demo.runner import run; sys.exit(run(%s))"
LAST_STEP = "misses)_total'"


class Demo:
    """A demo that was started, and what it has printed."""

    def __init__(self, arguments: str = "") -> None:
        """Start ``run(ARGUMENTS)`` in a process of its own."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN % arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
        self.printed = ""

    def until(self, words: str) -> None:
        """Read what it prints until ``words`` are in it."""
        while words not in self.printed:
            line = self.process.stdout.readline()
            assert line, self.printed
            self.printed += line

    def ended(self) -> int:
        """Its exit status, once all that it printed was read."""
        with self.process.stdout as rest:
            self.printed += rest.read()
        return self.process.wait(40)

    def children(self) -> dict[int, str]:
        """Everything that descends from it, by process id."""
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
        rows = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
        found, parents = {}, {str(self.process.pid)}
        while parents:
            young = [row for row in rows if row[1] in parents and not row[2].startswith("ps ")]
            found |= {int(pid): args for pid, _, args in young}
            parents = {pid for pid, _, _ in young}
        return found


@pytest.fixture
def demo() -> Iterator[Demo]:
    """A demo that shows its steps and waits."""
    started = Demo()
    try:
        started.until(LAST_STEP)
        yield started
    finally:
        started.process.kill()
        started.process.wait()
        started.process.stdout.close()


def left_of(pids: dict[int, str], within_s: float = 15.0) -> dict[int, str]:
    """Which of ``pids`` are still there (zombies are not) when all are gone or the time is up."""
    give_up_at = time.monotonic() + within_s
    while True:
        listed = subprocess.run(
            ["ps", "-o", "pid=,stat=", "-p", ",".join(map(str, pids))], capture_output=True, text=True, check=False
        )
        alive = {int(line.split()[0]) for line in listed.stdout.splitlines() if not line.split()[1].startswith("Z")}
        if not alive or time.monotonic() > give_up_at:
            return {pid: pids[pid] for pid in alive}
        time.sleep(0.05)


def child_called(children: dict[int, str], words: str) -> int:
    """The one child whose command line has ``words`` and is not on a leash's own."""
    (pid,) = [pid for pid, args in children.items() if words in args and "demo.leash" not in args]
    return pid


def test_every_step_shows_what_it_says():
    """The commands that are printed are run as they are printed, and each gives what is claimed."""
    demo = Demo("self_test=True")
    assert demo.ended() == 0, demo.printed
    assert re.search(r"^(\d+) of \1 steps show what they say$", demo.printed, re.MULTILINE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_ends_everything_in_order(demo, number):
    """Status 0, no process, no file."""
    children = demo.children()
    assert len(children) >= 6, children
    directories = set(re.findall(r"/tmp/cacheproxy-[\w-]+", " ".join(children.values()) + demo.printed))
    os.kill(demo.process.pid, number)
    assert demo.ended() == 0
    assert left_of(children, within_s=0) == {}
    assert [directory for directory in directories if Path(directory).exists()] == []


def test_a_signal_while_it_starts_ends_what_was_started():
    """It need not be ready to be stopped."""
    demo = Demo()
    while not (children := demo.children()):
        assert demo.process.poll() is None
    os.kill(demo.process.pid, signal.SIGTERM)
    assert demo.ended() == 0
    assert left_of(children, within_s=0) == {}


def test_an_impatient_second_signal_changes_nothing(demo):
    """Ctrl-C twice still leaves nothing behind."""
    children = demo.children()
    os.kill(demo.process.pid, signal.SIGINT)
    os.kill(demo.process.pid, signal.SIGINT)
    assert demo.ended() == 0
    assert left_of(children, within_s=0) == {}


def test_killing_the_demo_leaves_nothing(demo):
    """Even SIGKILL, which lets nobody clean up."""
    children = demo.children()
    demo.process.kill()
    assert left_of(children) == {}


@pytest.mark.parametrize(("words", "name"), [("cacheproxy serve", "sidecar"), ("uvicorn --factory", "service")])
def test_a_part_that_dies_ends_the_rest(demo, words, name):
    """Status 1, which part it was, and no process."""
    children = demo.children()
    os.kill(child_called(children, words), signal.SIGKILL)
    assert demo.ended() == 1
    assert f"the {name} ended with status 137" in demo.printed
    assert left_of(children, within_s=0) == {}


def test_a_policy_that_is_wrong_is_told():
    """What the sidecar said before it gave up is passed on."""
    demo = Demo("config=Path('tests/demo/no-such-policy.yaml')")
    assert demo.ended() == 1
    assert "the sidecar ended with status" in demo.printed
    assert "no-such-policy.yaml" in demo.printed


def test_taken_ports_are_left_alone():
    """Somebody else's 8080, 9090 and 8000 stay theirs; what is printed is where we are."""
    held = []
    for port in (8080, 9090, 8000):
        holder = socket.socket()
        held.append(holder)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", port))
            holder.listen()
        except OSError:
            continue  # another test or program has it, which is as good
    demo = Demo()
    try:
        demo.until(LAST_STEP)
        ports = set(re.findall(r"http://127\.0\.0\.1:(\d+)", demo.printed))
        assert len(ports) == 3
        assert not ports & {"8080", "9090", "8000"}
    finally:
        demo.process.terminate()
        demo.ended()
        for holder in held:
            holder.close()
