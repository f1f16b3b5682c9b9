"""Set-Cookie: whose response it makes it (RFC 6265 §4.1.1)."""

from cacheproxy.semantics.fields import Fields

SETTING_FIELDS = frozenset({b"set-cookie", b"set-cookie2"})

ANY_COOKIE = b"*"


def sets_own_cookie(fields: Fields, shared: frozenset[bytes]) -> bool:
    """Whether a response sets a cookie that is not in ``shared``, and so is one client's alone."""
    for name, value in fields.pairs:
        if name in SETTING_FIELDS and ANY_COOKIE not in shared and _cookie_name(value) not in shared:
            return True
    return False


def _cookie_name(value: bytes) -> bytes:
    return value.partition(b";")[0].partition(b"=")[0].strip(b" \t")
