"""Cache keys and the tags that go with them."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.policy.identity import Identity
from cacheproxy.policy.key_rules import BypassRules, QueryRules
from cacheproxy.policy.keys import CacheKey, NoKey, NoKeyReason, cache_key
from cacheproxy.policy.paths import MatchRule, Param, PathPattern
from cacheproxy.policy.route import Route, Scope
from cacheproxy.policy.router import Router
from cacheproxy.policy.templates import KeyTemplate, Template
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.rules import CacheRules

NOBODY = Identity()
ARTICLE = PathPattern.parse("/articles/{id:int}")


def key_of(route: Route, request: RequestHead, identity: Identity = NOBODY) -> CacheKey | NoKey:
    """The key of a request that ``route`` matches."""
    match = Router([route]).match(request.method, request.path, request.authority)
    assert match is not None
    return cache_key(route, request, match.params, identity, prefix="cp")


def text_of(route: Route, request: RequestHead, identity: Identity = NOBODY) -> str:
    """The text of the key that there must be."""
    key = key_of(route, request, identity)
    assert isinstance(key, CacheKey)
    return key.text


@pytest.fixture
def article(make_route) -> Route:
    """One article."""
    return make_route("article", "GET /articles/{id:int}", key="articles:{id}", tags=(Template.parse("article:{id}"),))


@pytest.fixture
def listing(make_route) -> Route:
    """Pages of articles."""
    return make_route("list", "GET /articles", key="articles:list:{query.skip=0}:{query.limit=20}")


def test_layout(article: Route, make_request) -> None:
    """``{prefix}:tenant-{tenant}:{resource}:{id}:{version}:{suffix}``, for other programs to read."""
    assert text_of(article, make_request("/articles/42")) == "cp:tenant-global:articles:42:v1:~h=example.com"


def test_layout_without_host(make_route, make_request) -> None:
    """Where the policy leaves the host out there may be no suffix at all."""
    route = make_route("tags", "GET /tags", key="tags:list", key_host=False, version="2026-01")
    assert text_of(route, make_request("/tags")) == "cp:tenant-global:tags:list:2026-01"


def test_layout_without_template(make_route, make_request) -> None:
    """Without a template the key is the route, the path and the query as received."""
    route = make_route("any", "/{rest:path}")
    assert text_of(route, make_request("/a/b?c=d")) == "cp:tenant-global:@any:%2Fa%2Fb:v1:~h=example.com~q=c%3Dd"


@pytest.mark.parametrize(
    ("target", "resource", "rest"),
    [
        ("/articles", "articles:list:0:20", ""),
        ("/articles?skip=20", "articles:list:20:20", ""),
        ("/articles?limit=5&skip=1", "articles:list:1:5", ""),
        ("/articles?skip=0&limit=20", "articles:list:0:20", ""),
        ("/articles?sort=asc", "articles:list:0:20", "~q=sort%3Dasc"),
        ("/articles?skip=1&skip=2", "articles:list:0:20", "~q=skip%3D1%26skip%3D2"),
    ],
)
def test_query_parameters(listing: Route, make_request, target: str, resource: str, rest: str) -> None:
    """Named ones fill the template; others are appended, never ignored."""
    assert text_of(listing, make_request(target)) == f"cp:tenant-global:{resource}:v1:~h=example.com{rest}"


@pytest.mark.parametrize("target", ["/articles/042", "/articles/%342", "/%61rticles/42"])
def test_another_spelling_has_another_key_and_the_same_tags(article: Route, make_request, target: str) -> None:
    """A response to ``/articles/%342`` cannot poison ``/articles/42``, and a purge of 42 reaches both."""
    odd, plain = key_of(article, make_request(target)), key_of(article, make_request("/articles/42"))
    assert isinstance(odd, CacheKey)
    assert isinstance(plain, CacheKey)
    assert odd.text != plain.text
    assert {"article:42", "@key/articles:42", "articles:*"} <= set(odd.tags) & set(plain.tags)


def test_head_shares_and_other_methods_do_not(make_route, make_request) -> None:
    """What GET stored answers HEAD; OPTIONS has keys of its own."""
    route = make_route("a", "/a", key="a")
    get, head, options = (text_of(route, make_request("/a", method=method)) for method in ("GET", "HEAD", "OPTIONS"))
    assert get == head != options


def test_hosts_do_not_share(article: Route, make_request) -> None:
    """Two sites behind one sidecar are two sites, in whatever case their names are written."""
    one, same, other = (
        text_of(article, make_request("/articles/1", host=host)) for host in (b"a.example", b"A.Example", b"b.example")
    )
    assert one == same != other


def test_tags_of_a_response(article: Route, make_request) -> None:
    """All, its route, its path, the policy's own, its key, and each literal beginning of it."""
    key = key_of(article, make_request("/articles/42"))
    assert isinstance(key, CacheKey)
    assert key.tags == ("*", "@route/article", "@path/articles/42", "article:42", "@key/articles:42", "articles:*")


