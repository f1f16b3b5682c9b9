"""Header fields: ordered pairs of bytes, names lower-case, never a dict (RFC 9110 §5)."""

from collections.abc import Collection, Iterable, Iterator
from operator import itemgetter

Pair = tuple[bytes, bytes]
LONG_BYTES = 4096
_name_of = itemgetter(0)


class Fields:
    """An immutable list of field lines in the order received. Names are lower-case."""

    __slots__ = ("_known", "pairs")

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        """Keep ``pairs`` as they are; names must be lower-case already (parsers do that, see ``of``)."""
        self.pairs: tuple[Pair, ...] = tuple(pairs)
        self._known: frozenset[bytes] | None = None

    @classmethod
    def of(cls, *pairs: tuple[str | bytes, str | bytes]) -> "Fields":
        """Fields from text or bytes, names lower-cased: for tests and for fields of our own."""
        return cls((_bytes(name).lower(), _bytes(value)) for name, value in pairs)

    @property
    def is_long(self) -> bool:
        """Whether they are too long to be remembered: whoever can send them could fill the memory with them."""
        return sum([len(name) + len(value) for name, value in self.pairs]) > LONG_BYTES

    def names(self) -> frozenset[bytes]:
        """Every name once. Most questions about fields are answered by its not being here."""
        if self._known is None:
            self._known = frozenset(map(_name_of, self.pairs))
        return self._known

    def get(self, name: bytes) -> bytes | None:
        """The first value of ``name``, or None."""
        if name not in (self._known or self.names()):
            return None
        for key, value in self.pairs:
            if key == name:
                return value
        return None

    def all(self, name: bytes) -> list[bytes]:
        """Every value of ``name``, in order."""
        if name not in (self._known or self.names()):
            return []
        return [value for key, value in self.pairs if key == name]

    def combined(self, name: bytes) -> bytes | None:
        """All lines of ``name`` joined by ", " (RFC 9110 §5.3), or None if there is none."""
        if name not in (self._known or self.names()):
            return None
        values = [value for key, value in self.pairs if key == name]
        return values[0] if len(values) == 1 else b", ".join(values)

    def without(self, names: Collection[bytes]) -> "Fields":
        """These fields less every line whose name is in ``names``."""
        known = self.names()
        if known.isdisjoint(names):
            return self
        rest = Fields([pair for pair in self.pairs if pair[0] not in names])
        rest._known = known.difference(names)
        return rest

    def plus(self, *pairs: Pair) -> "Fields":
        """These fields with ``pairs`` appended."""
        more = Fields((*self.pairs, *pairs))
        if self._known is not None:
            more._known = self._known.union(map(_name_of, pairs))
        return more

    def replaced(self, name: bytes, value: bytes) -> "Fields":
        """These fields with exactly one line of ``name``, at the end."""
        return Fields([*[pair for pair in self.pairs if pair[0] != name], (name, value)])

    def with_value(self, name: bytes, value: bytes) -> "Fields":
        """These fields with ``value`` in each line of ``name``, in its place."""
        same = Fields([(name, value) if pair[0] == name else pair for pair in self.pairs])
        same._known = self._known
        return same

    def __contains__(self, name: object) -> bool:
        """Whether a line of ``name`` is present."""
        return name in (self._known or self.names())

    def __iter__(self) -> Iterator[Pair]:
        """The field lines in order."""
        return iter(self.pairs)

    def __len__(self) -> int:
        """The number of field lines."""
        return len(self.pairs)

    def __eq__(self, other: object) -> bool:
        """Equal if the same lines in the same order."""
        return isinstance(other, Fields) and self.pairs == other.pairs

    def __hash__(self) -> int:
        """Hash of the lines."""
        return hash(self.pairs)

    def __repr__(self) -> str:
        """The lines, for a person."""
        return f"Fields({list(self.pairs)!r})"


def _bytes(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text
