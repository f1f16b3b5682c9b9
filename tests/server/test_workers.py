"""Workers: real processes, started on a leash, replaced when they die, drained together."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from cacheproxy.server.listen import ListenError, bind
from cacheproxy.server.workers import MISUSED, BackOff, Crew, CrewError, vacant

QUICK = BackOff(first_s=0.01, longest_s=0.04, steady_s=10.0)

# Tells the test through its admin socket (the last of its file descriptors) who it is, then does as it is told.
WORKER = """
import os, signal, socket, sys, time
job = sys.stdin.readline().strip()
what, _, descriptor = job.partition(" ")
if what == "misused":
    sys.exit(2)
if what == "crash":
    sys.exit(1)
if what == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, lambda *_: os.write(told.fileno(), b"hup\\n"))
listener = socket.socket(fileno=int(descriptor))
while True:
    told, _ = listener.accept()
    told.sendall(f"{os.getpid()} {job}\\n".encode())
    told.recv(1)
"""


@pytest.fixture
async def crew(tmp_path):
    """Starts a crew whose workers do as ``what`` says, and ends it at the latest with the test."""
    made = []

    def start(what: str, count: int = 2, seen=bool) -> Crew:
        def job(worker) -> bytes:
            seen(worker)
            return f"{what} {worker.listener.fileno()}".encode()

        crew = Crew(
            command=[sys.executable, "-c", WORKER],
            job=job,
            directory=tmp_path,
            count=count,
            back_off=QUICK,
        )
        crew.start()
        made.append(crew)
        return crew

    yield start
    for each in made:
        await each.drain(0.0)


@pytest.fixture
async def meet():
    """Connects to a worker: the stream of what it says, and its process id."""
    async with AsyncExitStack() as stack:

        async def connect(worker) -> tuple[asyncio.StreamReader, int]:
            reader, writer = await asyncio.open_unix_connection(worker.admin)
            stack.push_async_callback(_close, writer)
            return reader, int((await reader.readline()).split()[0])

        yield connect


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def is_running(pid: int) -> bool:
    """Whether the process is there and not a zombie."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return state.strip() != "" and not state.startswith("Z")


async def test_each_worker_is_told_its_job(crew, meet):
    """The first line on its standard input is its job, and its admin socket is open under the number given there."""
    made = crew("stay")
    pids = {(await meet(worker))[1] for worker in made.workers}
    assert {worker.process.pid for worker in made.workers} == pids
    assert 2 == len(pids)


async def test_a_killed_worker_is_replaced(crew, meet):
    """Somebody else takes the dead one's place, under the same admin socket; the others do not notice."""
    made = crew("stay")
    one, other = made.workers
    pids = [(await meet(worker))[1] for worker in made.workers]
    os.kill(pids[0], signal.SIGKILL)
    successor = None
    while successor in (None, pids[0]):
        with contextlib.suppress(IndexError, ConnectionError):  # the dying one's last connection
            successor = (await meet(one))[1]
    assert 2 == one.starts
    assert (1, pids[1]) == (other.starts, other.process.pid)


async def test_a_worker_that_dies_at_once_is_started_ever_more_slowly(crew):
    """The delay doubles up to the longest, so that a fault does not eat the machine."""
    fifth = asyncio.Event()
    with capture_logs() as lines:
        crew("crash", count=1, seen=lambda worker: fifth.set() if worker.starts == 5 else None)
        await fifth.wait()
    delays = [line["replaced_in_s"] for line in lines if line["event"] == "worker_died"]
    assert [0.01, 0.02, 0.04, 0.04] == delays[:4]


async def test_a_worker_that_cannot_do_its_job_ends_the_crew(crew):
    """A wrong setting is wrong for every worker: the operator is told, rather than one worker after the other."""
    made = crew("misused")
    with pytest.raises(CrewError):
        await made.failed()
    assert all(worker.starts == 1 for worker in made.workers)


async def test_draining_ends_every_worker(crew, meet):
    """After a drain no process is left, and none is started again."""
    made = crew("stay")
    pids = [(await meet(worker))[1] for worker in made.workers]
    await made.drain(10.0)
    assert not any(map(is_running, pids))
    assert [1, 1] == [worker.starts for worker in made.workers]


async def test_a_deaf_worker_is_killed_in_the_end(crew, meet):
    """A worker that ignores SIGTERM does not hold up the stop beyond the time it was given."""
    made = crew("deaf")
    pids = [(await meet(worker))[1] for worker in made.workers]
    await made.drain(0.2)
    assert not any(map(is_running, pids))


async def test_signals_are_passed_on(crew, meet):
    """What an operator tells the supervisor reaches every worker."""
    made = crew("stay")
    met = [await meet(worker) for worker in made.workers]
    made.send(signal.SIGHUP)
    assert [b"hup\n", b"hup\n"] == [await reader.readline() for reader, _ in met]


def test_a_port_that_somebody_listens_on_is_not_vacant():
    """Not even one that the other is ready to share: it would get half of our requests."""
    with bind("127.0.0.1", 0, reuse_port=True) as taken, pytest.raises(ListenError, match="choose another port"):
        vacant(*taken.getsockname())


def test_no_port_in_particular_becomes_one():
    """Port 0 is settled once, so that all workers share it."""
    host, port = vacant("127.0.0.1", 0)
    with bind(host, port, reuse_port=True), bind(host, port, reuse_port=True) as shared:
        assert (host, port) == shared.getsockname()


# A worker on its leash that says what it does.
HELD = """
import signal, sys, time
from pathlib import Path
from cacheproxy.server.leash import end_when_let_go, first_line
print(first_line().decode(), flush=True)
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
end_when_let_go(Path(sys.argv[1]), 0.2)
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("manner", "status"), [("drains", 0), ("deaf", 1)])
def test_a_worker_that_is_let_go_of_ends(tmp_path: Path, manner: str, status: int):
    """When the supervisor is gone, its worker drains, removes what is left of it, and is gone after its grace."""
    directory = tmp_path / "sockets"
    directory.mkdir()
    (directory / "w0.sock").touch()
    command = [sys.executable, "-c", HELD, str(directory), manner]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(b"the job\n")
        process.stdin.flush()
        assert [b"the job\n", b"held\n"] == [process.stdout.readline(), process.stdout.readline()]
        process.stdin.close()
        assert status == process.wait(10)
    assert not directory.exists()


def test_the_leash_takes_no_more_than_the_first_line():
    """What follows the job is not eaten with it."""
    read = "import os\nfrom cacheproxy.server.leash import first_line\nprint(first_line(), os.read(0, 9))"
    made = subprocess.run([sys.executable, "-c", read], input=b"one\ntwo\n", capture_output=True, check=True)
    assert b"b'one' b'two\\n'\n" == made.stdout


def test_the_status_for_misuse_is_the_command_lines():
    """A worker that is misused says so as every command does."""
    made = subprocess.run([sys.executable, "-m", "cacheproxy", "nonsense"], capture_output=True, check=False)
    assert MISUSED == made.returncode
