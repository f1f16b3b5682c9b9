"""Entries as each route's rules want them in Redis: what does not open is a miss, never a wrong body."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.redis_link.connect import Roles
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.rules import CacheRules, CompressRules
from cacheproxy.storage.codec import Corrupt, CorruptReason, pack
from cacheproxy.storage.contract import Entry
from cacheproxy.storage.envelope import Envelope
from cacheproxy.storage.redis import RedisStore
from cacheproxy.storage.sealing import Keyring

ANY = Fields()
OLD, NEW = ("2025", bytes(range(32))), ("2026", bytes(range(16)))
RULES = {
    "articles": CacheRules(encrypt=True),
    "large": CacheRules(compress=CompressRules(above_bytes=100)),
    "both": CacheRules(encrypt=True, compress=CompressRules(above_bytes=100)),
    "open": CacheRules(),
}
SECRET = b'{"iban": "DE02120300000000202051"}'
MakeEntry = Callable[..., Entry]


def sealing(*keys: tuple[str, bytes]) -> Envelope:
    """An envelope with these keys."""
    return Envelope(Keyring(keys), RULES)


@given(
    route=st.sampled_from(sorted(RULES)), key=st.text(min_size=1), body=st.binary(max_size=50), times=st.integers(1, 9)
)
def test_what_was_wrapped_is_unwrapped(entry: MakeEntry, route: str, key: str, body: bytes, times: int) -> None:
    """Every entry comes back equal, whatever its route's rules, its key and its body."""
    kept = entry(key, body * times, route=route)
    wrapped = sealing(NEW).wrap(kept)
    assert wrapped is not None
    assert sealing(NEW).unwrap(key, wrapped) == kept


@pytest.mark.parametrize(("route", "start"), [("open", b"1"), ("large", b"2"), ("articles", b"3"), ("both", b"3")])
def test_each_route_has_its_own_form(entry: MakeEntry, route: str, start: bytes) -> None:
    """As its rules say, at once after another policy is in force, and sealed where a route is unknown."""
    kept = entry(body=SECRET * 9, route=route)
    envelope = sealing(NEW)
    assert wrapped(envelope, kept).startswith(b"cacheproxy " + start)
    assert wrapped(envelope, replace(kept, route="gone")).startswith(b"cacheproxy 3 2026\n")
    envelope.follow({})
    assert wrapped(envelope, kept) == pack(kept)


@pytest.mark.parametrize(("most_bytes", "is_read"), [(5000, True), (4999, False)])
def test_nothing_is_unpacked_beyond_what_may_be_stored(entry: MakeEntry, most_bytes: int, *, is_read: bool) -> None:
    """Whoever may write to Redis cannot fill our memory: a value is no larger than the largest ``max_body`` allows."""
    kept = entry(body=bytes(5000), route="large")
    value = wrapped(Envelope(rules=RULES), kept)
    envelope = Envelope(rules={"small": CacheRules(max_body_bytes=1), "large": CacheRules(max_body_bytes=most_bytes)})
    assert envelope.unwrap("k", value) == (kept if is_read else Corrupt(CorruptReason.MALFORMED))


def wrapped(envelope: Envelope, entry: Entry) -> bytes:
    """What is to stand in Redis."""
    value = envelope.wrap(entry)
    assert value is not None
    return value


def test_nothing_of_a_sealed_response_can_be_read(entry: MakeEntry) -> None:
    """Neither its body nor its fields, tags and times; twice the same entry are two values."""
    kept = entry(body=SECRET, fields=Fields.of(("x-account", "4711")), tags=("user:4711",))
    value = wrapped(sealing(NEW), kept)
    assert value != wrapped(sealing(NEW), kept)
    assert not [part for part in (b"iban", b"4711", b"x-account", b"fields", b"status") if part in value]


def test_every_changed_byte_of_a_sealed_value_is_a_miss(entry: MakeEntry) -> None:
    """Each byte in turn, to every other value, in the key's id, the nonce, the text and the tag."""
    envelope = Envelope(Keyring([NEW, ("2025", NEW[1])]), RULES)
    value = wrapped(envelope, entry(body=SECRET))
    for at in range(len(value)):
        for by in range(1, 256):
            changed = bytearray(value)
            changed[at] ^= by
            assert isinstance(envelope.unwrap("k", bytes(changed)), Corrupt), (at, by)


def test_every_cut_sealed_value_is_a_miss(entry: MakeEntry) -> None:
    """A sealed value cut short anywhere, or with more after it, does not open."""
    value = wrapped(sealing(NEW), entry())
    for length in range(len(value)):
        assert isinstance(sealing(NEW).unwrap("k", value[:length]), Corrupt), length
    assert sealing(NEW).unwrap("k", value + b"\n") == Corrupt(CorruptReason.SEALED)


