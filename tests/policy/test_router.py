"""The route table, as users and as attackers see it."""

import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.errors import ClientError
from cacheproxy.policy.paths import Kind, MatchRule, PathPattern
from cacheproxy.policy.route import LimitRule, Route, SessionUse
from cacheproxy.policy.router import Match, Router
from cacheproxy.semantics.rules import CacheRules

HOST = b"example.com"


def name_of(match: Match | None) -> str | None:
    """The name of the matched route."""
    return match.route.name if match else None


@pytest.fixture(scope="module")
def site(make_route) -> Router:
    """A site with an open part, a guarded part and a catch-all below /files."""
    return Router(
        [
            make_route("list", "GET /articles"),
            make_route("new", "GET /articles/new"),
            make_route("article", "GET /articles/{id:int}"),
            make_route("slug", "GET /articles/{slug}"),
            make_route("write", "POST /articles", "PUT|DELETE /articles/{id:int}"),
            make_route("user", "/users/{id}", session=SessionUse.REQUIRED),
            make_route("number", "GET /numbers/{n:int}", session=SessionUse.REQUIRED),
            make_route("files", "GET /files/{rest:path}"),
            make_route("login", "POST /login/"),
            make_route("api", "GET api.example.com/v1/{name}"),
            make_route("root", "GET /"),
        ]
    )


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", b"/articles", "list"),
        ("HEAD", b"/articles", "list"),
        ("GET", b"/articles/new", "new"),
        ("GET", b"/articles/7", "article"),
        ("GET", b"/articles/x", "slug"),
        ("POST", b"/articles", "write"),
        ("PUT", b"/articles/7", "write"),
        ("DELETE", b"/articles/7", "write"),
        ("PATCH", b"/articles/7", None),
        ("OPTIONS", b"/articles", None),
        ("PROPFIND", b"/users/7", "user"),
        ("GET", b"/files/", "files"),
        ("GET", b"/files/a/b", "files"),
        ("GET", b"/files", "files"),
        ("GET", b"/", "root"),
        ("GET", b"/v1/x", None),
        ("OPTIONS", b"*", None),
        ("GET", b"/nothing", None),
    ],
)
def test_the_first_route_that_matches_wins(site: Router, method: str, path: bytes, name: str | None) -> None:
    """By method, literal segments, captures and order."""
    assert name_of(site.match(method, path, HOST)) == name


def test_a_route_may_be_for_one_host(site: Router) -> None:
    """The host is compared without port and case."""
    assert name_of(site.match("GET", b"/v1/x", b"API.example.com:8080")) == "api"
    assert name_of(site.match("GET", b"/v1/x", b"example.com")) is None


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (b"/articles/007", {"id": "7"}),
        (b"/articles/a%20b", {"slug": "a b"}),
        (b"/articles/caf%C3%A9", {"slug": "café"}),
        (b"/articles/caf\xc3\xa9", {"slug": "café"}),
        (b"/articles/%ff", {"slug": "\\xff"}),
        (b"/files/a/b%20c/", {"rest": "a/b c/"}),
        (b"/files/a%2Fb", {"rest": "a/b"}),
    ],
)
def test_captures_are_decoded_and_canonical(site: Router, path: bytes, values: dict[str, str]) -> None:
    """Tags and limits see one value for every spelling."""
    match = site.match("GET", path, HOST)
    assert match is not None
    assert {name: param.value for name, param in match.params.items()} == values


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(b"//users/7", id="double-slash"),
        pytest.param(b"/users//7", id="empty-segment"),
        pytest.param(b"/users%2F7", id="encoded-slash"),
        pytest.param(b"/users%2f7", id="encoded-slash-lower-case"),
        pytest.param(b"/x%2F..%2Fusers/7", id="encoded-dot-segments"),
        pytest.param(b"/files/../users/7", id="dot-segment"),
        pytest.param(b"/files/%2e%2e/users/7", id="encoded-dots"),
        pytest.param(b"/files/..;/users/7", id="dots-with-parameter"),
        pytest.param(b"/files/..%2Fusers/7", id="dots-and-encoded-slash"),
        pytest.param(b"/files/..\\users\\7", id="backslashes"),
        pytest.param(b"/files/..%5Cusers%5C7", id="encoded-backslashes"),
        pytest.param(b"/./users/7", id="single-dot"),
        pytest.param(b"/users/.", id="dot-at-the-end"),
        pytest.param(b"/users;x=1/7", id="parameter"),
        pytest.param(b"/users%3Bx=1/7", id="encoded-parameter"),
        pytest.param(b"\\users\\7", id="not-origin-form"),
        pytest.param(b"/users\\7", id="backslash"),
        pytest.param(b"/users/7%00.css", id="nul-cuts-the-value"),
        pytest.param(b"/users/7%2F", id="encoded-final-slash"),
        pytest.param(b"/users/%c0%ae%c0%ae%c0%afadmin", id="overlong-utf-8"),
        pytest.param(b"/users/%u002e%u002e%u002fadmin", id="wide-escapes"),
        pytest.param(b"/numbers/7%00/x", id="nul-cuts-a-segment"),
        pytest.param(b"http://evil/users/7", id="absolute-form"),
        pytest.param(b"", id="empty"),
        pytest.param(b"users/7", id="relative"),
    ],
)
def test_a_disguised_path_never_slips_past_the_session(site: Router, path: bytes) -> None:
    """Whatever an upstream may read as /users/7 is refused, or meets the rules of /users/7 without its cache."""
    try:
        match = site.match("GET", path, HOST)
    except ClientError as error:
        assert (error.status, error.reason) == (400, "ambiguous-path")
        return
    assert match is not None
    assert match.route.session is SessionUse.REQUIRED
    assert match.route.cache is None


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        pytest.param("GET", b"/users/7/", "user", id="final-slash-more"),
        pytest.param("POST", b"/login", "login", id="final-slash-less"),
        pytest.param("GET", b"/numbers/+7", "number", id="sign"),
        pytest.param("GET", b"/numbers/7.0", "number", id="point"),
        pytest.param("GET", b"/numbers/%207", "number", id="space"),
        pytest.param("GET", b"/numbers/1_0/", "number", id="underscore-and-slash"),
        pytest.param("get", b"/numbers/7", "number", id="method-in-lower-case"),
        pytest.param("GET", b"/users/7;v=1", "user", id="parameter-of-a-value"),
    ],
)
def test_a_near_miss_is_guarded_but_not_cached(site: Router, method: str, path: bytes, name: str) -> None:
    """What lenient upstreams take for the same resource meets its session and limits, and never its cache."""
    match = site.match(method, path, HOST)
    assert name_of(match) == name
    assert match is not None
    assert match.route.cache is None


