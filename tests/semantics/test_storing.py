"""What a shared cache may store (RFC 9111 §3)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantics.dates import format_http_date
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.semantics.reading import stored_fields
from cacheproxy.semantics.rules import CacheRules, ClientControl, Mode
from cacheproxy.semantics.storing import (
    NEVER_STORED,
    POLICY_LIFETIME,
    UNDERSTOOD,
    Pass,
    PassReason,
    Store,
    assess,
)

NOW = 1_700_000_000.0
DATE = format_http_date(NOW).decode()
HOUR_AGO = format_http_date(NOW - 3600).decode()

Lines = list[tuple[str, str]]


def verdict(
    response: Lines,
    *,
    status: int = 200,
    request: Lines | None = None,
    method: str = "GET",
    rules: CacheRules | None = None,
) -> Store | Pass:
    """What ``assess`` says of a response that came at NOW."""
    return assess(
        RequestHead(method=method, target=b"/a?b", fields=Fields.of(*(request or [])), authority=b"example.org"),
        ResponseHead(status, Fields.of(*response)),
        rules or CacheRules(),
        requested_at=NOW,
        received_at=NOW,
    )


def stored(response: Lines, **given_: object) -> Store:
    """The terms on which a response is stored, which it must be."""
    said = verdict(response, **given_)  # type: ignore[arg-type]
    assert isinstance(said, Store)
    return said


FRESH = ("cache-control", "max-age=60")
ETAG = ("etag", '"a"')


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        pytest.param([("cache-control", "max-age=60, no-store")], PassReason.NO_STORE, id="9111-3-no-store"),
        pytest.param([("cache-control", "max-age=60, private")], PassReason.PRIVATE, id="9111-3-private"),
        pytest.param([FRESH, ("set-cookie", "a=b")], PassReason.SET_COOKIE, id="9111-7.3-set-cookie"),
        pytest.param([FRESH, ("set-cookie2", "a=b")], PassReason.SET_COOKIE, id="set-cookie2"),
        pytest.param([FRESH, ("vary", "*")], PassReason.VARY_STAR, id="9111-4.1-vary-star"),
        pytest.param([FRESH, ("vary", "Foo"), ("vary", ", *")], PassReason.VARY_STAR, id="9111-4.1-vary-star-in-list"),
        pytest.param([FRESH, ("content-length", "1048577")], PassReason.TOO_LARGE, id="larger-than-allowed"),
        pytest.param([FRESH, ("content-length", "9" * 50)], PassReason.TOO_LARGE, id="larger-than-any-number"),
        pytest.param([], PassReason.NO_LIFETIME, id="9111-4.2.1-nothing-said"),
        pytest.param([("cache-control", "no-cache")], PassReason.NOT_REUSABLE, id="no-cache-and-no-validator"),
        pytest.param(
            [("cache-control", "no-cache"), ("etag", "")], PassReason.NOT_REUSABLE, id="no-cache-and-an-empty-tag"
        ),
        pytest.param([("cache-control", "max-age=0")], PassReason.NOT_REUSABLE, id="stale-and-no-validator"),
        pytest.param([FRESH, ("age", "61")], PassReason.NOT_REUSABLE, id="9111-4.2.3-older-than-its-lifetime"),
        pytest.param([FRESH, ("age", "old")], PassReason.NOT_REUSABLE, id="9111-5.1-of-unknown-age"),
    ],
)
def test_a_response_that_may_not_be_stored_says_why(response: Lines, reason: PassReason) -> None:
    """Each refusal has its reason."""
    assert verdict(response) == Pass(reason)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("line", [("cache-control", "private"), ("cache-control", "no-store"), ("set-cookie", "a=b")])
def test_what_is_somebodys_own_is_refused_in_every_mode(mode: Mode, line: tuple[str, str]) -> None:
    """private, no-store and Set-Cookie win over any policy."""
    rules = CacheRules(mode=mode, ttl_s=60.0, ttl_by_status=((200, 60.0),), allow_authorization=True)
    assert isinstance(verdict([FRESH, line], rules=rules), Pass)


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_code_with_a_lifetime(status: int) -> None:
    """Any final status is stored where the origin gives it a lifetime, but those that never are, and a bare 206."""
    said = verdict([FRESH], status=status)
    if status == 206:
        assert said == Pass(PassReason.PARTIAL)
    elif status < 200 or status in NEVER_STORED:
        assert said == Pass(PassReason.STATUS)
    else:
        assert isinstance(said, Store)


@pytest.mark.parametrize("status", sorted(UNDERSTOOD - {206} | {299, 499, 599}))
def test_must_understand_limits_storing_to_known_status_codes(status: int) -> None:
    """must-understand refuses what is not understood, and lifts no-store from what is (RFC 9111 §5.2.2.3)."""
    said = verdict([("cache-control", "max-age=60, must-understand, no-store")], status=status)
    assert isinstance(said, Store) if status in UNDERSTOOD else said == Pass(PassReason.NOT_UNDERSTOOD)


@pytest.mark.parametrize(
    ("content_range", "storable"),
    [
        pytest.param([("content-range", "bytes 0-4/10")], True, id="9110-14.4-one-range"),
        pytest.param([("content-range", "bytes 0-4/*")], False, id="9110-14.4-unknown-length"),
        pytest.param([("content-type", "multipart/byteranges; boundary=x")], False, id="9110-14.6-several"),
        pytest.param([("content-range", "bytes 4-0/10")], False, id="9110-14.4-backwards"),
        pytest.param([("content-range", "bytes 0-10/10")], False, id="9110-14.4-beyond-the-end"),
    ],
)
def test_a_part_is_stored_if_it_is_known_which(content_range: Lines, *, storable: bool) -> None:
    """A 206 needs one range of a known length (RFC 9111 §3.3)."""
    assert isinstance(verdict([FRESH, *content_range], status=206), Store) == storable


@pytest.mark.parametrize(
    ("cache_control", "storable"),
    [
        pytest.param("max-age=60", False, id="9111-3.5-not-without-leave"),
        pytest.param("max-age=60, public", True, id="9111-3.5-public"),
        pytest.param("max-age=60, must-revalidate", True, id="9111-3.5-must-revalidate"),
        pytest.param("s-maxage=60", True, id="9111-3.5-s-maxage"),
    ],
)
def test_an_authorized_answer_needs_the_origins_leave(cache_control: str, *, storable: bool) -> None:
    """Authorization keeps a response out of a shared cache unless the origin lets it in, or the policy does."""
    request = [("authorization", "Bearer x")]
    said = verdict([("cache-control", cache_control)], request=request)
    assert isinstance(said, Store) if storable else said == Pass(PassReason.AUTHORIZATION)
    rules = CacheRules(allow_authorization=True)
    assert isinstance(verdict([("cache-control", cache_control)], request=request, rules=rules), Store)


@pytest.mark.parametrize(
    ("cookies", "shared", "storable"),
    [
        pytest.param(["lang=en; Path=/"], {b"lang"}, True, id="named"),
        pytest.param(["lang=en", "sid=1"], {b"lang"}, False, id="another-with-it"),
        pytest.param(["anything"], {b"*"}, True, id="all"),
        pytest.param([" lang =en"], {b"lang"}, True, id="white-space"),
        pytest.param(["langue=en"], {b"lang"}, False, id="longer-name"),
        pytest.param([""], {b"lang"}, False, id="empty"),
    ],
)
def test_cookies_that_mean_the_same_for_everybody_may_be_stored(
    cookies: list[str], shared: set[bytes], *, storable: bool
) -> None:
    """A response is stored with its cookies only if the policy names each of them."""
    rules = CacheRules(shared_cookies=frozenset(shared))
    said = verdict([FRESH, *(("set-cookie", cookie) for cookie in cookies)], rules=rules)
    assert isinstance(said, Store) == storable


@pytest.mark.parametrize(
    ("method", "response", "storable"),
    [
        pytest.param("HEAD", [FRESH], False, id="9110-9.3.2-head-has-no-body"),
        pytest.param("PUT", [FRESH], False, id="9110-9.3.4-put"),
        pytest.param("POST", [FRESH], False, id="9110-9.3.3-post"),
        pytest.param("POST", [FRESH, ("content-location", "/a?b")], True, id="9110-9.3.3-post-is-what-get-brings"),
        pytest.param("POST", [FRESH, ("content-location", "http://example.org/a?b")], True, id="9110-9.3.3-absolute"),
        pytest.param("POST", [FRESH, ("content-location", "/c")], False, id="9110-9.3.3-of-another-target"),
        pytest.param("POST", [ETAG, ("content-location", "/a?b")], False, id="9110-9.3.3-no-explicit-lifetime"),
        pytest.param(
            "POST",
            [("expires", format_http_date(NOW + 60).decode()), ("content-location", "/a?b")],
            True,
            id="9110-9.3.3-expires",
        ),
        pytest.param(
            "POST", [("cache-control", "s-maxage=9"), ("content-location", "/a?b")], True, id="9110-9.3.3-s-maxage"
        ),
    ],
)
def test_methods(method: str, response: Lines, *, storable: bool) -> None:
    """GET is stored, and POST where it says that it is what a GET would bring."""
    said = verdict(response, method=method)
    assert isinstance(said, Store) if storable else said == Pass(PassReason.METHOD)


def test_a_failed_post_is_not_stored_for_get() -> None:
    """An error to POST is not what GET would bring, whatever its Content-Location."""
    said = verdict([FRESH, ("content-location", "/a?b")], method="POST", status=500)
    assert said == Pass(PassReason.METHOD)


def test_a_policy_may_store_other_methods() -> None:
    """With POST among its methods, a route stores answers to POST like any other."""
    assert isinstance(verdict([FRESH], method="POST", rules=CacheRules(methods=frozenset({"POST"}))), Store)


@pytest.mark.parametrize("control", ClientControl)
def test_a_clients_no_store_is_obeyed_if_the_policy_says_so(control: ClientControl) -> None:
    """no-store in a request keeps its answer out (RFC 9111 §5.2.1.5), where clients are heard."""
    said = verdict([FRESH], request=[("cache-control", "no-store")], rules=CacheRules(client_cache_control=control))
    assert (said == Pass(PassReason.REQUEST_NO_STORE)) == (control is ClientControl.HONOR)


@pytest.mark.parametrize(
    ("response", "rules", "lifetime_s"),
    [
        pytest.param([FRESH], CacheRules(ttl_s=300.0), 60.0, id="honor-the-origin-wins"),
        pytest.param([], CacheRules(ttl_s=300.0), 300.0, id="honor-the-policy-fills-silence"),
        pytest.param(
            [("last-modified", HOUR_AGO), ("date", DATE)], CacheRules(ttl_s=9.0), 9.0, id="policy-over-a-guess"
        ),
        pytest.param([("last-modified", HOUR_AGO), ("date", DATE)], CacheRules(), 360.0, id="a-guess"),
        pytest.param([FRESH], CacheRules(ttl_s=300.0, mode=Mode.OVERRIDE), 300.0, id="override-the-policy-wins"),
        pytest.param(
            [("cache-control", "no-cache")], CacheRules(ttl_s=300.0, mode=Mode.OVERRIDE), 300.0, id="override-no-cache"
        ),
        pytest.param(
            [FRESH, ("age", "1000")],
            CacheRules(ttl_s=300.0, mode=Mode.OVERRIDE),
            1300.0,
            id="override-counts-from-arrival",
        ),
        pytest.param([FRESH], CacheRules(mode=Mode.OVERRIDE), 60.0, id="override-without-a-ttl"),
        pytest.param([ETAG], CacheRules(), 0.0, id="a-validator-is-worth-keeping"),
        pytest.param([ETAG, ("cache-control", "no-cache, max-age=60")], CacheRules(), 0.0, id="9111-5.2.2.4-no-cache"),
        pytest.param([ETAG, ("cache-control", "no-cache")], CacheRules(ttl_s=300.0), 0.0, id="no-cache-is-not-silence"),
    ],
)
def test_lifetime_comes_from_origin_or_policy(response: Lines, rules: CacheRules, lifetime_s: float) -> None:
    """In honor mode the policy fills the origin's silence; in override mode it wins."""
    assert stored(response, rules=rules).lifetime_s == lifetime_s


