"""What the chaos tests look for is found where it is, and nothing where all is well."""

from dataclasses import replace

import pytest

from .chaos_history import LEASE_S, LONGEST_S, SETTLES_S, Answer, Floor, History, Part, Trouble

GOOD = Answer(
    replica=0, life=0, method="GET", path="/v/1", began_at=10.0, ended_at=10.1, status=200, version=5, cache="HIT"
)
FLOOR = Floor(path="/v/1", version=6, at=9.0)


def found(*answers: Answer, floors: tuple[Floor, ...] = (), troubles: tuple[Trouble, ...] = ()) -> list[str]:
    """The kinds of violations, only ``/s/`` being allowed to be stale."""
    history = History(list(answers), list(floors), list(troubles))
    return [line.partition(":")[0] for line in history.violations(["/s/"])]


@pytest.mark.parametrize(
    ("floor", "kinds"),
    [
        pytest.param(FLOOR, ["too old"], id="purged-everywhere"),
        pytest.param(replace(FLOOR, version=5), [], id="new-enough"),
        pytest.param(replace(FLOOR, at=10.05), [], id="asked-before"),
        pytest.param(replace(FLOOR, path="/v/2"), [], id="another-thing"),
        pytest.param(replace(FLOOR, replica=0), ["too old"], id="here"),
        pytest.param(replace(FLOOR, replica=1), [], id="elsewhere"),
        pytest.param(replace(FLOOR, replica=0, life=1), [], id="another-process"),
        pytest.param(replace(FLOOR, soft=True), ["too old"], id="softly-but-served-as-fresh"),
    ],
)
def test_an_answer_older_than_a_purge_is_found(floor: Floor, kinds: list[str]) -> None:
    """Only if it was asked for after the purge was in force where it was asked for."""
    assert found(GOOD, floors=(floor,)) == kinds


def test_what_is_marked_stale_may_be_older_than_a_soft_purge_and_no_hard_one() -> None:
    """And only where the route allows it."""
    stale = replace(GOOD, path="/s/1", cache="STALE")
    soft = replace(FLOOR, path="/s/1", soft=True)
    assert found(stale, floors=(soft,)) == []
    assert found(stale, floors=(soft, replace(soft, soft=False))) == ["too old"]
    assert found(replace(GOOD, cache="STALE")) == ["stale"]


def test_an_error_is_excused_by_the_origins_trouble_and_a_break_by_the_replicas() -> None:
    """Not by each other's, nor by trouble at another time."""
    error, broken = replace(GOOD, status=502), replace(GOOD, status=0)
    for wrong, excuse, no_excuse in ((error, Part.ORIGIN, 0), (broken, 0, Part.ORIGIN)):
        assert found(wrong) == ["failed"]
        assert found(wrong, troubles=(Trouble(excuse, 9, 10.05),)) == []
        assert found(wrong, troubles=(Trouble(excuse, 8, 9), Trouble(no_excuse, 9, 11))) == ["failed"]


def test_who_waits_too_long_is_found() -> None:
    """Unless the replica itself stood still."""
    slow = replace(GOOD, ended_at=10.1 + LONGEST_S)
    assert found(slow) == ["slow"]
    assert found(slow, troubles=(Trouble(0, 11),)) == []


def test_a_hit_while_nobody_vouches_for_memory_is_found() -> None:
    """Once the lease of memory is over, until the bus may be heard again."""
    assert found(GOOD, troubles=(Trouble(Part.BUS, 9.9 - LEASE_S, 11),)) == ["from memory without the bus"]
    assert found(GOOD, troubles=(Trouble(Part.BUS, 9.9, 11), Trouble(Part.BUS, 1, 10.05))) == []


def test_what_nobody_waited_for_must_settle_in_time() -> None:
    """Everywhere, unless it was lost with its replica, or with Redis."""
    written = replace(FLOOR, at=10.0 - SETTLES_S, replica=1)
    for trouble, floors in ((2, 1), (1, 0), (Part.REDIS, 0)):
        history = History(troubles=[Trouble(trouble, 5.0, 6.0)])
        history.settle([written])
        assert len(history.floors) == floors
