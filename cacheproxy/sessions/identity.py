"""What the upstream is told about who is asking: fields that no client can send. Pure."""

from functools import lru_cache

from cacheproxy.client.seal import SEAL_FIELD, seal
from cacheproxy.policy.lookup import scalar_at
from cacheproxy.policy.route import SessionRules
from cacheproxy.semantics.fields import Fields, Pair
from cacheproxy.semantics.head import RequestHead
from cacheproxy.sessions.contract import Session

MAX_VALUE_BYTES = 4096


def strip(fields: Fields, rules: SessionRules | None) -> Fields:
    """``fields`` of a client's request without any that could pass for an identity of ours, however spelled.

    ``_`` counts as ``-``: CGI, WSGI and many frameworks read both as one name.
    """
    names, prefixes = _reserved(rules)
    if not any(_claims(name, names, prefixes) for name, _ in fields.pairs):
        return fields
    return Fields(pair for pair in fields.pairs if not _claims(pair[0], names, prefixes))


def identity_fields(
    session: Session | None, rules: SessionRules, request: RequestHead, *, now: float
) -> tuple[Pair, ...]:
    """The fields that carry ``session``'s identity upstream with ``request``, and the seal over them if there is one.

    A value that is absent or cannot stand in a field is left out. No session is sealed too: that nobody is logged in
    is also something only we may say.
    """
    told = [(name, _value(session, source)) for name, source in rules.identity]
    identity = tuple((name, value) for name, value in told if value is not None)
    if not rules.seal_secret:
        return identity
    sealed = seal(rules.seal_secret, method=request.method, target=request.target, identity=identity, now=now)
    return (*identity, (SEAL_FIELD, sealed))


@lru_cache(maxsize=8)
def _reserved(rules: SessionRules | None) -> tuple[frozenset[bytes], tuple[bytes, ...]]:
    if rules is None:
        return frozenset({SEAL_FIELD}), ()
    names = frozenset({SEAL_FIELD, *(_folded(name) for name, _ in rules.identity)})
    return names, tuple(_folded(prefix) for prefix in rules.namespace)


def _claims(name: bytes, names: frozenset[bytes], prefixes: tuple[bytes, ...]) -> bool:
    folded = _folded(name)
    return folded in names or folded.startswith(prefixes)


def _folded(name: bytes) -> bytes:
    return name.lower().replace(b"_", b"-")


def _value(session: Session | None, source: str) -> bytes | None:
    """A field value (RFC 9110 §5.5), or None: no controls, nothing past Latin-1, no white space around it."""
    text = None if session is None else scalar_at(session.fields, source)
    if not text or text != text.strip() or not all(" " <= c <= "~" or "\xa0" <= c <= "\xff" for c in text):
        return None
    value = text.encode("latin-1")
    return value if len(value) <= MAX_VALUE_BYTES else None