@pytest.mark.parametrize("line", [ETAG, ("last-modified", HOUR_AGO)])
@pytest.mark.parametrize("extra", [[], [("cache-control", "no-cache")]])
@pytest.mark.parametrize(("status", "kept"), [(200, True), (404, True), (201, False), (302, False), (500, False)])
def test_a_validator_alone_keeps_only_what_a_cache_may_keep_unasked(
    status: int, extra: Lines, line: tuple[str, str], *, kept: bool
) -> None:
    """Without a lifetime, only the status codes of RFC 9110 §15.1 are stored, to be revalidated (RFC 9111 §3)."""
    said = verdict([line, *extra], status=status)
    assert isinstance(said, Store) if kept else said == Pass(PassReason.NO_LIFETIME)


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 302, 308, 404, 410, 500, 503])
def test_a_plain_ttl_is_for_successes(status: int) -> None:
    """A route's ttl caches no errors; each of those needs a row of its own."""
    plain = verdict([], status=status, rules=CacheRules(ttl_s=60.0))
    assert isinstance(plain, Store) == (status in POLICY_LIFETIME)
    row = verdict([], status=status, rules=CacheRules(ttl_s=60.0, ttl_by_status=((999, 1.0), (status, 5.0))))
    assert isinstance(row, Store)
    assert row.lifetime_s == 5.0


