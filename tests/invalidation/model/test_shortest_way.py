"""Nothing stale survives a purge: hypothesis looks for a way, and for the shortest one if there is any."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from model_clocks import ModelClock, RealClock
from model_world import KEYS, LEASE_S, REPLICAS, StaleError, World

from cacheproxy.invalidation.contract import PurgeMode
from cacheproxy.semantics.tag_clock import judge

_keys = st.sampled_from(KEYS)
_replicas = st.integers(0, REPLICAS - 1)
_modes = st.sampled_from(PurgeMode)
_picks = st.integers(0, 7)


class Machine(RuleBasedStateMachine):
    """One rule for each kind of step, those that make up a working replica in one."""

    make_clock: Callable[[], object] = ModelClock

    @initialize()
    def begin(self) -> None:
        """An empty world."""
        self.world = World(type(self).make_clock())

    @rule(pick=_replicas)
    def connect(self, pick: int) -> None:
        """A replica connects, and hears its first heartbeat if nothing else is in the way."""
        for step in (self.world.subscribe, self.world.first_beat, self.world.catch_up):
            step(pick)

    @rule(pick=_replicas, until=st.integers(0, 2))
    def connect_slowly(self, pick: int, until: int) -> None:
        """A replica gets only so far."""
        for step in (self.world.subscribe, self.world.first_beat, self.world.catch_up)[:until]:
            step(pick)

    @rule(pick=_replicas, n=st.integers(1, 5))
    def deliver(self, pick: int, n: int) -> None:
        """Some messages arrive."""
        for _ in range(n):
            self.world.deliver(pick)

    @rule(pick=_replicas)
    def beat(self, pick: int) -> None:
        """A heartbeat."""
        self.world.beat(pick)

    @rule(pick=_replicas, key=_keys)
    def fill(self, pick: int, key: str) -> None:
        """A fill without anything in between."""
        self.world.begin_fill(pick, key)
        self.world.fetch(len(self.world.fills) - 1)
        self.world.store(7)

    @rule(pick=_replicas, key=_keys)
    def begin_fill(self, pick: int, key: str) -> None:
        """A fill begins."""
        self.world.begin_fill(pick, key)

    @rule(pick=_replicas, key=_keys)
    def begin_heard(self, pick: int, key: str) -> None:
        """A fill begins by what its replica has heard."""
        self.world.begin_heard(pick, key)

    @rule(pick=_replicas, key=_keys)
    def fill_heard(self, pick: int, key: str) -> None:
        """Such a fill without anything in between."""
        self.world.begin_heard(pick, key)
        self.world.fetch(len(self.world.fills) - 1)
        self.world.store(7)

    @rule(pick=_picks)
    def fetch(self, pick: int) -> None:
        """The origin answers."""
        self.world.fetch(pick)

    @rule(pick=_picks)
    def store(self, pick: int) -> None:
        """A fill is stored."""
        self.world.store(pick)

    @rule(key=_keys, mode=_modes, whole=st.booleans(), by=st.none() | _replicas)
    def change(self, key: str, mode: PurgeMode, whole: bool, by: int | None) -> None:
        """A change and its purge."""
        self.world.change(key, mode, whole=whole, by=by)

    @rule(pick=_replicas, key=_keys)
    def read(self, pick: int, key: str) -> None:
        """A request: memory first, then Redis."""
        self.world.read_l1(pick, key)
        self.world.read_l2(pick, key)

    @rule(pick=_picks)
    def promote(self, pick: int) -> None:
        """A late copy from Redis into memory."""
        self.world.promote(pick)

    @rule(pick=_replicas, how=st.sampled_from(("disconnect", "lose", "restart")))
    def harm_replica(self, pick: int, how: str) -> None:
        """Something befalls a replica."""
        getattr(self.world, how)(pick)

    @rule(how=st.sampled_from(("evict_clock", "flush", "trim")), keep=st.integers(0, 3))
    def harm_redis(self, how: str, keep: int) -> None:
        """Something befalls Redis."""
        if how == "trim":
            self.world.trim_stream(keep)
        else:
            getattr(self.world, how)()

    @rule(by_us=st.integers(-1_000_000, 5_000))
    def jump(self, by_us: int) -> None:
        """Redis's wall clock is set."""
        self.world.jump(by_us)

    @rule(seconds=st.sampled_from((1.0, 10.0, LEASE_S)))
    def wait(self, seconds: float) -> None:
        """Time goes by."""
        self.world.wait(seconds)


def _explore(make_clock: Callable[[], object], **more: object) -> None:
    class Bound(Machine):
        """The machine over one kind of clock."""

    Bound.make_clock = staticmethod(make_clock)
    limits = settings(
        stateful_step_count=60, deadline=None, database=None, suppress_health_check=list(HealthCheck), **more
    )
    run_state_machine_as_test(Bound, settings=limits)


def test_hypothesis_finds_no_way_to_serve_something_stale() -> None:
    """Over the model of the clock."""
    _explore(ModelClock, max_examples=200)


def test_hypothesis_finds_no_way_with_the_real_scripts(real_clock) -> None:
    """Over the scripts as Valkey runs them."""

    def make() -> RealClock:
        real_clock.flush()
        real_clock.time_us = 1_000_000
        return real_clock

    _explore(make, max_examples=60)


def test_hypothesis_finds_a_planted_fault(monkeypatch) -> None:
    """With the epoch left out of the rule, it comes upon a way by itself."""

    def without_epoch(stamp, tags, *, epoch, base_us, purges):
        return judge(stamp, tags, epoch=stamp.epoch, base_us=base_us, purges=purges)

    for module in ("cacheproxy.storage.mirror", "cacheproxy.storage.clock_view"):
        monkeypatch.setattr(f"{module}.judge", without_epoch)
    with pytest.raises(StaleError):
        _explore(ModelClock, max_examples=2_000, derandomize=True, phases=[Phase.generate])
