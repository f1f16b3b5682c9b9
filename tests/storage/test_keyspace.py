"""The stored entries as an operator sees them, on a real server."""

import pytest

from cacheproxy.policy.identity import Identity
from cacheproxy.policy.keys import cache_key
from cacheproxy.policy.load import load_policy
from cacheproxy.redis_link.connect import Tuning, connect
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.tag_clock import Stamp
from cacheproxy.storage.keyspace import KeyName, Keyspace
from cacheproxy.storage.redis import RedisStore

POLICY = """
version: 1
upstream: {url: "http://127.0.0.1:1"}
tenant: {from: host}
routes:
  - {name: list, match: GET /articles, cache: {ttl: 60s, key: "articles:list:{query.skip=0}", tags: [articles]}}
  - {name: one, match: "GET /articles/{id}", cache: {ttl: 60s, key: "articles:{id}"}}
  - {name: plain, match: "GET /plain/{rest:path}", cache: {ttl: 60s}}
"""
EPOCH = "e1"
TEXT = Fields.of(("content-type", "text/plain"))


@pytest.fixture
def keyspace(redis_place, roles, clock):
    """The keys of an L2 with a tag clock."""
    return Keyspace(roles.cache, redis_place.store, "test", clock)


def key_of(target, *, tenant=None):
    """The key that the policy gives to a request."""
    _policy, router = load_policy(POLICY, "policy", {})
    request = RequestHead(method="GET", target=target, fields=Fields(), authority=b"shop.example")
    match = router.match("GET", request.path, request.authority)
    return cache_key(match.route, request, match.params, Identity(tenant=tenant), prefix="test")


async def every(keyspace, pattern="*", count=100):
    """All keys under ``pattern``, page by page, and the size of the largest page."""
    cursor, keys, largest = "", [], 0
    while True:
        page = await keyspace.page(pattern, cursor, count)
        keys += [held.key for held in page.keys]
        largest = max(largest, len(page.keys))
        if not page.cursor:
            return keys, largest
        cursor = page.cursor


@pytest.mark.parametrize("tenant", [None, "acme", "t" * 100])
@pytest.mark.parametrize("target", [b"/articles", b"/articles?skip=20&x=1", b"/articles/7", b"/plain/%C3%A9/a%20b"])
def test_a_key_tells_tags_that_its_response_carries(keyspace, target, tenant):
    """What purges a key by its name alone purges what a sidecar stored there, in its tenant and no other."""
    key = key_of(target, tenant=tenant)
    own = keyspace.named(key.text).own_tags
    assert own
    assert set(own) <= set(key.tags)
    assert all(tag.startswith("@tenant/") == (tenant is not None) for tag in own)


@pytest.mark.parametrize("target", [b"/articles?skip=20", b"/articles/7", b"/plain/x"])
def test_a_key_tells_every_beginning_of_it(keyspace, target):
    """What is written under a key from outside is purged by the patterns that purge a sidecar's own."""
    key = key_of(target, tenant="acme")
    patterns = {tag for tag in key.tags if tag.endswith(":*") or tag == "*"}
    assert patterns <= set(keyspace.named(key.text).tags)


def test_a_path_too_long_for_a_key_is_not_guessed_at():
    """A digest tells no path, so no tag."""
    assert KeyName("", "@plain:!0123").own_tags == ()


@pytest.mark.parametrize("key", ["articles:7", "other:tenant-global:articles:7:v1", "test:tenant-global:v1", ""])
def test_what_is_no_whole_key_is_refused(keyspace, key):
    """A beginning, another prefix, or nothing: said, not guessed at."""
    with pytest.raises(ValueError, match="begins with `test:tenant-`"):
        keyspace.named(key)


async def test_keys_are_listed_a_page_at_a_time(keyspace, redis_place, entry):
    """Every key that matches, none that does not, and no page much larger than asked for."""
    names = [f"test:tenant-global:articles:list:{n}:v1" for n in range(300)]
    for name in [*names, "test:tenant-global:articles:7:v1", "test:tenant-global:users:articles:list:1:v1"]:
        await redis_place.store.write(entry(name))
    keys, largest = await every(keyspace, "articles:list:*", count=20)
    assert sorted(set(keys)) == sorted(names)
    assert largest <= 60
    assert await every(keyspace, "articles:7") == (["test:tenant-global:articles:7:v1"], 1)


async def test_a_key_is_listed_with_the_time_it_is_kept(keyspace, redis_place, roles, entry):
    """In seconds; None for what another program stored for ever."""
    await redis_place.store.write(entry("test:tenant-global:a:1:v1"))
    await roles.cache.call("SET", "test:tenant-global:a:2:v1", "x")
    kept = {held.key: held.kept_s for held in (await keyspace.page()).keys}
    assert kept["test:tenant-global:a:2:v1"] is None
    assert 110 < kept["test:tenant-global:a:1:v1"] <= 120