@pytest.mark.parametrize(
    ("cache_control", "windows"),
    [
        pytest.param("max-age=60", (0.0, 0.0, False), id="none-granted"),
        pytest.param("max-age=60, stale-while-revalidate=30, stale-if-error=90", (30.0, 90.0, False), id="5861-3-4"),
        pytest.param("max-age=60, stale-if-error=90, must-revalidate", (0.0, 0.0, True), id="9111-5.2.2.2"),
        pytest.param("max-age=60, stale-if-error=90, proxy-revalidate", (0.0, 0.0, True), id="9111-5.2.2.8"),
        pytest.param("s-maxage=60, stale-while-revalidate=30", (0.0, 0.0, True), id="9111-5.2.2.10"),
        pytest.param("no-cache, stale-if-error=90", (0.0, 0.0, True), id="9111-4.2.4-no-cache"),
    ],
)
def test_stale_windows_are_the_origins(cache_control: str, windows: tuple[float, float, bool]) -> None:
    """Stale answers are allowed as long as the origin grants, and never where it forbids them."""
    terms = stored([("cache-control", cache_control), ETAG])
    assert (terms.swr_s, terms.sie_s, terms.must_revalidate) == windows


@pytest.mark.parametrize(
    ("mode", "cache_control", "swr_s"),
    [
        pytest.param(Mode.HONOR, "max-age=60", 20.0, id="policy-fills-silence"),
        pytest.param(Mode.HONOR, "max-age=60, stale-while-revalidate=5", 5.0, id="origin-wins"),
        pytest.param(Mode.HONOR, "max-age=60, must-revalidate", 0.0, id="origin-forbids"),
        pytest.param(Mode.OVERRIDE, "max-age=60, stale-while-revalidate=5", 20.0, id="policy-wins"),
        pytest.param(Mode.OVERRIDE, "max-age=60, must-revalidate", 20.0, id="policy-wins-over-a-ban"),
    ],
)
def test_stale_windows_of_the_policy(mode: Mode, cache_control: str, swr_s: float) -> None:
    """The policy's windows fill the origin's silence, or win in override mode."""
    rules = CacheRules(mode=mode, ttl_s=60.0, stale_while_revalidate_s=20.0, stale_if_error_s=20.0)
    terms = stored([("cache-control", cache_control)], rules=rules)
    assert (terms.swr_s, terms.sie_s) == (swr_s, 20.0 if swr_s else 0.0)


