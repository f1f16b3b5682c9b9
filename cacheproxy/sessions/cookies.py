"""The session id in a request's cookies. Pure. Whatever is wrong with it, the request has no session.

Read as Starlette reads cookies, so that the sidecar and the service behind it never see different sessions; where two
readers could differ (two cookies of the name, quoting gone wrong), there is none.
"""

import re

from cacheproxy.client.session_json import is_session_id
from cacheproxy.policy.identity import SessionRules, SessionScheme
from cacheproxy.semantics.fields import Fields
from cacheproxy.sessions.signed import unsigned

MAX_VALUE_BYTES = 1024
"""Longer cookie values are not looked at."""

_QUOTED = re.compile(rb'"[^"\\]*"')


def session_id_of(fields: Fields, rules: SessionRules, now: float) -> str | None:
    """The session id that the request carries, or None. ``now`` (epoch seconds) ages signed ids."""
    value = _cookie(fields, rules.cookie.encode("latin-1", "replace"))
    if value is None:
        return None
    if rules.scheme is SessionScheme.SIGNED:
        value = unsigned(value, rules.secret, now=now, max_age_s=rules.signed_max_age_s)
    return value if value is not None and is_session_id(value) else None


def _cookie(fields: Fields, name: bytes) -> str | None:
    """The value of the only cookie called ``name``, without its quotes (RFC 6265 §4.1.1)."""
    found = None
    for line in fields.all(b"cookie"):
        if name not in line:
            continue
        for pair in line.split(b";"):
            key, equals, value = pair.partition(b"=")
            if not equals or key.strip() != name:
                continue
            if found is not None:
                return None
            found = value.strip()
    if found is None or len(found) > MAX_VALUE_BYTES:
        return None
    if b'"' not in found:
        return found.decode("latin-1")
    return found[1:-1].decode("latin-1") if _QUOTED.fullmatch(found) else None
