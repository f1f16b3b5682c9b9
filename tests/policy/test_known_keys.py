"""Remembered keys are those that would be made."""

from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.policy import known_keys
from cacheproxy.policy.identity import Identity
from cacheproxy.policy.keys import cache_key
from cacheproxy.policy.known_keys import KnownKeys
from cacheproxy.policy.route import Route, Scope
from cacheproxy.policy.router import Router
from cacheproxy.policy.templates import KeyTemplate, Template
from cacheproxy.semantics.fields import LONG_BYTES, Fields
from cacheproxy.semantics.head import RequestHead

ROUTES = [
    Route(name="all", key=KeyTemplate.parse("a:{header.x}")),
    Route(name="near", key=KeyTemplate.parse("a:{client_ip}")),
    Route(name="tagged", key=KeyTemplate.parse("a"), tags=(Template.parse("from:{client_ip}"),)),
    Route(name="own", key=KeyTemplate.parse("a"), scope=Scope.USER),
    Route(name="tenant", key=KeyTemplate.parse("a"), tenant_required=True),
]
HEADS = [
    RequestHead(method=method, target=target, authority=b"h", fields=Fields.of(("x", x)))
    for method in ("GET", "POST")
    for target in (b"/", b"/?a=1")
    for x in ("1", "2")
]
PEOPLE = [
    Identity(),
    Identity(client_ip="192.0.2.1"),
    Identity(client_ip="192.0.2.2"),
    Identity(tenant="t"),
    Identity(session_id="s", session={"user_id": "u"}),
    Identity(session_id="r", session={"user_id": "v"}),
]

requests = st.tuples(st.sampled_from(ROUTES), st.sampled_from(HEADS), st.sampled_from(PEOPLE))


@given(st.lists(requests, max_size=60), st.integers(1, 4))
def test_a_key_is_the_same_whether_or_not_it_is_remembered(asked, most) -> None:
    """Whoever asks, by whatever route, in whatever order, and however little is remembered."""
    known_keys.MAX_KNOWN, before = most, known_keys.MAX_KNOWN
    try:
        keys = KnownKeys("cp")
        for route, request, identity in asked:
            assert keys.of(route, request, {}, identity) == cache_key(route, request, {}, identity, prefix="cp")
            assert len(keys._known) <= most
    finally:
        known_keys.MAX_KNOWN = before


def test_a_head_that_comes_again_is_not_looked_through_again(make_route, make_request, monkeypatch) -> None:
    """The very same head, that is, from when it came twice: an equal one may be somebody else's."""
    route, request = make_route("all", "GET /a", key="a"), make_request("/a")
    match = Router([route]).match(request.method, request.path, request.authority)
    assert match is not None
    keys, made = KnownKeys("cp"), []
    monkeypatch.setattr(known_keys, "cache_key", lambda *args, **kwargs: made.append(1) or cache_key(*args, **kwargs))
    said = {keys.of(route, request, match.params, Identity()) for _ in range(4)}
    assert (len(said), len(made)) == (1, 2)


def test_a_long_head_is_not_kept(make_route) -> None:
    """However often it comes: whoever can send it could fill the memory with it."""
    route, keys = make_route("all", "GET /a", key="a"), KnownKeys("cp")
    target, name = b"/a?" + bytes(LONG_BYTES), b"x" * (LONG_BYTES + 1)
    for head in (RequestHead("GET", target), RequestHead("GET", b"/a", Fields([(name, b"")]))):
        assert len({keys.of(route, head, {}, Identity()) for _ in range(3)}) == 1
    assert not keys._known