@pytest.mark.parametrize(
    ("response", "keep_s"),
    [
        pytest.param([FRESH], 60.0, id="while-fresh"),
        pytest.param([FRESH, ("age", "20")], 40.0, id="less-its-age"),
        pytest.param([FRESH, ETAG], 120.0, id="and-to-be-revalidated"),
        pytest.param([("cache-control", "max-age=60, stale-if-error=100")], 160.0, id="and-to-be-served-stale"),
        pytest.param([FRESH, ETAG, ("age", "9999")], 60.0, id="stale-already"),
    ],
)
def test_a_response_is_kept_as_long_as_it_is_of_use(response: Lines, keep_s: float) -> None:
    """Fresh, or servable stale; and a while longer if it can be revalidated."""
    assert stored(response).keep_until == NOW + keep_s


@pytest.mark.parametrize(
    ("response", "kept"),
    [
        pytest.param([("connection", "a, B"), ("a", "1"), ("b", "2"), ("c", "3")], [b"c"], id="9111-3.1-connection"),
        pytest.param(
            [("connection", "vary, x"), ("vary", "foo"), ("x", "1")], [b"vary"], id="9110-7.6.1-not-nominable"
        ),
        pytest.param(
            [("keep-alive", "1"), ("upgrade", "x"), ("te", "x"), ("proxy-authenticate", "x")], [], id="9111-3.1"
        ),
        pytest.param([("trailer", "x"), ("age", "3")], [], id="of-one-answer"),
        pytest.param(
            [("ratelimit", "x"), ("ratelimit-policy", "x"), ("x-ratelimit-limit-minute", "5")], [], id="quotas"
        ),
        pytest.param([("cache-control", 'no-cache="a"'), ("a", "1")], [b"cache-control"], id="9111-5.2.2.4-qualified"),
        pytest.param([("cache-control", 'private="a"'), ("a", "1")], [b"cache-control"], id="9111-5.2.2.7-qualified"),
        pytest.param(
            [("etag", "x"), ("retry-after", "5"), ("foo", "x")], [b"etag", b"retry-after", b"foo"], id="the-rest"
        ),
    ],
)
def test_fields_of_one_connection_or_one_client_are_not_stored(response: Lines, kept: list[bytes]) -> None:
    """What is stored is what everybody may be given."""
    assert [name for name, _ in stored_fields(Fields.of(*response))] == kept


