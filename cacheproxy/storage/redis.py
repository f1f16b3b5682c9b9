"""L2: stored responses in Redis, shared by all replicas, each read with the tag clock in the same trip."""

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cacheproxy.clock import Clock, SystemClock
from cacheproxy.redis_link.contract import Budget, Command, Link
from cacheproxy.redis_link.scripts import load_script
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.tag_clock import Verdict
from cacheproxy.semantics.vary import VariantRef, choose
from cacheproxy.storage.clock_view import NO_CLOCK, ClockView, clock_command, clock_key, read_clock
from cacheproxy.storage.codec import Corrupt
from cacheproxy.storage.contract import Entry, Found, Tier
from cacheproxy.storage.envelope import Envelope, takes_long
from cacheproxy.storage.joint import Joint
from cacheproxy.storage.marker import is_marker, member, read_marker
from cacheproxy.storage.unpacked import Unpacked
from cacheproxy.storage.variants import digest, ref_of

_OWN_THREAD_BYTES = 128 << 10
"""Above this, compressing and encrypting would hold up every other request by milliseconds."""
_ADD_VARIANT = load_script(__package__, "add_variant")


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one trip brought, for all who asked."""

    under: Entry | bytes | None
    """What is under the key: an entry, or the list of its variants as it is."""
    guessed: dict[str, Entry | bytes | None]
    """The variants guessed at: the best of them as an entry, the others as they are."""
    clock: ClockView


_NOTHING = _Seen(None, {}, NO_CLOCK)
"""Of what is not there the clock says nothing."""


class RedisStore:
    """A Store shared by all replicas. Nothing here needs the bus: the tag clock is read with every entry."""

    local = False

    def __init__(
        self,
        link: Link,
        *,
        prefix: str,
        clock_link: Link | None = None,
        max_value_bytes: int = 16 << 20,
        max_variants: int = 32,
        max_remembered: int = 10_000,
        max_unpacked: int = 0,
        clock: Clock | None = None,
        envelope: Envelope | None = None,
    ) -> None:
        """Keep entries under their keys' text; ``prefix`` names the tag clock.

        ``clock_link`` leads to it where it is on another server. Larger values than ``max_value_bytes`` are not kept.
        ``envelope`` compresses and encrypts; None: entries are kept as they are.
        """
        self.corrupt = 0
        """Values that were not entries, each treated as a miss."""
        self._link = link
        self._clock_link = clock_link or link
        self._clock_key = clock_key(prefix)
        self._max_value_bytes = max_value_bytes
        self._max_variants = max_variants
        self._max_remembered = max_remembered
        self._clock = clock or SystemClock()
        self._envelope = envelope or Envelope()
        self._unpacked = Unpacked(max_unpacked)
        self._joint: Joint[_Seen] = Joint()
        self._refs: dict[str, tuple[VariantRef, ...]] = {}
        """The variants of keys that vary, as last seen: a guess that saves a trip, checked by every read."""

    def peek(
        self,
        key: str,  # noqa: ARG002 - the Store contract's
        request: Fields,  # noqa: ARG002
        tags: Collection[str] = (),  # noqa: ARG002
    ) -> Found | None:
        """None: nothing is at hand."""
        return None

    async def read(
        self, key: str, request: Fields, budget: Budget | None = None, tags: Collection[str] = ()
    ) -> Found | None:
        """The most fitting entry for ``request``; StateError if Redis did not say.

        One trip, if ``tags`` names all that the entry carries; else a second one, on hits alone.
        """
        refs = self._refs.get(key)
        seen = await self._look(key, self._fitting(refs, request) if refs else (), tags, budget)
        if seen.under is None:
            return None
        if not isinstance(seen.under, bytes):
            return await self._judged(seen.under, request, seen.clock, budget)
        refs = self._remember(key, seen.under)
        for name in self._fitting(refs, request):
            if name not in seen.guessed:
                seen = await self._look(key, (name,), tags, budget)
            entry = await self._opened(key, seen.guessed[name], tags)
            found = None if entry is None else await self._judged(entry, request, seen.clock, budget)
            if found is not None:
                return found
        return None

    async def variants(self, key: str, budget: Budget | None = None) -> list[Entry]:
        """All entries under ``key``, the newest first. StateError if Redis did not say."""
        seen = await self._look(key, (), (), budget)
        found: Iterable[Entry | None] = [seen.under] if isinstance(seen.under, Entry) else []
        if isinstance(seen.under, bytes):
            names = tuple([digest(ref) for ref in self._remember(key, seen.under)])
            seen = await self._look(key, names, (), budget)
            found = [await self._opened(key, each) for each in seen.guessed.values()]
        entries = [entry for entry in found if entry is not None]
        clock = await self._clock_for({tag for entry in entries for tag in entry.tags}, seen.clock, budget)
        alive = [entry for entry in entries if clock.judge(entry.stamp, entry.tags) is not Verdict.DEAD]
        return sorted(alive, key=lambda entry: -entry.received_at)

    async def write(self, entry: Entry, budget: Budget | None = None) -> None:
        """Keep ``entry`` until its ``keep_until``, unless it is too large. StateError if it was not kept."""
        wrap = self._envelope.wrap
        packed = await asyncio.to_thread(wrap, entry) if len(entry.body) > _OWN_THREAD_BYTES else wrap(entry)
        ttl_ms = int((entry.keep_until - self._clock.now()) * 1000)
        if packed is None or ttl_ms <= 0 or len(packed) > self._max_value_bytes:
            return
        if not entry.vary:
            await self._link.call("SET", entry.key, packed, "PX", ttl_ms, budget=budget)
            return
        ref = ref_of(entry)
        # one turn, so one pipeline: the variant is there before the marker names it
        await asyncio.gather(
            self._link.call("SET", _variant_key(entry.key, digest(ref)), packed, "PX", ttl_ms, budget=budget),
            self._link.run(
                _ADD_VARIANT,
                [entry.key],
                [member(ref, entry.keep_until), ttl_ms, self._max_variants, self._clock.now()],
                budget,
            ),
        )

    def write_now(self, entry: Entry) -> bool:  # noqa: ARG002 - Redis takes its time
        """Never at once."""
        return False

    async def delete(self, key: str, budget: Budget | None = None) -> int:
        """Drop every variant under ``key``; how many there were. StateError if not done."""
        value: bytes | None = await self._link.call("GET", key, budget=budget)
        if value is None or not is_marker(value):
            return int(await self._link.call("DEL", key, budget=budget))
        names = [digest(ref) for ref in self._remember(key, value)]
        _, *dropped = await self._link.batch(
            [("DEL", key), *(("DEL", _variant_key(key, name)) for name in names)], budget
        )
        return sum(dropped)

    def _look(
        self, key: str, names: tuple[str, ...], tags: Collection[str], budget: Budget | None
    ) -> Coroutine[Any, Any, _Seen]:
        """What there is under ``key`` and the variants ``names``, by one question of all who ask that now."""
        asked = tuple(tags)
        return self._joint.ask((key, names, asked), lambda: self._ask(key, names, asked, budget))

    async def _ask(self, key: str, names: Sequence[str], tags: tuple[str, ...], budget: Budget | None) -> _Seen:
        """One trip, or one to each server. The clock is read last: it knows of every purge that the values missed."""
        gets: list[Command] = [("GET", key), *[("GET", _variant_key(key, name)) for name in names]]
        ask_clock = clock_command(self._clock_key, tags)
        if self._clock_link is self._link:
            value, *guessed, told = await self._link.batch([*gets, ask_clock], budget)
        else:
            value, *guessed = await self._link.batch(gets, budget)
            told = await self._clock_link.call(*ask_clock, budget=budget)
        if value is None and not guessed:
            return _NOTHING
        is_list = value is not None and is_marker(value)
        under = value if is_list else await self._opened(key, value, tags)
        best = [await self._opened(key, each, tags) for each in guessed[:1]]
        variants = dict(zip(names, [*best, *guessed[1:]], strict=True))
        return _Seen(under, variants, read_clock(tags, told))

    async def _opened(self, key: str, value: Entry | bytes | None, tags: Collection[str] = ()) -> Entry | None:
        """The entry in ``value``, with ``tags`` that it must carry: another program that wrote it may not know them."""
        if not isinstance(value, bytes):
            return value
        entry = self._unpacked.entry(key, value) or await self._unwrapped(key, value)
        if entry is None:
            return None
        if entry.tags == tags or set(entry.tags).issuperset(tags):
            return entry
        return replace(entry, tags=tuple(dict.fromkeys((*entry.tags, *tags))))

    async def _unwrapped(self, key: str, value: bytes) -> Entry | None:
        unwrap = self._envelope.unwrap
        entry = await asyncio.to_thread(unwrap, key, value) if takes_long(value) else unwrap(key, value)
        if isinstance(entry, Corrupt):
            self.corrupt += 1
            return None
        self._unpacked.remember(value, entry)
        return entry

    async def _judged(self, entry: Entry, request: Fields, clock: ClockView, budget: Budget | None) -> Found | None:
        """The entry as found, unless it is dead or answers another request, whatever the marker said."""
        if (entry.vary or entry.variance) and not choose([ref_of(entry)], request):
            return None
        if not clock.knows(entry.tags):
            clock = await self._clock_for(entry.tags, clock, budget)
        verdict = clock.judge(entry.stamp, entry.tags)
        return None if verdict is Verdict.DEAD else Found(entry, verdict, Tier.L2, clock.now_us)

    async def _clock_for(self, tags: Collection[str], clock: ClockView, budget: Budget | None) -> ClockView:
        """``clock``, and what it says of those ``tags`` that only the entries named."""
        known = frozenset(clock.asked)
        unknown = [tag for tag in tags if tag not in known]
        if not unknown:
            return clock
        command = clock_command(self._clock_key, unknown)
        return clock.plus(read_clock(unknown, await self._clock_link.call(*command, budget=budget)))

    def _remember(self, key: str, value: bytes) -> tuple[VariantRef, ...]:
        refs = read_marker(value).refs
        self._refs.pop(key, None)
        if len(self._refs) >= self._max_remembered:
            del self._refs[next(iter(self._refs))]
        self._refs[key] = refs
        return refs

    @staticmethod
    def _fitting(refs: Sequence[VariantRef], request: Fields) -> tuple[str, ...]:
        """Digests of the variants to ask for: the best two, since an expired one still stands in the marker."""
        return tuple([digest(refs[index]) for index in choose(refs, request)[:2]])


def _variant_key(key: str, name: str) -> str:
    return f"{key}:~{name}"
