"""Tags on both sides: what responses carry and what purges name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.policy.tags import (
    PurgeRequest,
    bounded,
    for_tenant,
    key_tag,
    named_path_tag,
    path_tag,
    purge_tags,
    render_tags,
    tenant_tag,
)
from cacheproxy.policy.templates import Template


@pytest.mark.parametrize(
    ("request_", "tags"),
    [
        (PurgeRequest(tags=("a", "b", "a")), ("a", "b")),
        (PurgeRequest(keys=("articles:42",)), ("@key/articles:42",)),
        (PurgeRequest(keys=("articles:list:*",)), ("articles:list:*",)),
        (PurgeRequest(paths=("/a/b",)), ("@path/a/b",)),
        (PurgeRequest(paths=("/a%2Fb?x=1",)), ("@path/a/b",)),
        (PurgeRequest(routes=("article",)), ("@route/article",)),
        (PurgeRequest(tenant="acme"), ("@tenant/acme",)),
        (PurgeRequest(tenant="acme", everything=True), ("@tenant/acme",)),
        (PurgeRequest(tenant="acme", tags=("a",)), ("@tenant/acme/a",)),
        (PurgeRequest(tenant="a/b", tags=("c",)), ("@tenant/a%2Fb/c",)),
        (PurgeRequest(everything=True), ("*",)),
        (PurgeRequest(tags=("a",), keys=("k",), paths=("/p",), routes=("r",)), ("a", "@key/k", "@path/p", "@route/r")),
    ],
)
def test_every_way_of_naming_becomes_tags(request_: PurgeRequest, tags: tuple[str, ...]) -> None:
    """Tags, keys, paths, routes, a tenant and all: each is a tag that responses carry."""
    assert purge_tags(request_) == tags


@pytest.mark.parametrize(
    "request_",
    [
        PurgeRequest(),
        PurgeRequest(tenant=""),
        PurgeRequest(tags=("",)),
        PurgeRequest(tags=(" ",)),
        PurgeRequest(tags=("@route/a",)),
        PurgeRequest(keys=("",)),
        PurgeRequest(keys=("art*",)),
        PurgeRequest(keys=("*:x",)),
        PurgeRequest(keys=("a:*:*",)),
        PurgeRequest(paths=("a",)),
        PurgeRequest(paths=("http://x/a",)),
        PurgeRequest(tags=("a",), everything=True),
    ],
)
def test_a_purge_that_names_nothing_is_an_error(request_: PurgeRequest) -> None:
    """It is never taken for "purge everything"."""
    with pytest.raises(ValueError, match=r".+"):
        purge_tags(request_)


def test_tags_that_name_what_has_no_value_are_left_out() -> None:
    """``POST /articles`` binds no id, so it purges the list alone."""
    templates = [Template.parse("articles"), Template.parse("article:{id}")]
    assert render_tags(templates, {}.get) == ("articles",)
    assert render_tags(templates, {"id": "7"}.get) == ("articles", "article:7")


@pytest.mark.parametrize("path", [b"/a/b", b"/%61/b", b"/a%2Fb", b"/%61%2fb"])
def test_every_spelling_of_a_path_has_one_tag(path: bytes) -> None:
    """A purge of a path reaches what was stored under another spelling of it."""
    assert path_tag(path) == named_path_tag("/a/b") == "@path/a/b"


def test_a_tenants_tags_are_its_own() -> None:
    """A purge for one tenant does not touch another's, and a purge for all touches both."""
    tags = for_tenant(("*", "a"), "acme")
    assert tags == ("*", "a", "@tenant/acme", "@tenant/acme/a")
    assert for_tenant(("*", "a"), None) == ("*", "a")
    assert purge_tags(PurgeRequest(tenant="other", tags=("a",)))[0] not in tags


@given(st.tuples(st.text(min_size=1), st.text(min_size=1)), st.tuples(st.text(min_size=1), st.text(min_size=1)))
def test_no_two_tenants_share_a_tag(one: tuple[str, str], other: tuple[str, str]) -> None:
    """("a/b", "c") is not ("a", "b/c")."""
    assert (tenant_tag(*one) == tenant_tag(*other)) == (one == other)


@given(st.text())
def test_a_tag_is_bounded_and_can_be_written(tag: str) -> None:
    """However long, and whatever it holds, a tag is at most 256 bytes of UTF-8, and the same tag stays the same."""
    assert len(bounded(tag).encode()) <= 256
    assert bounded(tag) == bounded(tag)


def test_long_tags_stay_apart() -> None:
    """Two tags that differ only in their last character are two tags."""
    assert bounded("a" * 300) != bounded("a" * 299 + "b")
    assert key_tag("a:" + "b" * 300) == bounded("@key/a:" + "b" * 300)
