"""Remembering what short values mean."""

from cacheproxy.semantics.memo import LONGEST_BYTES, memoised


def test_a_short_value_is_read_once_and_a_long_one_every_time() -> None:
    """What a stranger could fill memory with is never kept."""
    read: list[bytes] = []

    @memoised(maxsize=8)
    def length(value: bytes) -> int:
        read.append(value)
        return len(value)

    short, long = b"x" * LONGEST_BYTES, b"x" * (LONGEST_BYTES + 1)
    assert [length(value) for value in (short, short, long, long)] == [256, 256, 257, 257]
    assert read == [short, long, long]
