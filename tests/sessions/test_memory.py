"""Sessions in memory: never longer than trusted, and never after a purge."""

import asyncio
from dataclasses import dataclass

import pytest

from cacheproxy.policy.identity import SessionRules
from cacheproxy.policy.tags import named_tag
from cacheproxy.redis_link.contract import Budget
from cacheproxy.sessions.contract import Session
from cacheproxy.sessions.memory import SessionMemory


@dataclass(frozen=True)
class Purge:
    """What the bus brings."""

    tags: tuple[str, ...]


class Shared:
    """What stands for Redis: knows how often it was asked, and can be held."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, object]] = {}
        self.asked = 0
        self.reached = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self, session_id: str, budget: Budget | None = None) -> Session | None:
        """What is there when asked, told when the gate is open."""
        self.asked += 1
        fields = self.sessions.get(session_id)
        self.reached.set()
        await self.gate.wait()
        return None if fields is None else Session(session_id, fields)


@pytest.fixture
def shared() -> Shared:
    """Two sessions of one user and one of another."""
    shared = Shared()
    shared.sessions = {"a1": {"user_id": "a"}, "a2": {"user_id": "a"}, "b1": {"user_id": "b"}}
    return shared


@pytest.fixture
def memory(shared: Shared, clock) -> SessionMemory:
    """Trusted for a long time."""
    memory = SessionMemory(shared, SessionRules(memory_s=1.0), clock)
    memory.trust(True)
    return memory


async def load_all(memory: SessionMemory) -> None:
    """All three sessions, so that they are in memory."""
    for session_id in ("a1", "a2", "b1"):
        await memory.load(session_id)


async def test_a_session_is_asked_for_once_a_second(memory: SessionMemory, shared: Shared, clock) -> None:
    """Within ``memory_s`` a session is answered from memory, and then asked for again."""
    for _ in range(10):
        await memory.load("a1")
    assert shared.asked == 1
    clock.pass_s(1.0)
    await memory.load("a1")
    assert shared.asked == 2


@pytest.mark.parametrize(
    ("tag", "left"),
    [
        ("session:a1", {"a2", "b1"}),
        ("user:a", {"b1"}),
        ("user:b", {"a1", "a2"}),
        ("*", set()),
        ("articles", {"a1", "a2", "b1"}),
        ("session:unknown", {"a1", "a2", "b1"}),
    ],
)
async def test_a_purge_forgets_whom_it_names(memory: SessionMemory, tag: str, left: set[str]) -> None:
    """A logout is held at once: of one session, of all of a user, or of everybody."""
    await load_all(memory)
    memory.apply(Purge((tag,)))
    assert {session_id for session_id in ("a1", "a2", "b1") if memory.peek(session_id)} == left


async def test_a_purge_beats_the_load_it_overtakes(memory: SessionMemory, shared: Shared) -> None:
    """A session that was read before its logout and arrives after it is not kept."""
    shared.gate.clear()
    loading = asyncio.create_task(memory.load("a1"))
    await shared.reached.wait()
    del shared.sessions["a1"]
    memory.apply(Purge(("session:a1",)))
    shared.gate.set()
    await loading
    assert await memory.load("a1") is None


async def test_other_purges_do_not_keep_sessions_out(memory: SessionMemory, shared: Shared) -> None:
    """A storm of purges of responses does not cost the sessions their memory."""
    shared.gate.clear()
    loading = asyncio.create_task(memory.load("a1"))
    await shared.reached.wait()
    memory.apply(Purge(("articles", "@path/articles")))
    shared.gate.set()
    await loading
    assert memory.peek("a1") is not None


async def test_without_trust_every_session_is_asked_for(shared: Shared, clock) -> None:
    """Before the bus has said that it is alive, nothing is answered from memory."""
    memory = SessionMemory(shared, SessionRules(), clock)
    await memory.load("a1")
    await memory.load("a1")
    assert (shared.asked, len(memory)) == (2, 0)


async def test_who_is_no_longer_trusted_asks_every_time(memory: SessionMemory, shared: Shared) -> None:
    """Once the bus is lost nobody says who has logged out: nothing is kept, not what comes from then on either."""
    await memory.load("a1")
    memory.trust(False)
    await memory.load("a1")
    await memory.load("a1")
    assert (shared.asked, len(memory)) == (3, 0)


async def test_trust_ends_by_itself(memory: SessionMemory, clock) -> None:
    """From ``until`` on nothing is answered, though nobody came to say so, and trust renewed too late finds nothing."""
    memory.trust(True, until=clock.monotonic() + 0.5)
    await memory.load("a1")
    assert memory.peek("a1") is not None
    clock.pass_s(0.5)
    assert memory.peek("a1") is None
    memory.trust(True)
    assert memory.peek("a1") is None


async def test_trust_renewed_in_time_keeps_what_is_known(memory: SessionMemory, clock) -> None:
    """A heartbeat on time costs nothing."""
    memory.trust(True, until=clock.monotonic() + 0.5)
    await memory.load("a1")
    clock.pass_s(0.4)
    memory.trust(True, until=clock.monotonic() + 0.5)
    clock.pass_s(0.4)
    assert memory.peek("a1") is not None


async def test_a_loss_of_trust_during_a_load_keeps_it_out(memory: SessionMemory, shared: Shared) -> None:
    """What was read while the link was lost and found again may have been purged unheard."""
    shared.gate.clear()
    loading = asyncio.create_task(memory.load("a1"))
    await shared.reached.wait()
    memory.trust(False)
    memory.trust(True)
    shared.gate.set()
    await loading
    assert memory.peek("a1") is None


async def test_a_session_ends_in_memory_when_it_ends(memory: SessionMemory, shared: Shared, clock) -> None:
    """``expires_at`` holds in memory too."""
    shared.sessions["a1"]["expires_at"] = clock.now() + 0.5
    await memory.load("a1")
    clock.pass_s(0.5)
    assert memory.peek("a1") is None


async def test_unknown_ids_are_not_remembered(memory: SessionMemory, shared: Shared) -> None:
    """A session that is created a moment later is found at once, and a flood of guesses fills nothing."""
    assert await memory.load("new") is None
    shared.sessions["new"] = {}
    assert await memory.load("new") == Session("new", {})


async def test_the_memory_is_bounded(shared: Shared, clock) -> None:
    """However many sessions there are, only so many are kept, with no trace of the others."""
    memory = SessionMemory(shared, SessionRules(), clock, max_sessions=10)
    memory.trust(True)
    for number in range(100):
        shared.sessions[str(number)] = {"user_id": number}
        await memory.load(str(number))
    assert len(memory) == 10
    assert len(memory._ids) == 20
    memory.apply(Purge(tuple(f"user:{number}" for number in range(100))))
    assert (len(memory), len(memory._ids)) == (0, 0)


async def test_a_session_whose_user_has_changed_is_no_longer_the_formers(
    memory: SessionMemory, shared: Shared, clock
) -> None:
    """After another login under the same id, the former user's purge no longer names it, and nothing of him is left."""
    await memory.load("a1")
    shared.sessions["a1"] = {"user_id": "c"}
    clock.pass_s(1.0)
    await memory.load("a1")
    memory.apply(Purge(("user:a",)))
    assert memory.peek("a1") is not None
    assert set(memory._ids) == {"session:a1", "user:c"}


async def test_a_user_with_a_long_name_is_purged_by_its_digest(memory: SessionMemory, shared: Shared) -> None:
    """Tags over 256 bytes are digests everywhere; the user's sessions are found by that."""
    shared.sessions["long"] = {"user_id": "u" * 300}
    await memory.load("long")
    memory.apply(Purge((named_tag("user:" + "u" * 300),)))
    assert memory.peek("long") is None