def test_tenants_have_keys_and_tags_of_their_own(article: Route, make_request) -> None:
    """The same URL and id in two tenants is two responses; each can be purged alone."""
    key = key_of(article, make_request("/articles/42"), Identity(tenant="acme"))
    assert isinstance(key, CacheKey)
    assert key.text.startswith("cp:tenant-acme:articles:42:")
    assert {"article:42", "@tenant/acme", "@tenant/acme/article:42", "@tenant/acme/@route/article"} <= set(key.tags)


def test_a_tenant_called_global_is_not_everybody(article: Route, make_request) -> None:
    """Its data is not what those without a tenant are given."""
    request = make_request("/articles/1")
    assert text_of(article, request, Identity(tenant="global")) != text_of(article, request)


@pytest.mark.parametrize(
    ("scope", "identity", "reason"),
    [
        (Scope.USER, NOBODY, NoKeyReason.NO_USER),
        (Scope.USER, Identity(session_id="s", session={"user_id": None}), NoKeyReason.NO_USER),
        (Scope.USER, Identity(session_id="s", session={"user_id": ""}), NoKeyReason.NO_USER),
        (Scope.USER, Identity(session_id="s", session={"user_id": [1]}), NoKeyReason.NO_USER),
        (Scope.SESSION, NOBODY, NoKeyReason.NO_SESSION),
        (Scope.SESSION, Identity(session_id=""), NoKeyReason.NO_SESSION),
        (Scope.TENANT, NOBODY, NoKeyReason.NO_TENANT),
        (Scope.TENANT, Identity(tenant=""), NoKeyReason.NO_TENANT),
    ],
)
def test_without_the_identity_there_is_no_key(
    make_route, make_request, scope: Scope, identity: Identity, reason: NoKeyReason
) -> None:
    """A response for somebody is never put where everybody looks."""
    assert key_of(make_route("a", "GET /a", key="a", scope=scope), make_request("/a"), identity) == NoKey(reason)


def test_an_enforced_tenant_is_needed_on_every_route(make_route, make_request) -> None:
    """With isolation enforced, no tenant means no cache."""
    route = make_route("a", "GET /a", key="a", tenant_required=True)
    assert key_of(route, make_request("/a")) == NoKey(NoKeyReason.NO_TENANT)


def test_users_and_sessions_are_hashed_into_the_key(make_route, make_request) -> None:
    """The key tells users apart without naming them; the tags let an event find them."""
    identity = Identity(session_id="s3cret", session={"user_id": 7})
    request = make_request("/me")
    user = key_of(make_route("me", "GET /me", key="me", scope=Scope.USER), request, identity)
    session = key_of(make_route("me", "GET /me", key="me", scope=Scope.SESSION), request, identity)
    assert isinstance(user, CacheKey)
    assert isinstance(session, CacheKey)
    assert "~u=" in user.text
    assert "~s=" in session.text
    assert "s3cret" not in session.text
    assert "user:7" in user.tags
    assert {"user:7", "session:s3cret"} <= set(session.tags)


def test_the_user_is_named_by_the_field_that_the_policy_says(make_route, make_request) -> None:
    """``session.user_field`` may be another than user_id."""
    route = make_route("me", "GET /me", key="me", scope=Scope.USER, user_field="sub")
    key = key_of(route, make_request("/me"), Identity(session_id="s", session={"sub": "x", "user_id": "y"}))
    assert isinstance(key, CacheKey)
    assert "user:x" in key.tags


def test_a_key_without_a_value_is_no_key(make_route, make_request) -> None:
    """A template that names what the request lacks does not render half a key."""
    route = make_route("a", "GET /a", key="a:{query.q}")
    assert key_of(route, make_request("/a")) == NoKey(NoKeyReason.INCOMPLETE)
    assert key_of(route, make_request("/a?q=1&q=2")) == NoKey(NoKeyReason.INCOMPLETE)
    assert isinstance(key_of(route, make_request("/a?q=1")), CacheKey)


