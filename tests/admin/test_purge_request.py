"""The purge body: what passes, and everything that must not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.admin.purge_request import MAX_NAME_BYTES, MAX_NAMES, AskedPurge, parse_purge
from cacheproxy.errors import ClientError
from cacheproxy.invalidation.contract import Purge, PurgeMode
from cacheproxy.policy.tags import PurgeRequest, purge_tags


@pytest.mark.parametrize(
    ("body", "request_"),
    [
        ({"tags": ["a", "b:*"]}, PurgeRequest(tags=("a", "b:*"))),
        ({"tags": ["größe"]}, PurgeRequest(tags=("größe",))),
        ({"keys": ["articles:1"]}, PurgeRequest(keys=("articles:1",))),
        ({"paths": ["/articles/1"]}, PurgeRequest(paths=("/articles/1",))),
        ({"routes": ["article"], "all": False}, PurgeRequest(routes=("article",))),
        ({"tags": ["a"], "tenant": "acme"}, PurgeRequest(tags=("a",), tenant="acme")),
        ({"tenant": "acme"}, PurgeRequest(tenant="acme")),
        ({"tags": ["a"], "tenant": None}, PurgeRequest(tags=("a",))),
        ({"all": True}, PurgeRequest(everything=True)),
    ],
)
def test_what_is_named_is_what_is_purged(body, request_):
    """Every member that names something has its place in the request that the policy turns into tags."""
    asked = AskedPurge(Purge(tags=purge_tags(request_)), routes=request_.routes)
    assert parse_purge(json.dumps(body).encode()) == asked


@pytest.mark.parametrize(
    ("members", "mode", "wait_s"),
    [
        ({}, PurgeMode.HARD, None),
        ({"mode": "hard", "wait": None}, PurgeMode.HARD, None),
        ({"mode": "soft", "wait": "250ms"}, PurgeMode.SOFT, 0.25),
        ({"wait": "1.5s"}, PurgeMode.HARD, 1.5),
        ({"wait": "1m"}, PurgeMode.HARD, 60.0),
    ],
)
def test_how_to_purge_is_read(members, mode, wait_s):
    """Hard unless asked otherwise, and without waiting unless told how long."""
    asked = parse_purge(json.dumps({"tags": ["a"], **members}).encode())
    assert (asked.purge.mode, asked.wait_s) == (mode, wait_s)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param({}, "names nothing", id="empty"),
        pytest.param({"tags": []}, "names nothing", id="empty-list-is-not-all"),
        pytest.param({"all": False}, "names nothing", id="all-false"),
        pytest.param({"tenant": ""}, "not a string of", id="empty-tenant-is-not-all"),
        pytest.param({"tag": ["a"]}, "unknown member 'tag'", id="misspelt"),
        pytest.param({"all": True, "tags": ["a"]}, "contradict", id="all-and-some"),
        pytest.param({"all": "true"}, '"all" must be', id="all-as-text"),
        pytest.param({"all": 1}, '"all" must be', id="all-as-number"),
        pytest.param({"tags": "a"}, "must be a list", id="tags-as-text"),
        pytest.param({"tags": None}, "must be a list", id="tags-null"),
        pytest.param({"tags": [1]}, "not a string", id="number-tag"),
        pytest.param({"tags": [""]}, "not a string", id="empty-tag"),
        pytest.param({"tags": ["a\nb"]}, "control characters", id="control"),
        pytest.param({"tags": ["\ud800"]}, "not of Unicode", id="lone-surrogate"),
        pytest.param({"tags": ["x" * (MAX_NAME_BYTES + 1)]}, "of over", id="long"),
        pytest.param({"tags": ["x"] * (MAX_NAMES + 1)}, "has over", id="many"),
        pytest.param({"paths": ["articles"]}, "does not begin with `/`", id="relative-path"),
        pytest.param({"tags": ["@route/article"]}, "begins with `@`", id="a-tag-of-our-own"),
        pytest.param({"keys": ["articles:*:1"]}, "not a whole key", id="glob"),
        pytest.param({"tags": ["a"], "tenant": 7}, "not a string", id="tenant-number"),
        pytest.param({"tags": ["a"], "mode": "gentle"}, '"mode" must be', id="mode"),
        pytest.param({"tags": ["a"], "mode": ["hard"]}, '"mode" must be', id="mode-list"),
        pytest.param({"tags": ["a"], "wait": 2}, "has no unit", id="wait-without-unit"),
        pytest.param({"tags": ["a"], "wait": "soon"}, "not a duration", id="wait-as-a-word"),
        pytest.param({"tags": ["a"], "wait": "-2s"}, "not a duration", id="wait-negative"),
        pytest.param({"tags": ["a"], "wait": "2m"}, '"wait" is over', id="wait-too-long"),
        pytest.param([], "must be a JSON object", id="list"),
    ],
)
def test_what_is_not_understood_is_refused(body, said):
    """Nothing is guessed: a purge either means what it says or is a 400 that says why."""
    with pytest.raises(ClientError) as refused:
        parse_purge(json.dumps(body).encode())
    assert refused.value.status == 400
    assert said in refused.value.detail


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"all": NaN}', b'{"all": true, "all": false}', b"[" * 100_000], ids=repr
)
def test_what_is_not_json_is_refused(body):
    """Neither half a document, nor a member given twice, nor a tower of brackets gets through."""
    with pytest.raises(ClientError) as refused:
        parse_purge(body)
    assert (refused.value.status, refused.value.reason) == (400, "bad-json")


@given(st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | st.text(), st.lists).map(json.dumps))
def test_any_bytes_are_a_purge_or_a_400(body):
    """The parser answers or refuses; it never fails."""
    try:
        asked = parse_purge(body if isinstance(body, bytes) else body.encode())
    except ClientError as refused:
        assert refused.status == 400
    else:
        assert asked.purge.tags