def test_a_response_without_a_date_is_given_one() -> None:
    """What is stored is dated by when it came (RFC 9110 §6.6.1)."""
    assert stored([FRESH]).fields.get(b"date") == format_http_date(NOW)


def test_a_date_is_not_changed() -> None:
    """The origin's own Date stays."""
    assert stored([FRESH, ("date", HOUR_AGO), ETAG]).fields.all(b"date") == [HOUR_AGO.encode()]


def test_the_variance_is_of_the_request() -> None:
    """What Vary names is taken from the request that was answered."""
    terms = stored([FRESH, ("vary", "Foo, Bar")], request=[("foo", "1")])
    assert (terms.vary, terms.variance) == ((b"bar", b"foo"), b"bar\nfoo:1")


FIELD_NAMES = [
    "age", "authorization", "cache-control", "cdn-cache-control", "connection", "content-length", "content-location",
    "content-range", "date", "etag", "expires", "last-modified", "pragma", "set-cookie", "surrogate-control", "vary",
]  # fmt: skip
any_fields = st.lists(st.tuples(st.sampled_from(FIELD_NAMES), st.binary(max_size=30)), max_size=8)


@given(
    any_fields,
    any_fields,
    st.integers(100, 599),
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.sampled_from(Mode),
    st.sampled_from(ClientControl),
)
def test_any_exchange_can_be_assessed(
    request: list[tuple[str, bytes]],
    response: list[tuple[str, bytes]],
    status: int,
    method: str,
    mode: Mode,
    client: ClientControl,
) -> None:
    """There is always a verdict, and what is stored is of use for some time."""
    said = assess(
        RequestHead(method=method, target=b"/", fields=Fields.of(*request)),
        ResponseHead(status, Fields.of(*response)),
        CacheRules(mode=mode, ttl_s=5.0, client_cache_control=client),
        requested_at=NOW,
        received_at=NOW + 0.1,
    )
    if isinstance(said, Store):
        assert said.keep_until > NOW
        assert b"set-cookie" not in said.fields
        assert b"connection" not in said.fields


