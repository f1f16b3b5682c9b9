"""What the upstream is told about who is asking: fields that no client can send. Pure."""

from cacheproxy.client.seal import SEAL_FIELD
from cacheproxy.policy.identity import SessionRules
from cacheproxy.policy.lookup import scalar_at
from cacheproxy.semantics.fields import Fields, Pair
from cacheproxy.sessions.contract import Session

MAX_VALUE_BYTES = 4096
_MAX_NAMES = 1024


class Stripper:
    """Takes from clients' requests whatever could pass for an identity of ours, however spelled.

    ``_`` counts as ``-``: CGI, WSGI and many frameworks read both as one name.
    """

    def __init__(self) -> None:
        """Know no rules yet."""
        self._reserved = _Reserved(None)

    def strip(self, fields: Fields, rules: SessionRules | None) -> Fields:
        """``fields`` without any that ``rules`` reserve; the same object where there are none."""
        if self._reserved.rules is not rules:
            self._reserved = _Reserved(rules)
        has = self._reserved.has
        for name, _ in fields.pairs:
            if has(name):
                return Fields(pair for pair in fields.pairs if not has(pair[0]))
        return fields


def strip(fields: Fields, rules: SessionRules | None) -> Fields:
    """``fields`` as a ``Stripper`` leaves them, once."""
    return Stripper().strip(fields, rules)


def identity_fields(session: Session | None, rules: SessionRules) -> tuple[Pair, ...]:
    """The fields that carry the identity of ``session`` upstream, less values that are absent or cannot stand there."""
    if session is None:
        return ()
    told = [(name, _value(session, source)) for name, source in rules.identity]
    return tuple((name, value) for name, value in told if value is not None)


class _Reserved:
    """The names that only we may send under one set of rules. Remembers what it found of a name; bounded."""

    def __init__(self, rules: SessionRules | None) -> None:
        identity = () if rules is None else rules.identity
        self.rules = rules
        self._names = frozenset({SEAL_FIELD, *(_folded(name) for name, _ in identity)})
        self._prefixes = tuple(_folded(prefix) for prefix in (() if rules is None else rules.namespace))
        self._found: dict[bytes, bool] = {}

    def has(self, name: bytes) -> bool:
        found = self._found.get(name)
        if found is None:
            folded = _folded(name)
            found = folded in self._names or folded.startswith(self._prefixes)
            if len(self._found) >= _MAX_NAMES:
                self._found.clear()
            self._found[name] = found
        return found


def _folded(name: bytes) -> bytes:
    return name.lower().replace(b"_", b"-")


def _value(session: Session, source: str) -> bytes | None:
    """A field value (RFC 9110 §5.5), or None: no controls, nothing past Latin-1, no white space around it."""
    text = scalar_at(session.fields, source)
    if not text or text != text.strip() or not all(" " <= c <= "~" or "\xa0" <= c <= "\xff" for c in text):
        return None
    value = text.encode("latin-1")
    return value if len(value) <= MAX_VALUE_BYTES else None
