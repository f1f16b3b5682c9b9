"""Three replicas, or three workers, under load, while what they are made of is killed, stopped, emptied and cut off.

Every answer is noted with its time, and looked at afterwards. ``CHAOS_S=600`` makes each run so much longer, by faults
drawn at random; ``CHAOS_SEED`` draws them again.
"""

import asyncio
import os
import random
import re
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .chaos_faults import Faults, Replica
from .chaos_history import LEASE_S, Trouble
from .chaos_load import Load, Wire
from .chaos_origin import Versions
from .conftest import Origin, StartSidecars, await_answer, free_port

pytestmark = pytest.mark.e2e

MORE_S = float(os.environ.get("CHAOS_S", "0"))
SEED = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1 << 32))
CALM_S = 0.7
READERS = 15
STARTED = re.compile(r'"worker": (\d+), "pid": (\d+), .*"event": "worker_started"')
GROWTH_BYTES = 48 << 20
Plan = list[tuple[Callable[[float], Awaitable[None]], float]]
STRICT, LENIENT = "/v/", "/s/"
"""On the one nothing stale is ever served, on the other what is marked so."""
PATHS = [f"{LENIENT if number % 3 == 2 else STRICT}{number}" for number in range(60)]
POLICY = """
version: 1
upstream:
  url: http://127.0.0.1:1
  timeouts: {connect: 1s, first_byte: 2s}
routes:
  - {name: strict, match: "GET /v/{id}", cache: {ttl: 1h, key: "v:{id}", tags: ["v:{id}"]}}
  - name: lenient
    match: "GET /s/{id}"
    cache: {ttl: 1h, key: "s:{id}", tags: ["s:{id}"], stale_while_revalidate: 1h, stale_if_error: 1h}
  - {name: write, match: "PUT /v/{id}", purge: ["v:{id}"]}
  - {name: write-lenient, match: "PUT /s/{id}", purge: ["s:{id}"]}
events:
  on_gap: ON_GAP
  on: {changed: ["{data.tag}"]}
"""


@dataclass(slots=True, kw_only=True)
class Site:
    """Everything that there is, and the load on it."""

    replicas: list[Replica]
    faults: Faults
    load: Load
    versions: Versions

    def lanes(self) -> list[Plan]:
        """What is done to the replicas, and meanwhile to what they share: each kind once, then at random."""
        faults = self.faults
        replicas: Plan = [
            (faults.replica_is_stopped, 4.0),
            (faults.replica_is_killed, 0.3),
            (faults.replica_is_stopped, 0.8),
            (faults.replica_is_killed, 0.0),
            (faults.replica_is_replaced, 0.0),
        ]
        shared: Plan = [
            (faults.nothing_happens, 4.0),
            (faults.bus_is_cut, 1.0),
            (faults.redis_is_stopped, 0.5),
            (faults.origin_is_killed, 0.5),
            (faults.redis_is_killed, 0.0),
            (faults.connections_are_cut, 0.0),
            (faults.redis_is_stopped, 3.0),
            (faults.origin_is_stopped, 1.0),
            (faults.redis_loses_everything, 0.3),
            (faults.redis_is_flushed, 0.0),
            (faults.redis_is_killed, 2.5),
            (faults.redis_goes_back, 1.0),
        ]
        return [lane + drawn(lane) for lane in (replicas, shared)]


def drawn(lane: Plan) -> Plan:
    """Faults of ``lane`` at random, for ``MORE_S`` in all."""
    chance, left_s, plan = random.Random(SEED), MORE_S, Plan()
    while left_s > 0:
        fault, _ = chance.choice(lane)
        for_s = chance.choice((0.0, 0.1, 0.5, 1.5, 2.5, 4.0))
        plan.append((fault, for_s))
        left_s -= for_s + CALM_S
    return plan


@pytest.fixture
def things(tmp_path: Path) -> Iterator[tuple[Origin, Versions]]:
    """An origin that can be killed, and what it knows."""
    file, port = tmp_path / "versions", free_port()
    versions = Versions(file)
    args = [sys.executable, str(Path(__file__).with_name("chaos_origin.py")), str(port), str(file)]
    origin = Origin(args, tmp_path / "origin.log", port=port)
    origin.start()
    await_answer(origin, f"{origin.url}/v/{len(PATHS)}")
    yield origin, versions
    origin.end(signal.SIGKILL)


@pytest.fixture
def site(sidecars: StartSidecars, valkeys, things: tuple[Origin, Versions], on_gap: str) -> Site:
    """Three replicas, and a Valkey that keeps what it has."""
    origin, versions = things
    server = valkeys("--appendonly", "yes", "--appendfsync", "always")
    started = sidecars(3, server.url, policy=POLICY.replace("ON_GAP", on_gap), upstream=origin.url)
    replicas = [Replica(number=number, sidecar=sidecar) for number, sidecar in enumerate(started)]
    load = Load(
        places=replicas, origin_port=origin.port, redis_url=server.url, paths=PATHS, plain_events=on_gap == "clear"
    )
    faults = Faults(replicas=replicas, server=server, origin=origin, history=load.history)
    return Site(replicas=replicas, faults=faults, load=load, versions=versions)