SENSITIVE = CacheRules(
    sensitive_types=frozenset({b"application/pdf", b"image/*"}), sensitive_fields=frozenset({b"x-account"})
)


@pytest.mark.parametrize(
    "fields",
    [
        [("content-type", "application/pdf")],
        [("content-type", "Application/PDF ; a=b")],
        [("content-type", "image/png")],
        [("content-type", "text/html"), ("content-type", "application/pdf")],
        [("content-type", "text/html, application/pdf")],
        [("X-Account", "")],
    ],
)
@pytest.mark.parametrize("mode", Mode)
def test_what_is_sensitive_is_not_stored(fields: Lines, mode: Mode) -> None:
    """A media type or a field that the policy names keeps a response out, whatever else it says, in every mode."""
    rules = replace(SENSITIVE, mode=mode, ttl_s=60.0)
    assert verdict([FRESH, *fields], rules=rules) == Pass(PassReason.SENSITIVE)
    assert isinstance(verdict([FRESH, *fields]), Store)


@pytest.mark.parametrize("type_", ["application/pdfx", "application/json", "imagex/png", "", "text/image/*"])
def test_other_types_are_not_sensitive(type_: str) -> None:
    """Nor is a response without one."""
    assert isinstance(verdict([FRESH, ("content-type", type_)], rules=SENSITIVE), Store)
    assert isinstance(verdict([FRESH], rules=SENSITIVE), Store)


@pytest.mark.parametrize(
    ("allowed", "vary"),
    [
        pytest.param("https://a.example", (b"origin",), id="fetch-3.2.5-reflected-origin"),
        pytest.param("*", (), id="fetch-3.2.5-any-origin"),
    ],
)
def test_a_response_that_names_its_origin_varies_on_it(allowed: str, vary: tuple[bytes, ...]) -> None:
    """An origin that reflects Origin without saying so by Vary would open its response to one site for all."""
    response = ResponseHead(200, Fields.of(("cache-control", "max-age=9"), ("access-control-allow-origin", allowed)))
    request = RequestHead(method="GET", target=b"/", fields=Fields.of(("origin", "https://a.example")))
    verdict = assess(request, response, CacheRules(), requested_at=0.0, received_at=0.0)
    assert isinstance(verdict, Store)
    assert vary == verdict.vary


@pytest.mark.parametrize(
    ("lines", "vary"),
    [
        pytest.param([("content-encoding", "gzip")], (b"accept-encoding",), id="9110-12.5.3-coded"),
        pytest.param(
            [("content-encoding", "br"), ("vary", "Origin")], (b"accept-encoding", b"origin"), id="beside-vary"
        ),
        pytest.param([("content-encoding", "identity")], (), id="9110-12.5.3-no-coding"),
    ],
)
def test_a_coded_response_varies_on_accept_encoding(lines: Lines, vary: tuple[bytes, ...]) -> None:
    """A coded response without Vary is for those who ask as its first client did: others may not read it."""
    assert vary == stored([FRESH, *lines]).vary


@pytest.mark.parametrize(
    ("scheme", "location", "vary"),
    [
        pytest.param("http", "https://a.example/", (b"upgrade-insecure-requests",), id="to-https"),
        pytest.param("http", "HTTPS://b.example/", (b"upgrade-insecure-requests",), id="to-https-elsewhere"),
        pytest.param("http", "http://b.example/", (), id="to-http"),
        pytest.param("http", "/there", (), id="relative"),
        pytest.param("https", "https://b.example/", (), id="from-https"),
    ],
)
def test_a_way_out_to_https_is_for_those_who_asked_alike(scheme: str, location: str, vary: tuple[bytes, ...]) -> None:
    """An origin may send there only whoever says Upgrade-Insecure-Requests, and not say so by Vary."""
    response = ResponseHead(301, Fields.of(("cache-control", "max-age=9"), ("location", location)))
    request = RequestHead(method="GET", target=b"/", scheme=scheme)
    verdict = assess(request, response, CacheRules(), requested_at=0.0, received_at=0.0)
    assert isinstance(verdict, Store)
    assert vary == verdict.vary
