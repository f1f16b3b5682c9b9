"""Bytes from a server become replies, however they are cut; what announces too much is refused before room is made."""

import asyncio
import itertools
import time
from typing import Any

import pytest
from hiredis import Reader
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.errors import StateError
from cacheproxy.redis_link.errors import Lost
from cacheproxy.redis_link.wire import Due, Wire

LOOKALIKES = [b"\r\n*1000000000\r\n", b"*99999999", b"\r\n$10000000000", b"\r", b"\n", b"\r\n", b"%7", b">", b"x"]


def bulk(body: bytes) -> bytes:
    """A bulk string."""
    return b"$%d\r\n%b\r\n" % (len(body), body)


def array(*members: bytes) -> bytes:
    """An array."""
    return b"*%d\r\n%b" % (len(members), b"".join(members))


bodies = st.lists(st.sampled_from(LOOKALIKES), max_size=6).map(b"".join)
replies = st.recursive(
    st.one_of(bodies.map(bulk), st.just(b":12345678\r\n"), st.just(b"+*12345678\r\n"), st.just(b"_\r\n")),
    lambda members: st.lists(members, max_size=4).map(lambda each: array(*each)),
    max_leaves=12,
)


class Deaf:
    """A transport that takes everything and sends nothing."""

    aborted = False

    def write(self, data: bytes) -> None:
        """Nothing."""

    def abort(self) -> None:
        """Take note."""
        self.aborted = True


def read(raw: bytes, cuts: list[int], count: int) -> tuple[Any, StateError | None]:
    """What ``count`` callers get when ``raw`` comes in pieces; and what the wire was lost by."""
    loop = asyncio.new_event_loop()
    try:
        wire = Wire(loop)
        wire.connection_made(Deaf())  # type: ignore[arg-type]
        due = Due(loop.create_future(), loop.time(), float("inf"), count)
        wire.send(b"", (due,))
        edges = [0, *sorted({cut % (len(raw) + 1) for cut in cuts}), len(raw)]
        for start, end in itertools.pairwise(edges):
            if start < end and not wire.closed:
                wire.data_received(raw[start:end])
        gone = due.future.exception() if due.future.done() else None
        got = due.future.result() if due.future.done() and gone is None else None
    finally:
        loop.close()
    return got, wire.lost_by


@given(st.lists(replies, min_size=1, max_size=6), st.lists(st.integers(0, 1000), max_size=12))
def test_every_reply_arrives_as_it_was_sent_however_it_is_cut(sent: list[bytes], cuts: list[int]) -> None:
    """Bodies that look like endless replies are bodies."""
    raw = b"".join(sent)
    reader = Reader()
    reader.feed(raw)
    expected = [reader.gets() for _ in sent]
    assert read(raw, cuts, len(sent)) == (expected, None)


ENDLESS = [b"*1000000000\r\n", b"%10000000\r\n", b"~1000000000\r\n", b">1000000000\r\n", b"$10000000000\r\n"]


@pytest.mark.parametrize("endless", ENDLESS, ids=lambda head: head[:1].decode())
@pytest.mark.parametrize(
    "before",
    [b"", b"+OK\r\n", bulk(b"body"), b"*2\r\n:1\r\n", b"*3\r\n*1\r\n" + bulk(b"x") + bulk(b"\r\n")],
    ids=["first", "after-a-reply", "after-a-body", "nested", "nested-later"],
)
def test_what_announces_too_much_is_refused_wherever_it_stands(before: bytes, endless: bytes) -> None:
    """Also where it is cut at any byte; it takes no time, and so no memory."""
    raw = before + endless
    began = time.perf_counter()
    for cut in range(len(raw)):
        _, lost_by = read(raw, [cut], 9)
        assert lost_by is not None, cut
        assert lost_by.reason == Lost.LOST
    assert time.perf_counter() - began < 1


def test_as_many_members_as_anybody_asks_for_are_taken() -> None:
    """A hundred thousand, say."""
    raw = array(*[b":1\r\n"] * 100_000)
    assert read(raw, [50_000], 1) == ([[1] * 100_000], None)