def test_suffix_of_the_policy(make_route, make_request) -> None:
    """A variation that the operator names separates responses."""
    route = make_route("a", "GET /a", key="a", suffix=KeyTemplate.parse("{header.X-Market=none}"))
    keys = {text_of(route, make_request("/a", *fields)) for fields in ([], [("X-Market", "de")], [("X-Market", "at")])}
    assert len(keys) == 3


def test_ignored_parameters_share(make_route, make_request) -> None:
    """``utm_*`` out of the key, where the policy says so."""
    route = make_route("a", "GET /a", key="a", query=QueryRules(ignore=("utm_*",)))
    assert text_of(route, make_request("/a?utm_source=x")) == text_of(route, make_request("/a"))


@pytest.mark.parametrize(
    ("rules", "target", "fields"),
    [
        (BypassRules(query=("no_cache",)), "/a?x=1&no_cache", []),
        (BypassRules(query=("no_cache",)), "/a?no%5Fcache=1", []),
        (BypassRules(headers=(b"x-cache-bypass",)), "/a", [("X-Cache-Bypass", "1")]),
        (BypassRules(cookies=("preview",)), "/a", [("Cookie", "a=b; preview=1")]),
    ],
)
def test_bypass(make_route, make_request, rules: BypassRules, target: str, fields: list[tuple[str, str]]) -> None:
    """What the policy names takes a request past the cache; its absence does not."""
    route = make_route("a", "GET /a", key="a", bypass=rules)
    assert key_of(route, make_request(target, *fields)) == NoKey(NoKeyReason.ASKED)
    assert isinstance(key_of(route, make_request("/a?x=1", ("Cookie", "a=b"))), CacheKey)


TEXT = st.text(alphabet=st.sampled_from("a1:~%/!.=&?é\x00 *"), max_size=4)


@st.composite
def requests(draw: st.DrawFn) -> tuple[RequestHead, Mapping[str, Param], Identity]:
    """A request for ``/p/{x}/{y}``, spelled canonically or not."""
    values = {"x": draw(TEXT), "y": draw(TEXT)}
    path = PathPattern.parse("/p/{x}/{y}").spell(values)
    if draw(st.booleans()):
        path = path.replace(b"a", b"%61")
    query = draw(st.sampled_from([b"", b"?", b"?q=1", b"?q=1&r=~x", b"?q=2&q=1", b"?r=1", b"?q=%31"]))
    head = RequestHead(
        method=draw(st.sampled_from(["GET", "OPTIONS"])),
        target=path + query,
        authority=draw(st.sampled_from([b"a", b"b:1", b"a~q", b""])),
        fields=Fields.of(("x-s", draw(st.sampled_from(["", "~u", "a"])))),
    )
    identity = Identity(
        tenant=draw(st.sampled_from([None, "t", "t:p", "global"])),
        session_id="s",
        session={"user_id": draw(st.sampled_from(["1", "1~", "~"]))},
    )
    return head, {name: Param(b"", value) for name, value in values.items()}, identity


def essence(request: RequestHead, identity: Identity) -> tuple[object, ...]:
    """All that tells two of these requests apart."""
    return (
        request.method,
        request.target,
        request.authority,
        request.fields,
        identity.tenant,
        identity.session["user_id"],
    )


@given(requests(), requests())
def test_different_requests_have_different_keys(
    one: tuple[RequestHead, Mapping[str, Param], Identity], other: tuple[RequestHead, Mapping[str, Param], Identity]
) -> None:
    """Tenant, path, spelling, query, host, method, user and suffix never run into one another."""
    path = PathPattern.parse("/p/{x}/{y}")
    route = Route(
        name="p",
        cache=CacheRules(),
        match=(MatchRule(path=path),),
        path=path,
        key=KeyTemplate.parse("p:{x}:{y}:{query.q=}"),
        suffix=KeyTemplate.parse("{header.x-s}"),
        scope=Scope.USER,
    )
    keys = [cache_key(route, *each, prefix="cp") for each in (one, other)]
    assert all(isinstance(key, CacheKey) for key in keys)
    same = essence(one[0], one[2]) == essence(other[0], other[2])
    assert (keys[0] == keys[1]) == same
