"""Each condition of the rule is needed: with any one of them taken out, the same model serves something stale."""

import itertools

import pytest
from model_clocks import ModelClock
from model_steps import drive
from model_world import StaleError, World

from cacheproxy.errors import StateError
from cacheproxy.invalidation import tag_clock as tag_clock_module
from cacheproxy.invalidation.contract import Applied, Purge
from cacheproxy.invalidation.follower import Follower
from cacheproxy.invalidation.heard import HeardClock
from cacheproxy.invalidation.messages import Record
from cacheproxy.invalidation.mirrors import Mirrors
from cacheproxy.invalidation.replay import History, Position
from cacheproxy.redis_link.scripts import script
from cacheproxy.semantics.tag_clock import Stamp, Verdict


def _judge_without(condition: str):
    def judge(stamp, tags, *, epoch, base_us, purges):
        if condition != "epoch" and stamp.epoch != epoch:
            return Verdict.DEAD
        if condition != "base" and stamp.began_at_us <= base_us:
            return Verdict.DEAD
        hard = condition != "hard" and any(purges[tag].hard_us >= stamp.began_at_us for tag in tags if tag in purges)
        soft = condition != "soft" and any(purges[tag].soft_us >= stamp.began_at_us for tag in tags if tag in purges)
        return Verdict.DEAD if hard else Verdict.STALE if soft else Verdict.VALID

    return judge


def _fault_in_judge(condition: str):
    def plant(monkeypatch) -> None:
        for module in ("cacheproxy.storage.mirror", "cacheproxy.storage.clock_view"):
            monkeypatch.setattr(f"{module}.judge", _judge_without(condition))

    return plant


def _fault_stamp_after_fetch(monkeypatch) -> None:
    def fetch(self: World, pick: int) -> None:
        if self.fills:
            fill = self.fills[pick % len(self.fills)]
            fill.version = self.origin[fill.key]

    def store(self: World, pick: int) -> None:
        for fill in self.fills:
            fill.stamp = self.clock.begin()
        _store(self, pick)

    _store = World.store
    monkeypatch.setattr(World, "fetch", fetch)
    monkeypatch.setattr(World, "store", store)


def _fault_clock_may_go_back(monkeypatch) -> None:
    def tick(self: ModelClock) -> tuple[str, int]:
        if not self.hash:
            self.stream.clear()
            self.hash = {"epoch": next(self.epochs), "now": 0, "base": 0, "last": 0, "purges": {}}
        self.hash["now"] = self.time_us
        return self.hash["epoch"], self.hash["now"]

    monkeypatch.setattr(ModelClock, "_tick", tick)


def _fault_same_epoch_again(monkeypatch) -> None:
    created = ModelClock.__init__

    def init(self: ModelClock) -> None:
        created(self)
        self.epochs = itertools.repeat("e")

    monkeypatch.setattr(ModelClock, "__init__", init)


def _fault_missing_record_ignored(monkeypatch) -> None:
    def follow(self: Follower, record: Record) -> bool:
        at = self._here()
        if record.epoch != at.epoch:
            at = self._restart(record.epoch, record.after_us)
        self.position = Position(epoch=at.epoch, since_us=at.since_us, at_us=record.at_us)
        return True

    monkeypatch.setattr(Follower, "follow", follow)
    monkeypatch.setattr(Follower, "check", lambda _self, _beat: None)


def _fault_gap_in_history_ignored(monkeypatch) -> None:
    monkeypatch.setattr(History, "reaches", lambda _self, _at_us: True)
    _fault_missing_record_ignored(monkeypatch)


def _fault_memory_vouches_for_the_unheard(monkeypatch) -> None:
    trust = Mirrors.trust
    monkeypatch.setattr(Mirrors, "trust", lambda self, trusted, **said: trust(self, trusted, **{**said, "base_us": 0}))


def _fault_trust_without_end(monkeypatch) -> None:
    trust = Mirrors.trust
    monkeypatch.setattr(
        Mirrors, "trust", lambda self, trusted, **said: trust(self, trusted, **{**said, "until": float("inf")})
    )


def _fault_trust_before_catching_up(monkeypatch) -> None:
    monkeypatch.setattr(Follower, "distrust", lambda _self: None)


