"""Requests for many, taken apart: by what the policy says, into what single requests would be."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.policy.batch import Batch, ForMany, Undivided, query_for, take_apart
from cacheproxy.policy.batch_rules import Absent
from cacheproxy.policy.identity import Identity
from cacheproxy.policy.keys import CacheKey, cache_key
from cacheproxy.policy.load import load_policy
from cacheproxy.policy.query import parameters
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead

POLICY = """
version: 1
routes:
  - name: one
    match: GET /orgs/{org}/docs/{id}
    cache: {key: "docs:{org}:{id}:{header.x-market=}", bypass: {header: X-Bypass}}
  - {name: many, match: "GET /orgs/{org}/docs", batch: {param: id, item: "docs:{org}:{id}:{header.x-market=}"}}
"""


def taken_apart(target: str, *fields: tuple[str, str], policy: str = POLICY) -> Batch | Undivided:
    """What becomes of a request under the route ``many``."""
    _, router = load_policy(policy, "test.yaml", {})
    request = RequestHead(method="GET", target=target.encode(), fields=Fields.of(*fields), authority=b"example.com")
    match = router.match("GET", request.path, request.authority)
    assert match is not None
    assert match.route.batch is not None
    return take_apart(
        ForMany(
            rules=match.route.batch,
            router=router,
            request=request,
            params=match.params,
            identity=Identity(),
            prefix="cp",
        )
    )


def test_each_key_is_that_of_the_single_request() -> None:
    """Path, host and fields; names that the path of the batch binds are taken over."""
    batch = taken_apart("/orgs/red/docs?id=b,a,b", ("x-market", "de"))
    assert isinstance(batch, Batch)
    assert (("b", "a", "b"), [b"/orgs/red/docs/b", b"/orgs/red/docs/a"]) == (
        batch.asked,
        [one.request.target for one in batch.ones],
    )
    _, router = load_policy(POLICY, "test.yaml", {})
    single = RequestHead(
        method="GET", target=b"/orgs/red/docs/a", fields=Fields.of(("x-market", "de")), authority=b"example.com"
    )
    match = router.match("GET", single.path, single.authority)
    assert match is not None
    key = cache_key(match.route, single, match.params, Identity(), prefix="cp")
    assert isinstance(key, CacheKey)
    assert batch.ones[1].key == key


def test_parts_of_a_response_are_not_asked_for() -> None:
    """A range is one of the array."""
    batch = taken_apart("/orgs/red/docs?id=b", ("range", "bytes=0-1"), ("if-range", '"x"'), ("accept", "*/*"))
    assert isinstance(batch, Batch)
    assert Fields.of(("accept", "*/*")) == batch.ones[0].request.fields


@pytest.mark.parametrize(
    ("target", "fields", "why"),
    [
        ("/orgs/red/docs", [], Undivided.NO_IDS),
        ("/orgs/red/docs?page=1", [], Undivided.NO_IDS),
        ("/orgs/red/docs?id=a&page=1", [], Undivided.OTHER_PARAMETERS),
        ("/orgs/red/docs?id=a&", [], Undivided.OTHER_PARAMETERS),
        ("/orgs/red/docs?id", [], Undivided.ODD_IDS),
        ("/orgs/red/docs?i%64=a", [], Undivided.ODD_IDS),
        ("/orgs/red/docs?id=a&id=", [], Undivided.ODD_IDS),
        ("/orgs/red/docs?id=a&id=b,c", [], Undivided.ODD_IDS),
        ("/orgs/red/docs?id=a%3Bb", [], Undivided.NOT_ONE),
        ("/orgs/red/docs?id=a;b", [], Undivided.ODD_IDS),
        ("/orgs/red/docs?id=" + ",".join(map(str, range(100))), [], None),
        ("/orgs/red/docs?id=" + ",".join(map(str, range(101))), [], Undivided.TOO_MANY),
        ("/orgs/r%65d/docs?id=a", [], Undivided.SPELLED),
        ("/orgs/red/docs?id=a,b/c", [], Undivided.NOT_ONE),
        ("/orgs/red/docs?id=a,%00", [], Undivided.NOT_ONE),
        ("/orgs/red/docs?id=a", [("x-bypass", "1")], Undivided.NO_KEY),
    ],
)
def test_why_a_request_is_left_whole(target: str, fields: list[tuple[str, str]], why: Undivided | None) -> None:
    """Each reason is one that ``explain`` tells."""
    batch = taken_apart(target, *fields)
    assert why is (batch if isinstance(batch, Undivided) else None)


def test_what_is_left_out_has_the_documented_defaults(load) -> None:
    """And ``absent: null`` needs no quotes."""
    policy, _ = load(
        POLICY.replace("version: 1\n", "").replace("batch: {param: id,", "batch: {param: id, absent: null,")
    )
    rules = policy.routes[1].batch
    assert rules is not None
    assert ("one", "id", "docs", "id", Absent.NULL, 100) == (
        rules.route, rules.id_name, rules.resource, rules.id_field, rules.absent, rules.max_ids)  # fmt: skip


@pytest.mark.parametrize("query", ["ids[]=1&ids[]=2", "ids%5B%5D=1&ids%5B%5D=2"])
def test_a_parameter_may_be_named_as_frameworks_name_lists(query: str) -> None:
    """With brackets, encoded or not."""
    batch = taken_apart(f"/orgs/red/docs?{query}", policy=POLICY.replace("param: id,", 'param: "ids[]",'))
    assert isinstance(batch, Batch)
    assert (("1", "2"), b"ids%5B%5D=2") == (batch.asked, query_for(batch, ["2"]))


def test_a_way_around_limits_is_told(load) -> None:
    """A request for a hundred counts once, against the limits of its own route."""
    text = """
limits: {few: {rate: 1/s}, many: {rate: 9/s}}
routes:
  - {name: one, match: "GET /one/{id}", limits: [few], cache: {key: "one:{id}"}}
  - {name: two, match: "GET /one", limits: [few, many], batch: {param: ids, item: "one:{id}"}}
  - {name: all, match: "GET /all", limits: [many], batch: {param: ids, item: "one:{id}"}}
"""
    policy, _ = load(text)
    assert [("routes[2].batch", 7)] == [(caution.path, caution.line) for caution in policy.cautions]
    assert "`few` of the route `one`" in policy.cautions[0].message


WORDS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=6)


@given(st.lists(WORDS, min_size=1, max_size=5), st.booleans())
def test_the_origin_reads_the_ids_that_are_asked_for(ids: list[str], listed: bool) -> None:
    """Whatever they hold, in either manner."""
    batch: Any = taken_apart("/orgs/red/docs?id=" + ("a,b" if listed else "a&id=b"))
    asked = [each for each in ids if not (listed and "," in each)]
    values = [parameter.value for parameter in parameters(query_for(batch, asked))] if asked else []
    assert asked == ([each for value in values for each in value.split(",")] if listed else values)
