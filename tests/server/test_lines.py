"""What is known by request line is found again, is bounded, and is forgotten one by one."""

from dataclasses import dataclass

import pytest

from cacheproxy.engine.reply import Terms
from cacheproxy.server.lines import MAX_HEAD_BYTES, Lines
from cacheproxy.server.signature import Key

PUBLIC = Terms(unread=frozenset({b"user-agent"}))
BY_PEER = Terms(by_peer=True)


@dataclass
class Answer:
    """What stands for a known answer."""

    text: str
    size: int = 500
    key: Key = b""
    unread: frozenset[bytes] = frozenset()
    by_peer: bool = False

    def __len__(self) -> int:
        """What it takes."""
        return self.size


def head(name: str, *lines: str) -> bytes:
    """A request for ``name`` with those field lines."""
    return "\r\n".join([f"GET /{name} HTTP/1.1", *lines, "", ""]).encode()


class Book:
    """Lines, with what is asked of them."""

    def __init__(self, max_bytes: int = 1 << 20) -> None:
        """Nothing yet."""
        self.lines = Lines(max_bytes)

    def learn(self, raw: bytes, text: str, terms: Terms = PUBLIC, *, peer: str = "") -> None:
        """Learn an answer from a client."""
        self.lines.learn(raw, Answer(text), terms, trusted=False, peer=peer)

    def __call__(self, raw: bytes, peer: str = "") -> str | None:
        """The answer that is known."""
        found = self.lines.find(raw, False, peer)
        return None if found is None else found[0].text

    def forget(self, raw: bytes) -> None:
        """Forget the answer to it."""
        self.lines.forget(raw, trusted=False, peer="")


@pytest.fixture
def book() -> Book:
    """An empty one."""
    return Book()


ENGLISH, GERMAN, FRENCH = (head("a", f"Accept-Language: {language}") for language in ("en", "de", "fr"))


@pytest.mark.parametrize("first", [ENGLISH, GERMAN, FRENCH])
def test_each_answer_of_a_line_is_found_and_forgotten_by_itself(book: Book, first: bytes) -> None:
    """Whichever was learnt last, and whichever goes first."""
    for raw, text in ((ENGLISH, "en"), (GERMAN, "de"), (FRENCH, "fr")):
        book.learn(raw, text)
    assert ["en", "de", "fr"] == [book(raw) for raw in (ENGLISH, GERMAN, FRENCH)]
    book.forget(first)
    assert [raw is first for raw in (ENGLISH, GERMAN, FRENCH)] == [
        book(raw) is None for raw in (ENGLISH, GERMAN, FRENCH)
    ]
    book.learn(first, "again")
    assert "again" == book(first)
    for raw in (ENGLISH, GERMAN, FRENCH):
        book.forget(raw)
    assert [None] * 3 == [book(raw) for raw in (ENGLISH, GERMAN, FRENCH)]


def test_what_is_learnt_anew_replaces_what_was_known(book: Book) -> None:
    """It is not kept beside it."""
    small = Book(max_bytes=1200)
    for number in range(10):
        small.learn(ENGLISH, str(number))
        assert str(number) == small(ENGLISH)
    small.learn(head("b"), "b")
    assert ("9", "b") == (small(ENGLISH), small(head("b")))


def test_past_its_bound_the_oldest_goes_first() -> None:
    """Of one line as of many."""
    small = Book(max_bytes=1200)
    small.learn(ENGLISH, "en")
    small.learn(GERMAN, "de")
    small.learn(FRENCH, "fr")
    assert [None, "de", "fr"] == [small(raw) for raw in (ENGLISH, GERMAN, FRENCH)]
    small.learn(head("b"), "b")
    assert [None, None, "fr", "b"] == [small(raw) for raw in (ENGLISH, GERMAN, FRENCH, head("b"))]


def test_lines_that_two_routes_read_otherwise_are_learnt_by_what_both_read(book: Book) -> None:
    """A field that one of them reads counts for the other's answers too, which are learnt anew."""
    one, two = head("a", "User-Agent: one"), head("a", "User-Agent: two")
    book.learn(one, "first")
    assert "first" == book(two)
    book.learn(one, "second", Terms())
    assert ["second", None] == [book(one), book(two)]


def test_a_peer_counts_where_the_terms_say_so(book: Book) -> None:
    """The same head from another address is another request."""
    book.learn(head("a"), "mine", BY_PEER, peer="192.0.2.1")
    assert ("mine", None) == (book(head("a"), "192.0.2.1"), book(head("a"), "192.0.2.2"))


@pytest.mark.parametrize(
    "raw", [head("a", "X: " + "x" * MAX_HEAD_BYTES), head("a", "no colon")], ids=["too-long", "malformed"]
)
def test_what_the_ordinary_way_may_refuse_is_not_learnt(book: Book, raw: bytes) -> None:
    """Nor is it found where another head of its line is known."""
    book.learn(head("a"), "a")
    book.learn(raw, "b")
    assert ("a", None) == (book(head("a")), book(raw))