@pytest.mark.parametrize("path", [b"/users/7/", b"/numbers/+7", b"/numbers/%2B7", b"/numbers/7.0", b"/slash"])
def test_a_catch_all_does_not_swallow_near_misses(make_route, path: bytes) -> None:
    """What a lenient upstream takes for a guarded resource meets its guard even where another route matches it."""
    limit = LimitRule(name="l", limit=1, period_s=1)
    router = Router(
        [
            make_route("user", "GET /users/{id}", session=SessionUse.REQUIRED),
            make_route("number", "GET /numbers/{n:int}", session=SessionUse.REQUIRED),
            make_route("slash", "GET /slash/", session=SessionUse.REQUIRED),
            make_route("rest", "/{rest:path}", session=SessionUse.IGNORE, limits=(limit,)),
        ]
    )
    match = router.match("GET", path, HOST)
    assert match is not None
    assert (match.route.session, match.route.limits, match.route.cache) == (SessionUse.REQUIRED, (limit,), None)
    plain = router.match("GET", b"/other/x_y/7.5", HOST)
    assert plain is not None
    assert (plain.route.name, plain.route.cache is not None) == ("rest", True)


@pytest.mark.parametrize("path", [b"/files/a//b", b"/files/a;b", b"/articles/a;b"])
def test_what_readers_see_differently_is_not_cached(site: Router, path: bytes) -> None:
    """The route is certain, the value is not: a purge by value could miss it."""
    match = site.match("GET", path, HOST)
    assert match is not None
    assert match.route.cache is None


@pytest.mark.parametrize(
    "path",
    [b"/articles/100%", b"/articles/%zz", b"/articles/%2", b"/articles/~x", b"/articles/a:b", b"/articles/%2525"],
)
def test_harmless_oddities_pass(site: Router, path: bytes) -> None:
    """Invalid escapes and reserved characters that every reader takes alike are nobody's business."""
    assert name_of(site.match("GET", path, HOST)) == "slug"


def test_case_tells_paths_apart(site: Router) -> None:
    """Paths have case (RFC 3986 §6.2.2.1)."""
    assert site.match("GET", b"/USERS/7", HOST) is None


@pytest.mark.parametrize(
    ("lines", "last", "shadowed"),
    [
        (["/{rest:path}"], "GET /a", True),
        (["GET /{x}"], "GET /a", True),
        (["GET /{x}"], "GET /{y}", True),
        (["GET /{x}"], "/{y}", False),
        (["GET /{x}"], "POST /{y}", False),
        (["GET /{x:int}"], "GET /{y}", False),
        (["GET /{x:int}"], "GET /7", True),
        (["GET /{x:int}"], "GET /{y:int}", True),
        (["GET /a/{rest:path}"], "GET /a/b/c", True),
        (["GET /a/{rest:path}"], "GET /a", False),
        (["GET /a"], "GET example.com/a", True),
        (["GET example.com/a"], "GET /a", False),
        (["GET /a/{b}", "GET /{c}/d"], "GET /{x}/{y}", False),
        (["GET /a", "POST /a"], "GET|POST /a", True),
        (["GET /a"], "GET|POST /a", False),
    ],
)
def test_a_route_that_can_never_match_is_found(make_route, lines: list[str], last: str, shadowed: bool) -> None:
    """By asking the table with a path that only a pattern covering all of the last one takes."""
    route = make_route("last", last)
    router = Router([*(make_route(f"r{at}", line) for at, line in enumerate(lines)), route])
    assert (router.shadow_of(route.match[0], route) is not None) == shadowed


