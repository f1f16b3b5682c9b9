"""Replicas in processes of their own, stopped and killed."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from cacheproxy.fills.contract import Held, Taken, Waited
from cacheproxy.fills.lease import RedisLeases

SIDECAR = """
import asyncio, sys
from cacheproxy.clock import SystemClock
from cacheproxy.fills.lease import RedisLeases
from cacheproxy.invalidation.bus import Bus
from cacheproxy.invalidation.mirrors import Mirrors
from cacheproxy.invalidation.purger import RedisPurger
from cacheproxy.invalidation.receipts import Receipts
from cacheproxy.invalidation.session import BusParts
from cacheproxy.invalidation.tag_clock import TagClock
from cacheproxy.redis_link.connect import Tuning, connect
from cacheproxy.semantics.fields import Fields
from cacheproxy.storage.contract import Entry
from cacheproxy.storage.memory import MemoryStore

async def main(url, name):
    roles = connect(url, Tuning(limit_s=2.0))
    store = MemoryStore(1 << 20)
    clock = TagClock(roles.bus, "test", 3600)
    mirrors, receipts = Mirrors([store]), Receipts(name)
    purger = RedisPurger(clock, mirrors, receipts)
    Bus(BusParts(clock=clock, subscriber=roles.subscriber(), mirrors=mirrors, purger=purger, receipts=receipts)).start()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        match line.decode().split():
            case ["trusted"]:
                while not store.trusted:
                    await asyncio.sleep(0.01)
                print("yes", flush=True)
            case ["store", tag]:
                now = SystemClock.now()
                await store.write(Entry(
                    key="k", status=200, fields=Fields(), body=b"old", requested_at=now, received_at=now,
                    lifetime_s=3600, keep_until=now + 3600, stamp=await purger.begin(), tags=("*", tag),
                ))
                print("hit" if store.peek("k", Fields()) else "miss", flush=True)
            case ["read"]:
                print("hit" if store.peek("k", Fields()) else "miss", flush=True)
            case ["hold", key]:
                held = await RedisLeases(roles.cache, "test", float(0.5)).acquire(key)
                print(held.token, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@dataclass
class Sidecar:
    """A replica in a process of its own, which does as it is told line by line."""

    process: asyncio.subprocess.Process

    async def tell(self, line: str) -> str:
        """Its answer to ``line``."""
        self.say(line)
        return (await self.process.stdout.readline()).decode().strip()

    def say(self, line: str) -> None:
        """Do not wait for the answer."""
        self.process.stdin.write(line.encode() + b"\n")

    def signal(self, number: signal.Signals) -> None:
        """Stop, continue or kill it."""
        os.kill(self.process.pid, number)


@pytest.fixture
async def sidecar(valkey) -> AsyncIterator[Sidecar]:
    """One that answers from memory."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SIDECAR, valkey, "two", stdin=pipe, stdout=pipe
    )
    made = Sidecar(process)
    assert await made.tell("trusted") == "yes"
    yield made
    if process.returncode is None:
        process.kill()
    await process.wait()


async def test_a_replica_that_was_stopped_serves_nothing_old_when_it_goes_on(sidecar, valkey, replica, hard):
    """Stopped while a purge passes, its first step afterwards is a request: its memory has shut itself off by then."""
    one = replica(valkey, "one", start=False)
    assert await sidecar.tell("store article:1") == "hit"
    sidecar.signal(signal.SIGSTOP)
    sidecar.say("read")
    silent = await one.purger.purge(hard("article:1"), wait_s=0.01)
    assert silent.silent == ("two",)
    one.receipts.lease_s = 2.0
    receipt = await one.purger.purge(hard("article:1"), wait_s=30)
    assert receipt.acknowledged == ("one", "two")
    sidecar.signal(signal.SIGCONT)
    assert (await sidecar.process.stdout.readline()).strip() == b"miss"
    assert await sidecar.tell("trusted") == "yes"
    assert await sidecar.tell("read") == "miss"
    assert (await one.purger.purge(hard("b"), wait_s=30)).silent == ()


async def test_a_holder_that_is_killed_is_followed_within_its_lease(sidecar, valkey, replica):
    """SIGKILL: whoever waits competes again when the lease has run out, and gets it."""
    one = replica(valkey, "one", start=False)
    leases = RedisLeases(one.roles.cache, "test", 0.5)
    token = await sidecar.tell("hold k")
    sidecar.signal(signal.SIGKILL)
    taken = await leases.acquire("k")
    if isinstance(taken, Taken):
        assert taken.token == token
        assert taken.expires_in_s <= 0.5
    while isinstance(taken, Taken):
        assert await leases.wait(taken, 30) is Waited.LOST
        taken = await leases.acquire("k")
    assert isinstance(taken, Held)
