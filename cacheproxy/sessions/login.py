"""Where somebody without a session is sent to get one. Pure."""

import re
from urllib.parse import quote

_OWN = re.compile(rb"/(?![/\\])[!-~]*")
"""A target that stays with us whoever resolves it: ``//host`` and ``/\\host`` name another host (WHATWG URL §4.4)."""


def login_location(template: str, target: bytes) -> bytes:
    """The place that ``template`` names, told of ``target`` (a path and query, made one value) where it asks for that.

    A target that could lead away from here is replaced by ``/``: the login page may well follow it.
    """
    back = target if _OWN.fullmatch(target) else b"/"
    return template.replace("{target}", quote(back, safe="")).encode("ascii")
