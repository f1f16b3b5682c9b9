"""Cache-Status (RFC 9211), and the page that explains it."""

import re
from pathlib import Path

import http_sfv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.policy.keys import NoKeyReason
from cacheproxy.semantics.cache_status import Detail, cache_status
from cacheproxy.semantics.plan import Forward
from cacheproxy.semantics.storing import PassReason

PAGE = Path(__file__).parents[2] / "docs" / "cache-status.md"


@pytest.mark.parametrize(
    ("said", "member"),
    [
        pytest.param({"hit": True, "ttl": 54}, b"cacheproxy; hit; ttl=54", id="9211-2.1-hit"),
        pytest.param({"hit": True, "ttl": -3}, b"cacheproxy; hit; ttl=-3", id="9211-2.5-stale"),
        pytest.param(
            {"fwd": Forward.URI_MISS, "fwd_status": 200, "stored": True, "ttl": 60},
            b"cacheproxy; fwd=uri-miss; fwd-status=200; ttl=60; stored",
            id="9211-2.2-miss",
        ),
        pytest.param(
            {"fwd": Forward.STALE, "collapsed": True}, b"cacheproxy; fwd=stale; collapsed", id="9211-2.6-collapsed"
        ),
        pytest.param(
            {"fwd": Forward.BYPASS, "detail": Detail.PRECONDITION},
            b"cacheproxy; fwd=bypass; detail=precondition",
            id="9211-2.8-detail",
        ),
        pytest.param(
            {"fwd": Forward.URI_MISS, "detail": PassReason.SET_COOKIE},
            b"cacheproxy; fwd=uri-miss; detail=set-cookie",
            id="9211-2.8-detail-of-storing",
        ),
        pytest.param({"hit": True, "fwd": Forward.MISS}, b"cacheproxy; hit", id="9211-2.2-hit-excludes-fwd"),
        pytest.param({"fwd_status": 200}, b"cacheproxy", id="9211-2.3-fwd-status-needs-fwd"),
        pytest.param({"key": 'a"\\é'}, b'cacheproxy; key="a\\"\\\\?"', id="9211-2.7-key"),
    ],
)
def test_the_member_says_what_was_done(said: dict[str, object], member: bytes) -> None:
    """Each parameter of RFC 9211 in its form."""
    assert cache_status(**said) == member  # type: ignore[arg-type]


@given(
    st.booleans(),
    st.sampled_from([None, *Forward]),
    st.none() | st.integers(100, 599),
    st.none() | st.integers(),
    st.booleans(),
    st.booleans(),
    st.none() | st.text(max_size=30),
    st.sampled_from([None, *Detail]),
)
def test_every_member_is_a_structured_field(
    hit: bool,
    fwd: Forward | None,
    fwd_status: int | None,
    ttl: int | None,
    stored: bool,
    collapsed: bool,
    key: str | None,
    detail: Detail | None,
) -> None:
    """Any combination parses as a list of one token with typed parameters (RFC 8941)."""
    members = http_sfv.List()
    members.parse(
        cache_status(
            hit=hit, fwd=fwd, fwd_status=fwd_status, ttl=ttl, stored=stored, collapsed=collapsed, key=key, detail=detail
        )
    )
    params = members[0].params
    assert members[0].value == "cacheproxy"
    assert ("hit" in params, "stored" in params, "collapsed" in params) == (hit, stored, collapsed)
    assert params.get("detail") == detail
    assert ("fwd" in params) == (fwd is not None and not hit)


def test_every_reason_of_other_rooms_is_a_detail() -> None:
    """The closed set of details holds all that storing, and the lack of a key, may say."""
    details = {detail.value for detail in Detail}
    assert {reason.value for reason in PassReason} | {reason.value for reason in NoKeyReason} <= details


def test_the_page_explains_every_detail_and_no_other() -> None:
    """docs/cache-status.md has one row for each code."""
    codes = PAGE.read_text(encoding="utf-8").partition("## The codes of `detail`")[2]
    rows = re.findall(r"^\| `([a-z-]+)` \|", codes, flags=re.MULTILINE)
    assert sorted(rows) == sorted(detail.value for detail in Detail)


def test_the_page_explains_every_forward_reason() -> None:
    """docs/cache-status.md names each ``fwd`` there is."""
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`fwd={forward.value}`" in text for forward in Forward)