async def test_a_key_that_varies_is_listed_once(keyspace, redis_place, entry):
    """Its variants are under it, and are shown with it."""
    for language in ("de", "fr"):
        request = Fields.of(("accept-encoding", language))
        fields = Fields.of(("vary", "accept-encoding"))
        await redis_place.store.write(entry("test:tenant-global:a:1:v1", request=request, fields=fields))
    assert await every(keyspace) == (["test:tenant-global:a:1:v1"], 1)
    assert len(await keyspace.entries("test:tenant-global:a:1:v1")) == 2
    assert await keyspace.delete("test:tenant-global:a:1:v1") == 2
    assert await every(keyspace) == ([], 0)


async def test_the_keys_of_every_master_are_listed(redis_place, roles, clock, valkeys, entry):
    """Where they are shared out among servers, as in a cluster: one server after the other."""
    await redis_place.store.write(entry("test:tenant-global:a:1:v1"))
    there = connect(valkeys().url, Tuning(limit_s=5.0))
    await there.cache.call("SET", "test:tenant-global:a:2:v1", "x", "PX", 5000)

    class Both:
        async def masters(self, budget=None):
            return [roles.cache, there.cache]

        async def batch(self, commands, budget=None):
            here, elsewhere = await roles.cache.batch(commands, budget), await there.cache.batch(commands, budget)
            return [max(pair) for pair in zip(here, elsewhere, strict=True)]

    keys, _ = await every(Keyspace(Both(), redis_place.store, "test", clock), count=1)
    assert keys == ["test:tenant-global:a:1:v1", "test:tenant-global:a:2:v1"]
    await there.aclose()


@pytest.mark.parametrize("cursor", ["x", "1", "-1.0", "0.x", "0.0.0"])
async def test_a_cursor_that_is_none_is_refused(keyspace, cursor):
    """Rather than starting over in silence."""
    with pytest.raises(ValueError, match="is not a cursor"):
        await keyspace.page(cursor=cursor)


async def test_what_is_put_is_served_like_any_response(keyspace, redis_place, clock):
    """With the key's own tags, and those that the policy knows of it when it is read."""
    key = key_of(b"/articles?skip=20")
    put = await keyspace.put(key.text, TEXT, b"hello", ttl_s=60, stamp=Stamp(EPOCH, 100))
    (kept,) = await keyspace.entries(key.text)
    assert kept == put
    found = await redis_place.store.read(key.text, Fields(), tags=key.tags)
    assert (found.entry.body, found.entry.lifetime_s, found.entry.received_at) == (b"hello", 60, clock.at)
    assert set(found.entry.tags) >= set(key.tags)


@pytest.mark.parametrize("tag", ["articles", "@route/list", "articles:list:*", "@path/articles"])
async def test_what_another_program_stored_is_purged_by_tags_it_never_named(redis_place, tag, entry):
    """The policy knows what is under a key, whoever put it there: an event about it is never lost on such an entry."""
    key = key_of(b"/articles")
    assert tag in key.tags
    await redis_place.store.write(entry(key.text, tags=("*",)))
    assert await redis_place.store.read(key.text, Fields(), tags=key.tags)
    await redis_place.purge(200, tag)
    assert await redis_place.store.read(key.text, Fields(), tags=key.tags) is None


async def test_what_is_put_replaces_every_variant(keyspace, redis_place, entry):
    """There is one response under the key afterwards."""
    request, fields = Fields.of(("accept-language", "de")), Fields.of(("vary", "accept-language"))
    await redis_place.store.write(entry("test:tenant-global:a:1:v1", request=request, fields=fields))
    await keyspace.put("test:tenant-global:a:1:v1", TEXT, b"new", ttl_s=9, stamp=Stamp(EPOCH, 100))
    assert [kept.body for kept in await keyspace.entries("test:tenant-global:a:1:v1")] == [b"new"]
    keys = await redis_place.roles.cache.call("KEYS", "test:tenant-*")
    assert keys == [b"test:tenant-global:a:1:v1"]


async def test_the_tags_of_a_long_path_are_read_from_the_entry(keyspace, redis_place, entry):
    """Where the key has only a digest of it."""
    key = key_of(b"/plain/" + b"x" * 100)
    await redis_place.store.write(entry(key.text, tags=key.tags))
    assert await keyspace.tags_of(key.text) == ("@path/plain/" + "x" * 100,)


async def test_a_store_of_another_prefix_is_not_seen(roles, redis_place, clock, entry):
    """Two sidecars with prefixes of their own may share a Redis."""
    await redis_place.store.write(entry("test:tenant-global:a:1:v1"))
    other = Keyspace(roles.cache, RedisStore(roles.cache, prefix="tes", clock=clock), "tes", clock)
    assert await every(other) == ([], 0)