@pytest.mark.timeout(120 + 3 * MORE_S)
@pytest.mark.parametrize("on_gap", ["keep", "clear"])
async def test_three_replicas_stay_true_whatever_is_killed_stopped_and_cut_off(site: Site) -> None:
    """Nothing older than an acknowledged purge, no error while the origin is up, no hang; then all is well again."""
    resident = {replica.number: (replica.life, replica.resident_bytes) for replica in site.replicas}
    async with site.load.running(), asyncio.TaskGroup() as lanes:
        for lane in site.lanes():
            lanes.create_task(site.faults.run(lane, CALM_S))
    history = site.load.history
    history.settle(site.load.written)
    wrong = history.violations([LENIENT])
    assert not wrong, "\n".join([f"CHAOS_SEED={SEED}", *site.faults.done, *wrong])
    assert len(history.answers) > 3000
    assert site.load.purged > 50
    for replica in site.replicas:
        await asyncio.to_thread(replica.sidecar.await_part, "bus", "connected")
        life, before = resident[replica.number]
        assert replica.life != life or replica.resident_bytes - before < GROWTH_BYTES
    await one_fill_each(site)


async def one_fill_each(site: Site) -> None:
    """After a purge, thirty clients of three replicas cost the origin one request, and then it is asked no more.

    Two at most: where the machine is so busy that Redis gives a lease too late, nobody waits for it.
    """
    fills = []
    admin, origin = (Wire(lambda port=port: port) for port in (site.replicas[0].admin_port, site.load.origin_port))
    for path in PATHS[:5]:
        assert await site.load.purge(origin, admin, path)
        number = int(path.rpartition("/")[2])
        before = site.versions.asked(number)
        for expected in ({"MISS", "HIT"}, {"HIT"}):
            wires = [(Wire(lambda at=replica: at.port), replica) for replica in site.replicas for _ in range(10)]
            answers = await asyncio.gather(*(site.load.ask(wire, at, "GET", path) for wire, at in wires))
            assert {answer.cache for answer in answers} <= expected
            assert {answer.version for answer in answers} == {site.versions.version(number)}
            for wire, _ in wires:
                wire.close()
        fills.append(site.versions.asked(number) - before)
    assert min(fills) == 1
    assert max(fills) <= 2
    admin.close()
    origin.close()


@pytest.fixture
def crew(sidecars: StartSidecars, things: tuple[Origin, Versions], valkey: str) -> Load:
    """Load on one sidecar of three workers. Which of them a connection is with, only the kernel knows."""
    policy = POLICY.replace("ON_GAP", "keep")
    [sidecar] = sidecars(1, valkey, policy=policy, upstream=things[0].url, CACHEPROXY_WORKERS="3")
    places = [Replica(number=0, sidecar=sidecar)]
    return Load(places=places, origin_port=things[0].port, redis_url=valkey, paths=PATHS, readers=READERS, writers=0)


async def test_three_workers_stay_true_when_one_is_killed_and_one_is_stopped(crew: Load) -> None:
    """Purges through the one admin port hold for all; who is with the dead one loses a connection, once."""
    [replica] = crew.places
    history = crew.history
    async with crew.running():
        await asyncio.sleep(1)
        history.troubles.append(killing := Trouble(0, time.monotonic()))
        os.kill(killed := worker_pid(replica, 0), signal.SIGKILL)
        while (stopped := worker_pid(replica, 0)) == killed:  # noqa: ASYNC110 - the event is in another process
            await asyncio.sleep(0.02)
        await asyncio.to_thread(replica.sidecar.ready)
        killing.until = time.monotonic()
        os.kill(stopped, signal.SIGSTOP)
        await asyncio.sleep(2 * LEASE_S)
        before = crew.purged
        await asyncio.sleep(1)
        os.kill(stopped, signal.SIGCONT)
        assert crew.purged > before, "nobody could purge while a worker stood still"
        await asyncio.sleep(1)
    history.settle(crew.written)
    wrong = history.violations([LENIENT])
    assert not wrong, "\n".join(wrong)
    assert sum(answer.status == 0 for answer in history.answers) <= READERS
    assert len(history.answers) > 1000


def worker_pid(replica: Replica, number: int) -> int:
    """The process of a worker, as the log tells it last."""
    return [int(pid) for of, pid in STARTED.findall(replica.sidecar.log.read_text()) if int(of) == number][-1]
