"""What is used most is told to Redis and read from there, and what Redis says is not believed blindly."""

import pytest

from cacheproxy.engine.popular import Counters, Popular
from cacheproxy.errors import StateError
from cacheproxy.policy.warming import WarmRules
from cacheproxy.wiring.most_used import MostUsed

A, B, C = (Popular(line=f"GET a.example/{name}") for name in "abc")


class Usage:
    """Redis's part, as the test has it."""

    def __init__(self, *texts: str, error: StateError | None = None) -> None:
        """It knows ``texts``, or fails."""
        self.texts = [text.encode() for text in texts]
        self.error = error
        self.added: list[tuple[str, int]] = []

    async def add(self, uses, budget):
        """Keep what is told."""
        if self.error is not None:
            raise self.error
        self.added += uses

    async def most(self, count, budget):
        """All."""
        if self.error is not None:
            raise self.error
        return self.texts


def most_used(usage: Usage | None, *used: Popular, wanted: int = 10) -> MostUsed:
    """With ``used`` counted here, the first the most."""
    counters = Counters()
    for at, popular in enumerate(used):
        counters.add(popular.line, lambda popular=popular: popular)
        counters.again(popular.line, len(used) - at)
    return MostUsed(counters, usage, lambda: WarmRules(most_used=wanted))


async def test_what_all_replicas_know_comes_first_and_each_once():
    """Then what was counted here."""
    assert [B, A, C] == await most_used(Usage(B.text()), A, B, C).requests()
    assert [B, A] == await most_used(Usage(B.text()), A, B, C, wanted=2).requests()
    assert [A, B] == await most_used(None, A, B).requests()


async def test_nothing_is_asked_where_nothing_is_wanted():
    """Of Redis, either."""
    assert [] == await most_used(Usage(error=StateError("lost")), A, wanted=0).requests()


@pytest.mark.parametrize(
    "text", ["nonsense", "[" * 100_000, Popular(line="DELETE a/b").text(), Popular(line="GET a/b HTTP/1.1").text()]
)
async def test_what_could_not_stand_in_a_policy_is_left_out(text):
    """Whoever may write to Redis may still make us ask for nothing but pages."""
    assert [A] == await most_used(Usage(text, A.text())).requests()


async def test_uses_are_told_and_once_more_at_the_end():
    """Without Redis they are only forgotten."""
    usage = Usage()
    async with most_used(usage, A, B).telling():
        pass
    assert [(A.text(), 3), (B.text(), 2)] == usage.added
    async with most_used(None, A).telling():
        pass


async def test_without_an_answer_what_is_known_here_will_do():
    """Redis costs warmth, never a start, nor an end."""
    failing = most_used(Usage(error=StateError("timeout")), A)
    assert [A] == await failing.requests()
    async with failing.telling():
        pass
