"""What every store promises, over the memory, the Redis and the tiered store."""

from collections.abc import Callable

import pytest

from cacheproxy.invalidation.contract import PurgeMode
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.tag_clock import Stamp, Verdict
from cacheproxy.storage.contract import Entry

ANY = Fields()
MakeEntry = Callable[..., Entry]


async def test_what_was_written_is_read(place, entry: MakeEntry) -> None:
    """An entry comes back equal in every part."""
    kept = entry(body=b"\x00\xff" * 100, swr_s=3.0, sie_s=4.5, initial_age_s=0.25, must_revalidate=True)
    await place.store.write(kept)
    found = await place.store.read("k", ANY)
    assert found is not None
    assert (found.entry, found.verdict) == (kept, Verdict.VALID)


async def test_what_was_written_at_once_is_read(place, entry: MakeEntry) -> None:
    """A store that would have to wait does nothing, and says so."""
    written = place.store.write_now(entry())
    assert (await place.store.read("k", ANY) is not None) is written


async def test_an_unknown_key_is_a_miss(place) -> None:
    """Nothing under a key is None, no entries, and nothing to delete."""
    assert await place.store.read("k", ANY) is None
    assert place.store.peek("k", ANY) is None
    assert await place.store.variants("k") == []
    assert await place.store.delete("k") == 0


async def test_a_second_write_replaces_the_first(place, entry: MakeEntry) -> None:
    """One entry per key and variance: the last written."""
    await place.store.write(entry(body=b"old"))
    await place.store.write(entry(body=b"new"))
    assert [each.body for each in await place.store.variants("k")] == [b"new"]


async def test_what_is_past_its_keeping_is_gone(place, entry: MakeEntry) -> None:
    """Beyond ``keep_until`` an entry is not written at all."""
    await place.store.write(entry(keep_until=place.clock.now() - 1))
    assert await place.store.read("k", ANY) is None


@pytest.mark.parametrize(
    ("began_at_us", "verdict"),
    [
        pytest.param(199, None, id="began-before-the-purge"),
        pytest.param(200, None, id="began-at-the-purge"),
        pytest.param(201, Verdict.VALID, id="began-after-the-purge"),
    ],
)
async def test_a_purge_kills_what_began_no_later(place, entry, began_at_us: int, verdict: Verdict | None) -> None:
    """A fill that began at or before a purge of one of its tags is dead, whether stored before or after the purge."""
    stored = entry(stamp=Stamp("e1", began_at_us))
    await place.store.write(stored)
    await place.purge(200, "article:1")
    before = await place.store.read("k", ANY)
    await place.store.write(stored)
    after = await place.store.read("k", ANY)
    assert (before and before.verdict, after and after.verdict) == (verdict, verdict)


async def test_a_purge_of_another_tag_kills_nothing(place, entry: MakeEntry) -> None:
    """Tags are compared whole: ``article:1`` is not ``article:11``, nor ``article``."""
    await place.store.write(entry())
    await place.purge(200, "article:11", "article", "")
    assert await place.store.read("k", ANY) is not None


async def test_a_soft_purge_makes_stale(place, entry: MakeEntry) -> None:
    """A softly purged entry is found, and said to be stale; a hard purge after it kills."""
    await place.store.write(entry())
    await place.purge(200, "articles", mode=PurgeMode.SOFT)
    found = await place.store.read("k", ANY)
    assert found is not None
    assert found.verdict is Verdict.STALE
    await place.purge(300, "articles")
    assert await place.store.read("k", ANY) is None


async def test_tags_named_by_the_caller_change_no_verdict(place, entry: MakeEntry) -> None:
    """Naming all, some or foreign tags in ``read`` saves a trip and nothing else."""
    await place.store.write(entry())
    for tags in ((), ("articles",), ("articles", "article:1"), ("other",)):
        assert await place.store.read("k", ANY, None, tags) is not None
    await place.purge(200, "article:1")
    for tags in ((), ("articles",), ("articles", "article:1"), ("other",)):
        assert await place.store.read("k", ANY, None, tags) is None


async def test_what_began_at_or_before_base_is_dead(place, entry: MakeEntry) -> None:
    """``base`` stands for all purges that the clock has forgotten."""
    await place.store.write(entry(stamp=Stamp("e1", 100)))
    await place.set_clock("e1", base_us=100)
    assert await place.store.read("k", ANY) is None


async def test_a_new_epoch_kills_everything(place, entry: MakeEntry) -> None:
    """A tag clock that was lost and made anew knows of no purge, so nothing from before it counts."""
    await place.store.write(entry())
    await place.set_clock("e2")
    assert await place.store.read("k", ANY) is None
    assert await place.store.variants("k") == []


def _of(language: str) -> Fields:
    return Fields.of(("accept-language", language), ("x-device", "phone"))


VARYING = Fields.of(("vary", "Accept-Language, X-Device"))


async def test_variants_live_side_by_side(place, entry: MakeEntry) -> None:
    """Each request gets the response to its own fields; one that fits none is a miss."""
    for language in ("en", "de"):
        await place.store.write(entry(body=language.encode(), request=_of(language), fields=VARYING))
    for language in ("de", "en", "de"):
        found = await place.store.read("k", _of(language))
        assert found is not None
        assert found.entry.body == language.encode()
    assert await place.store.read("k", _of("fr")) is None
    assert await place.store.read("k", ANY) is None


async def test_the_best_language_is_found(place, entry: MakeEntry) -> None:
    """Where no variant matches exactly, the one in the language the client likes best is (RFC 9111 §4.1)."""
    for language in ("en", "de"):
        fields = VARYING.plus((b"content-language", language.encode()))
        await place.store.write(entry(body=language.encode(), request=_of(language), fields=fields))
    found = await place.store.read("k", _of("de;q=0.9, en;q=0.1"))
    assert found is not None
    assert found.entry.body == b"de"


async def test_variants_are_capped(place, entry: MakeEntry) -> None:
    """Beyond the cap (4 here) the oldest variant goes: a client that varies its fields cannot fill the store."""
    for n in range(6):
        kept = entry(body=b"%d" % n, request=_of(f"l{n}"), fields=VARYING, received_at=place.clock.now() + n)
        await place.store.write(kept)
    assert [each.body for each in await place.store.variants("k")] == [b"5", b"4", b"3", b"2"]


async def test_purge_and_delete_reach_every_variant(place, entry: MakeEntry) -> None:
    """A purge kills the variants it names; a delete drops them all and counts them."""
    for language in ("en", "de", "fr"):
        await place.store.write(entry(request=_of(language), fields=VARYING, tags=(language,)))
    await place.purge(200, "de")
    assert await place.store.read("k", _of("de")) is None
    assert await place.store.read("k", _of("en")) is not None
    assert await place.store.delete("k") in {2, 3}
    assert await place.store.variants("k") == []


async def test_an_origin_that_changes_its_mind_about_vary(place, entry: MakeEntry) -> None:
    """A response without Vary replaces the variants, and one with Vary replaces that."""
    await place.store.write(entry(body=b"en", request=_of("en"), fields=VARYING))
    await place.store.write(entry(body=b"all"))
    found = await place.store.read("k", _of("de"))
    assert found is not None
    assert found.entry.body == b"all"
    await place.store.write(entry(body=b"de", request=_of("de"), fields=VARYING))
    assert await place.store.read("k", _of("en")) is None
    found = await place.store.read("k", _of("de"))
    assert found is not None
    assert found.entry.body == b"de"
