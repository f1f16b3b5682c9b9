"""Remembering what short values mean."""

from cacheproxy.semantics.memo import LONGEST_BYTES, ByIdentity, Doorkeeper, memoised, recurring


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


def test_what_was_made_of_an_object_is_known_while_it_is_the_same() -> None:
    """An equal one is another, and with too many all are forgotten."""
    made: ByIdentity[list[int], str] = ByIdentity(2)
    first, second, third = [1], [1], [1]
    assert (made.keep(first, "a"), made.keep(second, "b")) == ("a", "b")
    assert (made.of(first), made.of(second), made.of(third)) == ("a", "b", None)
    made.keep(third, "c")
    assert (made.of(first), made.of(third)) == (None, "c")


def test_what_could_fill_the_memory_is_not_remembered() -> None:
    """It is made anew each time, and nothing else is forgotten for it."""
    made: ByIdentity[bytes, str] = ByIdentity(1, unless=lambda source: len(source) > 3)
    short, long = b"abc", b"abcd"
    assert (made.keep(short, "a"), made.keep(long, "b")) == ("a", "b")
    assert (made.of(short), made.of(long)) == ("a", None)


def test_only_what_comes_again_is_remembered() -> None:
    """A crawl of a thousand pages pushes nothing out that was asked for twice."""
    asked: list[tuple[str, int]] = []

    def half(name: str, number: int) -> float:
        asked.append((name, number))
        return number / 2

    known = recurring(half, 8)
    assert [known("a", 1) for _ in range(3)] == [0.5, 0.5, 0.5]
    for page in range(1000):
        known("page", page)
    asked.clear()
    assert (known("a", 1), asked) == (0.5, [])


def test_hardly_anything_that_comes_once_is_let_in() -> None:
    """Two that are taken for one another let each other in: one in a hundred at the worst."""
    door = Doorkeeper()
    assert sum(door.came(("once", number)) for number in range(20_000)) < 200
    assert not door.came("again")
    assert door.came("again")
