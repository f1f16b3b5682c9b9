"""For whom a request counts."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.limits.subjects import subject_of
from cacheproxy.policy.identity import Identity
from cacheproxy.policy.paths import Param
from cacheproxy.policy.route import Exemption, LimitRule, Route
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead

ROUTE = Route(name="articles")
GET = RequestHead(
    method="GET",
    target=b"/articles/42?page=2",
    fields=Fields.of(("x-api-key", "s3cret"), ("cookie", "theme=dark")),
    authority=b"example.com",
)
PARAMS = {"id": Param(b"42", "42")}
ALICE = Identity(client_ip="192.0.2.1", session_id="s", session={"user_id": 7, "org": {"id": "acme"}}, tenant="acme")


def subject(*by: str, request: RequestHead = GET, identity: Identity = ALICE, exempt: Exemption | None = None):
    """The subject of one request for a rule that counts by ``by``."""
    return subject_of(LimitRule(name="r", limit=1, period_s=1, by=by, exempt=exempt), ROUTE, request, PARAMS, identity)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (("client_ip",), "client_ip=192.0.2.1"),
        (("path",), "path=%2Farticles%2F42"),
        (("route",), "route=articles"),
        (("tenant",), "tenant=acme"),
        (("param.id",), "param.id=42"),
        (("session.user_id",), "session.user_id=7"),
        (("session.org.id",), "session.org.id=acme"),
        (("route", "client_ip"), "route=articles,client_ip=192.0.2.1"),
        ((), "all"),
    ],
)
def test_subject_names_what_is_counted_by(by: tuple[str, ...], expected: str) -> None:
    """Every source of the policy gives its value, readable in Redis."""
    assert subject(*by) == expected


@pytest.mark.parametrize("source", ["header.X-Api-Key", "cookie.theme", "query.page"])
def test_what_may_be_a_credential_reaches_redis_as_a_digest_only(source: str) -> None:
    """Headers, cookies and parameters are hashed: a key in Redis never shows one."""
    name, _, digest = subject(source).partition("=")
    assert name == source
    assert len(digest) == 32
    assert not {"s3cret", "dark"} & {digest}


@pytest.mark.parametrize(
    "source", ["header.absent", "query.absent", "cookie.absent", "param.absent", "session.absent", "session.org"]
)
def test_a_rule_does_not_apply_where_its_value_is_absent(source: str) -> None:
    """Without the value there is nobody to count, alone or in a combination."""
    assert subject(source) is None
    assert subject("client_ip", source) is None


def test_an_anonymous_client_has_no_user_and_no_tenant() -> None:
    """Limits by session and tenant leave those without one to the other limits."""
    nobody = Identity(client_ip="192.0.2.1")
    assert subject("session.user_id", identity=nobody) is None
    assert subject("tenant", identity=nobody) is None


@pytest.mark.parametrize(
    ("client_ip", "expected"),
    [
        ("2001:db8:1:2::1", "client_ip=2001%3Adb8%3A1%3A2%3A%3A%2F64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "client_ip=2001%3Adb8%3A1%3A2%3A%3A%2F64"),
        ("2001:db8:1:3::1", "client_ip=2001%3Adb8%3A1%3A3%3A%3A%2F64"),
        ("::ffff:192.0.2.1", "client_ip=192.0.2.1"),
        ("unix", "client_ip=unix"),
        ("not:an:address", "client_ip=not%3Aan%3Aaddress"),
    ],
)
def test_an_ipv6_client_is_its_network(client_ip: str, expected: str) -> None:
    """One subscriber's /64 is one client, and IPv4 in IPv6 clothes is IPv4."""
    assert subject("client_ip", identity=Identity(client_ip=client_ip)) == expected


def test_a_path_is_the_same_however_it_is_spelled() -> None:
    """Percent-encoding a letter gives nobody another quota."""
    spelled = RequestHead(method="GET", target=b"/articles/%34%32?other=query")
    assert subject("path", request=spelled) == subject("path")


@given(st.lists(st.text(), min_size=2, max_size=2), st.lists(st.text(), min_size=2, max_size=2))
def test_combinations_are_unambiguous(left: list[str], right: list[str]) -> None:
    """Two combinations are equal only if every part is: ("a,b", "c") is not ("a", "b,c")."""

    def of(values: list[str]) -> str | None:
        return subject("session.a", "session.b", identity=Identity(session=dict(zip("ab", values, strict=True))))

    if all(left) and all(right):
        assert (of(left) == of(right)) == (left == right)


def test_a_long_value_is_a_short_subject() -> None:
    """However long a path, its key in Redis is not."""
    assert len(subject("path", request=RequestHead(method="GET", target=b"/" + b"a" * 10_000))) < 64


@pytest.mark.parametrize(
    ("client_ip", "counted"), [("10.1.2.3", False), ("11.1.2.3", True), ("unix", True), ("fd00::1", False)]
)
def test_exempt_networks_are_not_counted(client_ip: str, counted: bool) -> None:
    """A client in an exempt network has no subject; an address that is none is in no network."""
    exempt = Exemption(networks=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")))
    found = subject("client_ip", identity=Identity(client_ip=client_ip), exempt=exempt)
    assert (found is not None) == counted


@pytest.mark.parametrize(
    ("fields", "counted"),
    [
        ([("x-probe", "letmein")], False),
        ([("x-probe", "letmeIn")], True),
        ([("x-probe", "")], True),
        ([("x-probe", "guess"), ("x-probe", "letmein")], True),
        ([("x-probe", "letmein"), ("x-probe", "guess")], True),
        ([], True),
    ],
)
def test_a_secret_exempts(fields: list[tuple[str, str]], counted: bool) -> None:
    """Only the one field with the very secret exempts."""
    request = RequestHead(method="GET", target=b"/", fields=Fields.of(*fields))
    found = subject("client_ip", request=request, exempt=Exemption(header=b"x-probe", secret="letmein"))
    assert (found is not None) == counted


def test_an_exemption_without_a_secret_exempts_nobody() -> None:
    """An empty secret is a mistake, not an open door."""
    request = RequestHead(method="GET", target=b"/", fields=Fields.of(("x-probe", "")))
    assert subject("client_ip", request=request, exempt=Exemption(header=b"x-probe")) is not None
