"""Request fields that nothing reads: requests that differ in them alone are one request to this proxy. Pure.

The list is of what is known to be safe to pass over. A field that is not in it counts, and so does one that the policy
file so much as mentions, wherever: a rule that reads a field need not be thought of here.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from cacheproxy.policy.route import Policy, Route, SessionUse

_DESCRIBE_CLIENTS = frozenset({
    b"accept", b"accept-language", b"user-agent", b"referer", b"dnt", b"sec-gpc", b"priority",
    b"sec-fetch-dest", b"sec-fetch-mode", b"sec-fetch-site", b"sec-fetch-user", b"sec-ch-ua", b"sec-ch-ua-mobile",
    b"sec-ch-ua-platform",
})  # fmt: skip
NAME_REQUESTS = frozenset({
    b"x-request-id", b"traceparent", b"tracestate", b"baggage", b"b3", b"x-b3-traceid", b"x-b3-spanid",
    b"x-b3-parentspanid", b"x-b3-sampled", b"x-b3-flags", b"x-amzn-trace-id", b"x-cloud-trace-context",
})  # fmt: skip
"""Those that are different in every request."""
TELL_ADDRESSES = frozenset({b"x-forwarded-for", b"x-real-ip"})
_COOKIE = frozenset({b"cookie"})
CONTENT_LENGTH = b"content-length"
_WORD = re.compile(r"[a-z0-9-]+")
_READ_COOKIES = frozenset({"cookie", "cookies"})
_READ_ADDRESSES = frozenset({"client-ip", "networks"})
_FIELDS = _DESCRIBE_CLIENTS | NAME_REQUESTS | TELL_ADDRESSES | _COOKIE
_VOCABULARY = _READ_COOKIES | _READ_ADDRESSES | {name.decode() for name in _FIELDS | {CONTENT_LENGTH}}


def mentioned_in(data: object) -> frozenset[str]:
    """What the file that was read as ``data`` says of request fields, ``session`` aside: lower-case, ``_`` as ``-``."""
    mapping = data if isinstance(data, dict) else {}
    texts = _texts([(key, value) for key, value in mapping.items() if key != "session"])
    return _VOCABULARY.intersection(word for text in texts for word in _WORD.findall(text.lower().replace("_", "-")))


def unread_fields(policy: Policy, route: Route, vary: Iterable[bytes]) -> frozenset[bytes]:
    """The request fields on which no answer under ``route`` hangs whose Vary names ``vary``.

    Those that tell addresses are either all among them or none: what each of them says is made of all, and of the peer.
    """
    if policy.mentioned is None:
        return frozenset()
    return _unread(_mentioned(policy.mentioned, route), frozenset(vary), _is_anonymous(policy, route))


def carried_fields(policy: Policy, route: Route) -> frozenset[bytes]:
    """The request fields that merely go on under ``route``, whatever they say.

    Content-Length is one of them: of a body no more is read than whether there is one.
    """
    if policy.mentioned is None:
        return frozenset()
    return _carried(_mentioned(policy.mentioned, route), _is_anonymous(policy, route))


def reads_peer(policy: Policy, vary: Iterable[bytes]) -> bool:
    """Whether an answer whose Vary names ``vary`` may hang on a field that tells addresses, and so on the peer's."""
    if policy.mentioned is None:
        return True
    return not TELL_ADDRESSES.isdisjoint({*vary, *(word.encode() for word in policy.mentioned)})


def _mentioned(mentioned: frozenset[str], route: Route) -> frozenset[str]:
    """What the file ``mentioned``, and what it need not: that the limits of ``route`` count by the client's address."""
    by_address = any("client_ip" in rule.by or (rule.exempt and rule.exempt.networks) for rule in route.limits)
    return mentioned | _READ_ADDRESSES if by_address else mentioned


def _is_anonymous(policy: Policy, route: Route) -> bool:
    return policy.session is None or route.session is SessionUse.IGNORE


@lru_cache(maxsize=256)
def _carried(mentioned: frozenset[str], anonymous: bool) -> frozenset[bytes]:  # noqa: FBT001 - a key's part
    unread = _unread(mentioned, frozenset(), anonymous)
    return unread if CONTENT_LENGTH.decode() in mentioned else unread | {CONTENT_LENGTH}


@lru_cache(maxsize=256)
def _unread(mentioned: frozenset[str], vary: frozenset[bytes], anonymous: bool) -> frozenset[bytes]:  # noqa: FBT001 - a key's part
    unread = _DESCRIBE_CLIENTS | NAME_REQUESTS
    if mentioned.isdisjoint(_READ_ADDRESSES):
        unread |= TELL_ADDRESSES
    if anonymous and mentioned.isdisjoint(_READ_COOKIES):
        unread |= _COOKIE
    unread = unread - vary - {word.encode() for word in mentioned}
    return unread if unread >= TELL_ADDRESSES else unread - TELL_ADDRESSES


def _texts(data: object) -> Iterator[str]:
    if isinstance(data, dict):
        data = list(data.items())
    if isinstance(data, list | tuple):
        for item in data:
            yield from _texts(item)
    else:
        yield str(data)
