"""Tags and purges in a response's own fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.invalidation.tags import (
    STRIPPED,
    ResponseTags,
    TagFault,
    response_purges,
    response_tags,
)
from cacheproxy.policy.tags import named_tag
from cacheproxy.semantics.fields import Fields


@pytest.mark.parametrize(
    ("fields", "tags"),
    [
        pytest.param([], (), id="none"),
        pytest.param([("Cache-Tag", "a, b,c")], ("a", "b", "c"), id="cache-tag-commas"),
        pytest.param([("Cache-Tag", " a ,, b, ")], ("a", "b"), id="cache-tag-empty-members"),
        pytest.param([("Surrogate-Key", "a  b\tc")], ("a", "b", "c"), id="surrogate-key-spaces"),
        pytest.param([("xkey", "a b"), ("xkey", "c")], ("a", "b", "c"), id="xkey-repeated"),
        pytest.param([("Cache-Groups", '"a", "b";x=1')], ("a", "b"), id="9875-2-cache-groups"),
        pytest.param([("Cache-Groups", '"a b", "c,d"')], ("a b", "c,d"), id="9875-2-strings-may-have-spaces"),
        pytest.param([("Cache-Groups", '"a"'), ("Cache-Groups", '"b"')], ("a", "b"), id="9875-2-lines-combine"),
        pytest.param([("Cache-Groups", '"a", token')], (), id="9875-2.1-not-all-strings-is-none"),
        pytest.param([("Cache-Groups", '"a", ("b")')], (), id="9875-2.1-inner-list-is-none"),
        pytest.param([("Cache-Groups", '"a')], (), id="9875-2.1-malformed-is-none"),
        pytest.param([("Cache-Tag", "b,a"), ("xkey", "a"), ("Cache-Groups", '"b"')], ("b", "a"), id="each-once"),
        pytest.param([("Cache-Tag", "käse".encode())], ("käse",), id="utf-8"),
        pytest.param([("Cache-Tag", "x" * 300)], (named_tag("x" * 300),), id="long-tags-as-purges-spell-them"),
        pytest.param([("Cacheproxy-Purge", "a")], (), id="purges-are-no-tags"),
    ],
)
def test_a_response_names_its_tags(fields, tags):
    """Each field in its own syntax; all tags are of one kind."""
    assert response_tags(Fields.of(*fields)) == ResponseTags(tags=tags)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        pytest.param([("Cache-Tag", "a" * 1025)], TagFault.TOO_LONG, id="one-tag-over-1024-bytes"),
        pytest.param([("xkey", "a " * 4000), ("Cache-Tag", "b," * 5000)], TagFault.TOO_LARGE, id="over-16-KiB-in-all"),
        pytest.param([("Cache-Tag", ",".join(map(str, range(1001))))], TagFault.TOO_MANY, id="over-1000-tags"),
        pytest.param([("Cache-Tag", b"a\xff")], TagFault.BAD_TAG, id="not-utf-8"),
        pytest.param([("Cache-Tag", "a b")], TagFault.BAD_TAG, id="space"),
        pytest.param([("Surrogate-Key", "a\x01")], TagFault.BAD_TAG, id="control"),
        pytest.param([("Cache-Tag", "@route/x")], TagFault.BAD_TAG, id="one-of-our-own"),
    ],
)
def test_tags_past_the_limits_are_refused_as_a_whole(fields, fault):
    """A response that a purge could miss must not be stored, so nothing is cut off in silence."""
    assert response_tags(Fields.of(*fields)) == ResponseTags(refused=fault)


def test_limits_leave_room_for_what_rfc_9875_asks():
    """At least 32 groups of at least 32 characters (RFC 9875 §2)."""
    groups = [f"{n:032}" for n in range(32)]
    value = ", ".join(f'"{group}"' for group in groups)
    assert response_tags(Fields.of(("Cache-Groups", value))).tags == tuple(groups)
    assert response_purges(Fields.of(("Cache-Group-Invalidation", value))).tags == tuple(groups)


def test_an_answer_names_what_it_purges():
    """Cacheproxy-Purge and Cache-Group-Invalidation together; tags of the answer itself do not count."""
    fields = Fields.of(("Cacheproxy-Purge", "a, b"), ("Cache-Group-Invalidation", '"c"'), ("Cache-Tag", "d"))
    assert response_purges(fields) == ResponseTags(tags=("a", "b", "c"))


def test_purges_past_the_limits_are_refused_and_said_so():
    """Half a purge would be taken for a whole one."""
    fields = Fields.of(("Cacheproxy-Purge", "a, b c"))
    assert response_purges(fields) == ResponseTags(refused=TagFault.BAD_TAG)


def test_no_field_that_is_read_here_reaches_the_client():
    """All of them are for caches of the origin's own operator."""
    fields = Fields.of(
        ("Cache-Tag", "a"),
        ("Surrogate-Key", "a"),
        ("xkey", "a"),
        ("Cache-Groups", '"a"'),
        ("Cache-Group-Invalidation", '"a"'),
        ("Cacheproxy-Purge", "a"),
        ("ETag", '"1"'),
    )
    assert fields.without(STRIPPED) == Fields.of(("ETag", '"1"'))


_names = st.sampled_from([name.decode() for name in STRIPPED])


@given(st.lists(st.tuples(_names, st.binary())))
def test_nothing_makes_it_raise(pairs):
    """Whatever the origin sends, there are tags or there is a reason, never both."""
    fields = Fields((name.encode(), value) for name, value in pairs)
    found = response_tags(fields)
    assert not (found.tags and found.refused)
    assert not (response_purges(fields).tags and response_purges(fields).refused)
