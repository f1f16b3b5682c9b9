"""Names of requests."""

import pytest

from cacheproxy.engine.request_id import RequestIds


@pytest.mark.parametrize("given", [b"abc", b"a" * 128, b"01-AZ_.:+/=@"])
def test_a_well_formed_name_is_kept(given: bytes) -> None:
    """The client's own name ties its log to ours."""
    assert given.decode() == RequestIds().of(given)


@pytest.mark.parametrize("given", [None, b"", b"a b", b"a\nb", b"\xff", b"a" * 129, b'"'])
def test_any_other_is_replaced(given: bytes | None) -> None:
    """Nothing that could forge a line of the log is passed on."""
    made = RequestIds().of(given)
    assert made == RequestIds().of(made.encode())
    assert given is None or made != given.decode("latin-1")


def test_no_name_is_given_twice() -> None:
    """Not within a process, and not by two."""
    one, two = RequestIds(), RequestIds()
    made = [ids.of(None) for ids in (one, two) for _ in range(1000)]
    assert 2000 == len(set(made))


async def test_the_origin_and_the_client_are_told_the_same(house) -> None:
    """The name goes on to the origin and back to the client, even where the client's was unfit."""
    answer = await house.ask("/plain/1", ("x-request-id", "bad id"), ("x-request-id", "another"))
    assert [answer["x-request-id"].encode()] == house.origin.received[0].head.fields.all(b"x-request-id")
