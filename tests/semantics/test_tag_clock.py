"""The rule by which nothing stale survives a purge."""

import pytest

from cacheproxy.semantics.tag_clock import PurgeTimes, Stamp, Verdict, judge

BEGAN = Stamp("e1", 100)


@pytest.mark.parametrize(
    ("purges", "verdict"),
    [
        pytest.param({}, Verdict.VALID, id="never-purged"),
        pytest.param({"b": PurgeTimes(hard_us=200)}, Verdict.VALID, id="another-tag"),
        pytest.param({"a": PurgeTimes(hard_us=99, soft_us=99)}, Verdict.VALID, id="purged-before"),
        pytest.param({"a": PurgeTimes(hard_us=100)}, Verdict.DEAD, id="purged-as-it-began"),
        pytest.param({"a": PurgeTimes(hard_us=200)}, Verdict.DEAD, id="purged-after"),
        pytest.param({"a": PurgeTimes(soft_us=100)}, Verdict.STALE, id="softly-as-it-began"),
        pytest.param({"a": PurgeTimes(soft_us=200), "c": PurgeTimes(hard_us=200)}, Verdict.DEAD, id="hard-wins"),
    ],
)
def test_a_purge_counts_for_what_began_before_it(purges: dict[str, PurgeTimes], verdict: Verdict) -> None:
    """A fill that had begun when a tag of it was purged is dead, or stale if the purge was soft."""
    assert judge(BEGAN, ["a", "c"], epoch="e1", base_us=0, purges=purges) is verdict


@pytest.mark.parametrize(
    ("epoch", "base_us", "verdict"),
    [
        pytest.param("e1", 99, Verdict.VALID, id="same-epoch"),
        pytest.param("e2", 0, Verdict.DEAD, id="another-epoch"),
        pytest.param("e1", 100, Verdict.DEAD, id="at-the-base"),
    ],
)
def test_what_the_clock_no_longer_remembers_is_dead(epoch: str, base_us: int, verdict: Verdict) -> None:
    """Another epoch, or a time that the clock has let go of, costs a miss and never truth."""
    assert judge(BEGAN, ["a"], epoch=epoch, base_us=base_us, purges={}) is verdict
