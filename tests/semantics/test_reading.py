"""What a response's head says to this cache, read once."""

from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import ResponseHead
from cacheproxy.semantics.reading import LONGEST_BYTES, reading_of

LINES = st.lists(
    st.sampled_from([
        (b"cache-control", b"max-age=60"), (b"cache-control", b'no-cache="x"'), (b"vary", b"cookie"), (b"vary", b"*"),
        (b"age", b"7"), (b"date", b"Fri, 20 Nov 2026 12:00:00 GMT"), (b"etag", b'"1"'), (b"set-cookie", b"a=b"),
        (b"x", b"1"), (b"location", b"https://example.com/"), (b"content-encoding", b"gzip"),
    ])
)  # fmt: skip


def declared(length: str) -> int | None:
    """The length that is read of a Content-Length."""
    return reading_of(ResponseHead(200, Fields.of(("content-length", length)))).content_length


@given(st.lists(LINES, min_size=1, max_size=4))
def test_heads_are_told_apart(heads: list[list[tuple[bytes, bytes]]]) -> None:
    """What was read of one head is never taken for another's, even if one stands where another stood in memory."""
    for lines in heads:
        once, again = ResponseHead(200, Fields(lines)), ResponseHead(200, Fields(lines))
        reading = reading_of(once)
        assert reading_of(once) is reading
        assert reading_of(again) == reading


def test_what_varies_with_the_scheme_is_read_for_both() -> None:
    """A redirect to HTTPS may be an answer to Upgrade-Insecure-Requests, which no HTTPS request means."""
    reading = reading_of(ResponseHead(302, Fields.of(("location", "https://example.com/"))))
    assert (reading.names, reading.names_if_http) == ((), (b"upgrade-insecure-requests",))


def test_a_length_beyond_all_bounds_is_as_long_as_any() -> None:
    """Digits without end cost nothing to read; what is no number says nothing."""
    assert [declared("12"), declared("9" * 1000), declared("1, 1"), declared("")] == [12, LONGEST_BYTES, None, None]


def test_a_long_head_is_read_each_time() -> None:
    """An origin that sends such heads fills no memory with them."""
    long = ResponseHead(200, Fields.of(("x", "y" * 5000)))
    assert reading_of(long) is not reading_of(long)
    assert reading_of(long) == reading_of(long)