SEGMENTS = ["a", "b", "7", "{x}", "{x:int}", "{y}"]


@st.composite
def tables(draw: st.DrawFn) -> list[Route]:
    """A handful of routes over a small alphabet, so that they overlap."""
    routes = []
    for at in range(draw(st.integers(1, 6))):
        pieces = draw(st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=3))
        pieces = [re.sub(r"\{[xy]", f"{{n{place}", piece) for place, piece in enumerate(pieces)]
        end = draw(st.sampled_from(["", "", "/", "/{rest:path}"]))
        methods = draw(
            st.sampled_from([frozenset(), frozenset({"GET"}), frozenset({"POST"}), frozenset({"GET", "POST"})])
        )
        host = draw(st.sampled_from(["", "", "h"]))
        rule = MatchRule(path=PathPattern.parse("/" + "/".join(pieces) + end), methods=methods, host=host)
        routes.append(Route(name=str(at), cache=CacheRules(), match=(rule,)))
    return routes


def linear(routes: list[Route], method: str, path: bytes, host: str) -> tuple[str, list[bytes]] | None:
    """The first route by trying one after another, each by a regular expression."""
    for route in routes:
        (rule,) = route.match
        wanted = rule.methods | {"HEAD"} if "GET" in rule.methods else rule.methods
        if (wanted and method not in wanted) or rule.host not in {"", host}:
            continue
        expression = b"/" + b"/".join(
            {
                Kind.LITERAL: re.escape(segment.literal),
                Kind.STR: b"([^/]+)",
                Kind.INT: b"([0-9]+)",
                Kind.PATH: b"(.*)",
            }[segment.kind]
            for segment in rule.path.segments
        )
        found = re.fullmatch(expression, path, re.DOTALL)
        if found:
            return route.name, list(found.groups())
    return None


@given(
    tables(),
    st.sampled_from(["GET", "HEAD", "POST", "PUT"]),
    st.lists(st.sampled_from(["a", "b", "7", "42", "c", ""]), min_size=1, max_size=5),
    st.sampled_from(["h", "i", ""]),
)
def test_the_table_agrees_with_trying_one_route_after_another(
    routes: list[Route], method: str, pieces: list[str], host: str
) -> None:
    """On paths without oddities the compiled table is the naive one, only faster."""
    path = ("/" + "/".join(pieces)).encode()
    if b"//" in path:
        return
    match = Router(routes).match(method, path, host.encode())
    expected = linear(routes, method, path, host)
    if expected is None:
        assert match is None or match.route.cache is None
        return
    assert match is not None
    if match.route.cache is None:
        assert path.endswith(b"/") or expected[0] != match.route.name
        assert next(route for route in routes if route.name == expected[0]).match[0].path.segments[-1].kind is Kind.PATH
        return
    assert (match.route.name, [param.raw for param in match.params.values()]) == expected


ATOMS = [
    b"a",
    b"b",
    b"7",
    b"/",
    b"/",
    b"%2F",
    b"%61",
    b"%37",
    b";",
    b"\\",
    b"%5c",
    b".",
    b"..",
    b"%2e",
    b"%00",
    b"%",
    b"+",
    b"%c0%af",
]


@given(tables(), st.lists(st.sampled_from(ATOMS), max_size=8).map(b"".join))
def test_no_upstream_reads_a_route_that_was_not_applied(routes: list[Route], tail: bytes) -> None:
    """A path is refused unless Starlette's reading of it (decoded whole) is matched by the same route, or by none."""
    try:
        match = Router(routes).match("GET", b"/" + tail, b"h")
    except ClientError:
        return
    starlette = linear(routes, "GET", unquote_to_bytes(b"/" + tail), "h")
    if starlette is not None:
        assert match is not None
        assert match.route.name == starlette[0] or match.route.cache is None


def test_cost_follows_the_path_and_not_the_table(make_route) -> None:
    """A thousand routes cost as many steps as ten: counted, not timed."""
    counts = []
    for size in (10, 1000):
        router = Router([make_route(f"r{at}", f"GET /r{at}/{{id:int}}") for at in range(size)])
        counts.append(_steps(router))
    assert counts[0] == counts[1]


def _steps(router: Router) -> int:
    import gc
    import sys

    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    gc.disable()  # its callbacks are no steps of ours
    sys.setprofile(count)
    try:
        router.match("GET", b"/r9/7", HOST)
    finally:
        sys.setprofile(None)
        gc.enable()
    return steps