def test_a_sealed_value_opens_under_its_own_key_alone(entry: MakeEntry) -> None:
    """Copied to another reader's cache key, it is a miss: the tag is over the key, too."""
    value = wrapped(sealing(NEW), entry("user:1"))
    assert sealing(NEW).unwrap("user:2", value) == Corrupt(CorruptReason.SEALED)


def test_an_id_belongs_to_what_is_sealed(entry: MakeEntry) -> None:
    """A value whose key id was exchanged for another of the same AES key does not open."""
    value = wrapped(sealing(NEW), entry())
    renamed = value.replace(b"2026", b"2025", 1)
    assert Envelope(Keyring([("2025", NEW[1])]), RULES).unwrap("k", renamed) == Corrupt(CorruptReason.SEALED)


def test_keys_are_replaced_step_by_step(entry: MakeEntry) -> None:
    """First every replica knows the new key, then it encrypts, then the old one goes: no step loses an entry."""
    kept = entry()
    steps = [sealing(OLD), sealing(OLD, NEW), sealing(NEW, OLD), sealing(NEW)]
    for one, other in pairwise(steps):
        assert other.unwrap("k", wrapped(one, kept)) == kept
        assert one.unwrap("k", wrapped(other, kept)) == kept
    assert steps[-1].unwrap("k", wrapped(steps[0], kept)) == Corrupt(CorruptReason.SEALED)


def test_what_was_stored_before_is_still_read(entry: MakeEntry) -> None:
    """Encryption and compression can be switched on and off: entries in any other form stay hits."""
    kept = entry(body=SECRET * 9)
    for value in (pack(kept), pack(kept, CompressRules(above_bytes=10)), wrapped(sealing(NEW), kept)):
        assert Envelope(Keyring([NEW])).unwrap("k", value) == kept


@pytest.mark.parametrize("value", [b"cacheproxy 3 ", b"cacheproxy 3 2026", b"cacheproxy 3 2026\n", b"cacheproxy 3 /\n"])
def test_nonsense_that_claims_to_be_sealed_is_a_miss(value: bytes) -> None:
    """Whatever stands behind the beginning."""
    assert sealing(NEW).unwrap("k", value) == Corrupt(CorruptReason.SEALED)


@given(st.binary())
def test_any_bytes_that_claim_to_be_sealed_are_a_miss(rest: bytes) -> None:
    """Nothing but the key makes a value that opens."""
    assert isinstance(sealing(NEW).unwrap("k", b"cacheproxy 3 2026\n" + rest), Corrupt)


async def test_a_replica_without_the_key_misses_and_goes_on(
    roles: Roles, redis_place, clock, valkey: str, entry: MakeEntry
) -> None:
    """It counts the value as one that is no entry; what it stores instead, in the clear, all can read."""
    have, have_not = (
        RedisStore(roles.cache, prefix="test", clock=clock, envelope=envelope)
        for envelope in (sealing(NEW), Envelope())
    )
    kept = entry(body=SECRET)
    await have.write(kept)
    with redis.Redis.from_url(valkey) as outside:
        assert outside.get("k").startswith(b"cacheproxy 3 2026\n")
    assert (found := await have.read("k", ANY)) is not None
    assert found.entry == kept
    assert await have_not.read("k", ANY) is None
    assert have_not.corrupt == 1
    await have_not.write(kept)
    assert await have.read("k", ANY) is not None


async def test_sealed_variants_show_only_what_anybody_sends(
    roles: Roles, redis_place, clock, valkey: str, entry: MakeEntry
) -> None:
    """The list of variants is in the clear: a response that varies by a cookie is not put there, by language it is."""
    store = RedisStore(roles.cache, prefix="test", clock=clock, envelope=sealing(NEW))
    german, personal = Fields.of(("accept-language", "de")), Fields.of(("cookie", "id=4711"))
    await store.write(entry("a", request=german, fields=Fields.of(("vary", "accept-language"))))
    await store.write(entry("b", request=personal, fields=Fields.of(("vary", "cookie"))))
    assert await store.read("a", german) is not None
    with redis.Redis.from_url(valkey) as outside:
        assert not list(outside.scan_iter("b*"))


async def test_a_large_body_is_wrapped_beside_the_event_loop(
    roles: Roles, redis_place, clock, entry: MakeEntry
) -> None:
    """And comes back as it was."""
    store = RedisStore(roles.cache, prefix="test", clock=clock, envelope=sealing(NEW))
    kept = entry(body=bytes(1 << 20), route="both")
    await store.write(kept)
    assert (found := await store.read("k", ANY)) is not None
    assert found.entry == kept
