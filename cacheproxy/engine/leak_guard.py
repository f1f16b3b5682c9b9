"""The leak guard: a response that names its own caller is not shared, whatever its fields say. Pure."""

import json
from collections.abc import Iterator

from cacheproxy.policy.identity import Identity
from cacheproxy.semantics.fields import Fields

NAMING = ("user_id", "email", "username", "sub")
"""Session fields whose values name a person."""
SHORTEST_BYTES = 6
"""A shorter value is too likely to stand in a response by chance."""


def names_caller(identity: Identity, fields: Fields, body: bytes) -> bool:
    """Whether a response holds its caller's session id, user id, e-mail address or user name."""
    if identity.session_id is None and not identity.session:
        return False
    return any(value in body or any(value in field for _, field in fields) for value in _names(identity))


def _names(identity: Identity) -> Iterator[bytes]:
    """The values to look for, as they stand in text and in JSON."""
    given = (identity.session_id, *(identity.session.get(name) for name in NAMING))
    for value in given:
        if isinstance(value, str | int) and len(text := str(value)) >= SHORTEST_BYTES:
            plain, quoted = text.encode(), json.dumps(text)[1:-1].encode()
            yield plain
            if quoted != plain:
                yield quoted
