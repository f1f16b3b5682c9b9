"""What is done to the processes of a chaos test: killed, stopped, cut off, and brought back."""

import asyncio
import contextlib
import random
import shutil
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

from ..conftest import FreshValkey  # noqa: TID252 - of all tests, whatever their root is called
from .chaos_history import History, Part, Trouble
from .conftest import Origin, Sidecar

COMES_BACK_S = 0.5
"""How long clients may go on seeing a broken connection, or an origin that is not there yet, after it is over."""


@dataclass(slots=True, kw_only=True)
class Replica:
    """One sidecar, whichever process it is now."""

    number: int
    sidecar: Sidecar
    life: int = 0

    @property
    def port(self) -> int:
        """Where it serves."""
        return int(self.sidecar.url.rpartition(":")[2])

    @property
    def admin_port(self) -> int:
        """Where it is operated."""
        return int(self.sidecar.admin.rpartition(":")[2])

    @property
    def resident_bytes(self) -> int:
        """How much memory its process has."""
        assert self.sidecar.popen is not None
        status = Path(f"/proc/{self.sidecar.popen.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@dataclass(slots=True, kw_only=True)
class Faults:
    """Makes trouble, each kind by its name, and notes when."""

    replicas: list[Replica]
    server: FreshValkey
    origin: Origin
    history: History
    done: list[str] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(11))

    async def nothing_happens(self, for_s: float) -> None:
        """What happens elsewhere meanwhile happens alone: troubles can hide each other's effects."""
        await asyncio.sleep(for_s)

    async def replica_is_stopped(self, for_s: float) -> None:
        """SIGSTOP, and after a while SIGCONT."""
        replica = self._pick()
        async with self._trouble(replica.number):
            replica.sidecar.send(signal.SIGSTOP)
            await asyncio.sleep(for_s)
            replica.sidecar.send(signal.SIGCONT)

    async def replica_is_killed(self, for_s: float) -> None:
        """SIGKILL, and a new process in its place."""
        replica = self._pick()
        async with self._trouble(replica.number):
            await asyncio.to_thread(replica.sidecar.end, signal.SIGKILL)
            await asyncio.sleep(for_s)
            replica.life += 1
            replica.sidecar.start()
            await asyncio.to_thread(replica.sidecar.ready)

    async def replica_is_replaced(self, for_s: float) -> None:
        """SIGTERM, as a deployment does it: it drains, and a new process takes its place."""
        replica = self._pick()
        async with self._trouble(replica.number):
            assert await asyncio.to_thread(replica.sidecar.end) == 0
            await asyncio.sleep(for_s)
            replica.life += 1
            replica.sidecar.start()
            await asyncio.to_thread(replica.sidecar.ready)

    async def redis_is_stopped(self, for_s: float) -> None:
        """It hangs: its connections are open and bring nothing."""
        async with self._trouble(Part.REDIS):
            self.server.pause()
            await self._silence(for_s)
            self.server.resume()

    async def redis_is_killed(self, for_s: float) -> None:
        """SIGKILL; it comes back with all that it had (appendonly, fsync always)."""
        async with self._trouble(Part.REDIS):
            self.server.kill()
            await self._silence(for_s)
            await asyncio.to_thread(self.server.start)

    async def redis_loses_everything(self, for_s: float) -> None:
        """It comes back empty: clock, stream, entries and leases are gone."""
        with self.server.client() as client:
            directory = Path(client.config_get("dir")["dir"])
        async with self._trouble(Part.REDIS):
            self.server.kill()
            shutil.rmtree(directory / "appendonlydir")
            await self._silence(for_s)
            await asyncio.to_thread(self.server.start)

    async def redis_goes_back(self, for_s: float) -> None:
        """It comes back as it was a while ago: from a snapshot, or as a replica of it that lagged."""
        with self.server.client() as client:
            directory = Path(client.config_get("dir")["dir"])
        shutil.copytree(directory / "appendonlydir", directory / "older")
        await asyncio.sleep(for_s)
        async with self._trouble(Part.REDIS):
            self.server.kill()
            shutil.rmtree(directory / "appendonlydir")
            (directory / "older").rename(directory / "appendonlydir")
            await asyncio.to_thread(self.server.start)

    async def redis_is_flushed(self, for_s: float) -> None:
        """The same without a break."""
        async with self._trouble(Part.REDIS):
            with self.server.client() as client:
                client.flushall()
            await asyncio.sleep(for_s)

    async def bus_is_cut(self, for_s: float) -> None:
        """Every subscriber's connection is closed, again and again."""
        until = time.monotonic() + for_s
        while time.monotonic() < until:
            with self.server.client() as client, contextlib.suppress(redis.ConnectionError):
                client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await asyncio.sleep(0.2)

    async def connections_are_cut(self, _for_s: float) -> None:
        """Those on which commands are sent, with whatever is on its way."""
        async with self._trouble(Part.REDIS):
            with self.server.client() as client:
                client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    async def origin_is_stopped(self, for_s: float) -> None:
        """It accepts connections and does not answer."""
        async with self._trouble(Part.ORIGIN):
            self.origin.send(signal.SIGSTOP)
            await asyncio.sleep(for_s)
            self.origin.send(signal.SIGCONT)

    async def origin_is_killed(self, for_s: float) -> None:
        """Its connections break, and new ones are refused until there is another."""
        async with self._trouble(Part.ORIGIN):
            await asyncio.to_thread(self.origin.end, signal.SIGKILL)
            await asyncio.sleep(for_s)
            self.origin.start()
            await self._listens(self.origin.port)

    async def run(self, plan: list[tuple[Callable[[float], Awaitable[None]], float]], calm_s: float) -> None:
        """One after the other, with calm in between."""
        for fault, for_s in plan:
            self.done.append(f"{time.monotonic():.3f} {fault.__name__} {for_s}")
            await fault(for_s)
            await asyncio.sleep(calm_s)

    def _pick(self) -> Replica:
        """One that is not in trouble."""
        now = time.monotonic()
        return self.chance.choice(
            [each for each in self.replicas if not self.history.in_trouble(each.number, now, now)]
        )

    async def _silence(self, for_s: float) -> None:
        """No replica can hear anything meanwhile."""
        began_at = time.monotonic()
        await asyncio.sleep(for_s)
        self.history.troubles.append(Trouble(Part.BUS, began_at, time.monotonic()))

    @asynccontextmanager
    async def _trouble(self, what: int | Part) -> AsyncIterator[None]:
        trouble = Trouble(what, time.monotonic())
        self.history.troubles.append(trouble)
        yield
        trouble.until = time.monotonic() + COMES_BACK_S

    @staticmethod
    async def _listens(port: int) -> None:
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)
