"""Ordered field lines (RFC 9110 §5), and the heads they are part of."""

from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantics.fields import LONG_BYTES, Fields
from cacheproxy.semantics.head import RequestHead

FIELDS = Fields.of(("A", "1"), ("b", b"2"), ("a", "3"))


def test_names_are_lower_case_and_lines_keep_their_order() -> None:
    """Text or bytes become ordered pairs of bytes."""
    assert list(FIELDS) == [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]
    assert len(FIELDS) == 3


def test_values_are_found_by_name() -> None:
    """The first, all, or all joined as one (RFC 9110 §5.3)."""
    assert (FIELDS.get(b"a"), FIELDS.all(b"a"), FIELDS.combined(b"a")) == (b"1", [b"1", b"3"], b"1, 3")
    assert (FIELDS.get(b"c"), FIELDS.all(b"c"), FIELDS.combined(b"c")) == (None, [], None)
    assert FIELDS.combined(b"b") == b"2"
    assert b"a" in FIELDS
    assert b"c" not in FIELDS


def test_long_fields_are_told() -> None:
    """By all their names and values together: whoever sends them can put what they like into either."""
    half = (b"a", bytes(LONG_BYTES // 2 - 1))
    assert [False, True] == [Fields((half, half, *more)).is_long for more in ((), ((b"b", b""),))]


def test_a_change_is_a_new_object() -> None:
    """Without, plus and replaced leave what was as it was."""
    assert list(FIELDS.without([b"a"])) == [(b"b", b"2")]
    assert list(FIELDS.without([b"a"]).plus((b"c", b"4"))) == [(b"b", b"2"), (b"c", b"4")]
    assert list(FIELDS.replaced(b"a", b"9")) == [(b"b", b"2"), (b"a", b"9")]
    assert len(FIELDS) == 3


names = st.sampled_from([b"a", b"b", b"c", b"d"])
lines = st.lists(st.tuples(names, st.just(b"v")), max_size=6)
changes = st.lists(
    st.one_of(
        st.tuples(st.just("look"), st.just(())),
        st.tuples(st.just("without"), st.tuples(st.frozensets(names) | st.tuples(names, names))),
        st.tuples(st.just("plus"), lines.map(tuple)),
        st.tuples(st.just("replaced"), st.tuples(names, st.just(b"w"))),
    ),
    max_size=8,
)


@given(lines, changes)
def test_what_is_known_of_the_names_is_true_of_the_lines(begun, steps) -> None:
    """However they were made, and whatever was asked of those that they were made from."""
    fields = Fields(begun)
    for method, arguments in steps:
        if method == "look":
            assert (b"a" in fields) == (b"a" in {name for name, _ in fields})
        else:
            fields = getattr(fields, method)(*arguments)
    assert fields.names() == {name for name, _ in fields}


def test_equal_lines_are_equal_fields() -> None:
    """They compare and hash by their lines, and show them."""
    same = Fields([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")])
    assert same == FIELDS
    assert hash(same) == hash(FIELDS)
    assert Fields() != FIELDS
    assert FIELDS != list(FIELDS)
    assert "b'a', b'1'" in repr(FIELDS)


def test_a_request_can_be_given_other_fields() -> None:
    """All else stays as it was."""
    head = RequestHead(method="PUT", target=b"/a", authority=b"h", scheme="https", http_version="1.0")
    other = head.with_fields(FIELDS)
    assert other.fields == FIELDS
    assert other.with_fields(Fields()) == head


def test_a_target_is_a_path_and_a_query() -> None:
    """Cut at the first question mark, never decoded."""
    head = RequestHead(method="GET", target=b"/a%2Fb?c?d")
    assert (head.path, head.query) == (b"/a%2Fb", b"c?d")
    assert RequestHead(method="GET", target=b"/a").query == b""
