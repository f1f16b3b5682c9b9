"""Events as they happen, on the admin port."""

import json

import pytest

from cacheproxy.admin.feed import Feed
from cacheproxy.errors import ClientError


def read(event: bytes) -> tuple[str, object]:
    """The kind and the data of one event."""
    kind, data = event.decode().strip().split("\n")
    return kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def test_what_happens_is_told_to_everyone_who_listens():
    """In order, as server-sent events."""
    feed = Feed()
    streams = [feed.listen(), feed.listen()]
    assert [await anext(stream) for stream in streams] == [b"retry: 1000\n\n"] * 2
    feed.tell("purge", tags=["a"])
    feed.tell("redis", role="cache", up=False)
    for stream in streams:
        assert read(await anext(stream)) == ("purge", {"tags": ["a"]})
        assert read(await anext(stream)) == ("redis", {"role": "cache", "up": False})


async def test_a_line_feed_in_a_tag_starts_no_event():
    """JSON escapes it: nobody writes events of his own into the stream."""
    feed = Feed()
    stream = feed.listen()
    await anext(stream)
    feed.tell("purge", tags=["a\n\nevent: redis"])
    assert read(await anext(stream)) == ("purge", {"tags": ["a\n\nevent: redis"]})


async def test_a_slow_listener_costs_bounded_memory_and_learns_what_it_missed():
    """The first events are kept, the rest are counted."""
    feed = Feed(backlog=2)
    stream = feed.listen()
    await anext(stream)
    for number in range(5):
        feed.tell("purge", number=number)
    assert [read(await anext(stream)) for _ in range(3)] == [
        ("purge", {"number": 0}),
        ("purge", {"number": 1}),
        ("missed", {"events": 3}),
    ]
    feed.tell("purge", number=5)
    assert read(await anext(stream)) == ("purge", {"number": 5})


async def test_silence_is_broken_so_that_nobody_takes_the_stream_for_dead():
    """A comment now and then."""
    feed = Feed(keepalive_s=0)
    stream = feed.listen()
    await anext(stream)
    assert await anext(stream) == b":\n\n"


async def test_a_listener_that_leaves_is_forgotten():
    """And telling costs nothing while there is none."""
    feed = Feed()
    stream = feed.listen()
    await anext(stream)
    assert len(feed) == 1
    await stream.aclose()
    assert len(feed) == 0
    feed.tell("purge", tags=object())


async def test_every_stream_ends_when_the_feed_is_closed():
    """Also that of a listener who does not keep up; what waits for them comes first."""
    feed = Feed(backlog=1)
    streams = [feed.listen(), feed.listen()]
    for stream in streams:
        await anext(stream)
    feed.tell("purge", tags=["a"])
    feed.tell("purge", tags=["b"])
    feed.close()
    feed.close()
    for stream in streams:
        assert [("purge", {"tags": ["a"]})] == [read(event) async for event in stream]
    assert 0 == len(feed)


async def test_too_many_listeners_are_refused():
    """Each costs memory; operators are few."""
    feed = Feed(max_listeners=1)
    stream = feed.listen()
    await anext(stream)
    with pytest.raises(ClientError, match="too-many-listeners"):
        feed.listen()


async def test_the_stream_is_one_of_events(client, rest):
    """With the type that browsers and curl -N know; too many get a status, not a stream."""

    async def one_event():
        yield b"event: purge\ndata: {}\n\n"

    rest.feed.listen = one_event
    async with client() as admin:
        answer = await admin.get("/api/v1/events")
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.text == "event: purge\ndata: {}\n\n"
        rest.feed = Feed(max_listeners=0)
    async with client() as admin:
        assert (await admin.get("/api/v1/events")).status_code == 503