def _fault_stamp_later_than_heard(monkeypatch) -> None:
    heard = HeardClock.stamp

    def too_late(self: HeardClock) -> Stamp | None:
        stamp = heard(self)
        return None if stamp is None else Stamp(stamp.epoch, stamp.began_at_us + 2)

    monkeypatch.setattr(HeardClock, "stamp", too_late)


def _fault_heard_in_another_epoch(monkeypatch) -> None:
    def stamp(self: HeardClock) -> Stamp | None:
        return Stamp(self._epoch, self._at_us + 1)

    def apply(self: HeardClock, purge: Applied) -> None:
        self._epoch, self._at_us = purge.epoch, max(self._at_us, purge.at_us)

    monkeypatch.setattr(HeardClock, "stamp", stamp)
    monkeypatch.setattr(HeardClock, "apply", apply)


FAULTS = {
    "epoch-not-compared": _fault_in_judge("epoch"),
    "base-not-compared": _fault_in_judge("base"),
    "hard-purge-not-compared": _fault_in_judge("hard"),
    "soft-purge-not-compared": _fault_in_judge("soft"),
    "stamp-taken-after-the-origin": _fault_stamp_after_fetch,
    "clock-may-go-back": _fault_clock_may_go_back,
    "same-epoch-after-eviction": _fault_same_epoch_again,
    "missing-record-ignored": _fault_missing_record_ignored,
    "gap-in-history-ignored": _fault_gap_in_history_ignored,
    "memory-vouches-for-what-it-did-not-hear": _fault_memory_vouches_for_the_unheard,
    "trust-without-end": _fault_trust_without_end,
    "trust-while-disconnected": _fault_trust_before_catching_up,
    "stamp-later-than-what-was-heard": _fault_stamp_later_than_heard,
    "heard-times-of-two-epochs-mixed": _fault_heard_in_another_epoch,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_without_any_one_condition_the_model_serves_something_stale(fault, monkeypatch) -> None:
    """Each condition of the rule is needed: with it removed the same model fails."""
    FAULTS[fault](monkeypatch)

    def search() -> None:
        for seed in range(60):
            drive(World(ModelClock()), 10_000, seed)

    with pytest.raises(StaleError):
        search()


# what is taken out of a script, and what is put in its place
SCRIPT_FAULTS = {
    "same-epoch-after-eviction": ("epoch, last = ARGV[1], 0", "epoch, last = 'e', 0"),
    "purge-not-marked": (
        "redis.call('HSET', CLOCK, field, us(hard)",
        "redis.call('HSET', CLOCK, field .. '?', us(hard)",
    ),
    "purge-forgets-the-other-mode": ("hard, soft = tonumber(hard or 0), tonumber(soft or 0)", "hard, soft = 0, 0"),
    "compaction-drops-too-much": (
        "if last_of(fields[i], fields[i + 1]) <= base then",
        "if last_of(fields[i], fields[i + 1]) <= now then",
    ),
    "base-not-moved": ("redis.call('HSET', CLOCK, 'base', us(base), 'sweep', step[1])", ""),
}


def _plant(monkeypatch, before: str, after: str) -> None:
    planted = 0
    for name in ("_BEGIN", "_BEAT", "_PURGE"):
        whole = getattr(tag_clock_module, name)
        planted += before in whole.source
        monkeypatch.setattr(tag_clock_module, name, script(whole.name, whole.source.replace(before, after)))
    assert planted


@pytest.mark.parametrize("fault", SCRIPT_FAULTS)
def test_without_any_one_line_the_real_scripts_serve_something_stale(fault, real_clock, monkeypatch) -> None:
    """Each condition in the scripts is needed as well."""
    _plant(monkeypatch, *SCRIPT_FAULTS[fault])

    def search() -> None:
        for seed in range(60):
            real_clock.flush()
            real_clock.time_us = 1_000_000
            drive(World(real_clock), 10_000, seed)

    with pytest.raises(StaleError):
        search()


def test_a_clock_that_went_back_could_not_lose_a_purge_in_silence(real_clock, monkeypatch) -> None:
    """The stream takes no record that is older than its last, so such a purge fails and is kept for later."""
    _plant(monkeypatch, "math.max(wall(), last + 1)", "wall()")
    real_clock.purge(Purge(tags=("a",)))
    real_clock.time_us -= 1
    with pytest.raises(StateError):
        real_clock.purge(Purge(tags=("a",)))
