"""The dashboard: one page with its style and script in it, which may load nothing and talk to nobody but this port."""

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

PAGE = files("cacheproxy.admin").joinpath("dashboard.html").read_bytes()


def _hash_of(element: bytes) -> str:
    """The Content-Security-Policy source for what stands inside the page's one ``element``."""
    inside = re.search(rb"<%b>(.*?)</%b>" % (element, element), PAGE, re.DOTALL)
    assert inside
    return f"'sha256-{b64encode(sha256(inside[1]).digest()).decode()}'"


HEADERS = {
    "content-security-policy": "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash_of(b'script')}",
            f"style-src {_hash_of(b'style')}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "referrer-policy": "no-referrer",
}
