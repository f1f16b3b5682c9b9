"""Methods that are allowed, and surely not meant."""

from collections.abc import Iterator

from cacheproxy.policy.complaints import meant
from cacheproxy.policy.models import PolicyModel
from cacheproxy.policy.yaml import Path

_USUAL = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_OTHERS = frozenset({
    "ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "CONNECT", "COPY", "LABEL", "LINK", "LOCK", "MERGE",
    "MKACTIVITY", "MKCALENDAR", "MKCOL", "MKREDIRECTREF", "MKWORKSPACE", "MOVE", "ORDERPATCH", "PRI", "PROPFIND",
    "PROPPATCH", "QUERY", "REBIND", "REPORT", "SEARCH", "TRACE", "UNBIND", "UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE",
    "UPDATEREDIRECTREF", "VERSION-CONTROL",
})  # fmt: skip
"""All else in the IANA registry."""


def method_cautions(policy: PolicyModel) -> Iterator[tuple[Path, str]]:
    """Methods that nobody registered and that are nearly a usual one: the route would match nothing."""
    for at, route in enumerate(policy.routes):
        for nth, rule in enumerate(route.match):
            for method in sorted(rule.methods - _OTHERS - frozenset(_USUAL)):
                close = meant(method, _USUAL)
                if close:
                    yield ("routes", at, "match", nth), f"`{method}` is no method that clients send{close}"
