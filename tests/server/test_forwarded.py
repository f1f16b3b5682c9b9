"""Who the client is, whatever it says about itself."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantics.fields import LONG_BYTES, Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.server import forwarded
from cacheproxy.server.forwarded import believable, client_address, forwarding_fields, is_trusted

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("127.0.0.1/32"), ip_network("2001:db8:ffff::/48"))


def client(peer: str, *fields: tuple[str, str]) -> str:
    """The client's address for a request from ``peer``."""
    return client_address(peer, Fields.of(*fields), TRUSTED)


def xff(value: str, peer: str = "10.0.0.1") -> str:
    """The client's address as a proxy tells it."""
    return client(peer, ("x-forwarded-for", value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("192.0.2.7", "192.0.2.7", id="one-hop"),
        pytest.param("192.0.2.7, 10.0.0.2", "192.0.2.7", id="two-proxies"),
        pytest.param("1.1.1.1, 192.0.2.7", "192.0.2.7", id="forged-before"),
        pytest.param("1.1.1.1, 192.0.2.7, 10.0.0.2", "192.0.2.7", id="forged-before-two-proxies"),
        pytest.param("10.9.9.9, 192.0.2.7", "192.0.2.7", id="forged-trusted-before"),
        pytest.param("10.0.0.3, 10.0.0.2", "10.0.0.3", id="client-inside-the-trusted-net"),
        pytest.param("192.0.2.7:54321", "192.0.2.7", id="port"),
        pytest.param("2001:db8::7", "2001:db8::7", id="ipv6"),
        pytest.param("[2001:db8::7]", "2001:db8::7", id="ipv6-brackets"),
        pytest.param("[2001:db8::7]:443", "2001:db8::7", id="ipv6-brackets-port"),
        pytest.param("2001:DB8:0:0::7", "2001:db8::7", id="ipv6-canonical"),
        pytest.param("::ffff:192.0.2.7", "192.0.2.7", id="ipv4-mapped"),
        pytest.param("[::ffff:192.0.2.7]:80", "192.0.2.7", id="ipv4-mapped-port"),
        pytest.param(" 192.0.2.7 ,", "192.0.2.7", id="9110-5.6.1-empty-member"),
        pytest.param("unknown", "10.0.0.1", id="unknown"),
        pytest.param("192.0.2.7, unknown", "10.0.0.1", id="unknown-hides-what-is-before"),
        pytest.param("192.0.2.7, unknown, 10.0.0.2", "10.0.0.2", id="last-that-was-told"),
        pytest.param("192.0.2.999", "10.0.0.1", id="no-address"),
        pytest.param("192.0.2.07", "10.0.0.1", id="leading-zero"),
        pytest.param("0x7f.1", "10.0.0.1", id="hexadecimal"),
        pytest.param("192.0.2.7:port", "10.0.0.1", id="bad-port"),
        pytest.param("192.0.2.7:", "10.0.0.1", id="no-port"),
        pytest.param("[2001:db8::7", "10.0.0.1", id="bracket-open"),
        pytest.param("[2001:db8::7]x", "10.0.0.1", id="bracket-tail"),
        pytest.param("[192.0.2.7]", "10.0.0.1", id="ipv4-in-brackets"),
        pytest.param("fe80::1%eth0", "10.0.0.1", id="zone"),
        pytest.param("'; DROP TABLE", "10.0.0.1", id="nonsense"),
        pytest.param("", "10.0.0.1", id="empty"),
        pytest.param("localhost", "10.0.0.1", id="name"),
    ],
)
def test_x_forwarded_for_is_read_from_the_right(value: str, expected: str) -> None:
    """The client is the first hop from the right that is no trusted proxy; else the last that was vouched for."""
    assert xff(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("for=192.0.2.7", "192.0.2.7", id="7239-4-token"),
        pytest.param('For="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17", id="7239-4-ipv6"),
        pytest.param("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60", id="7239-4-pairs"),
        pytest.param("by=203.0.113.43;for=192.0.2.60", "192.0.2.60", id="order"),
        pytest.param("for=1.1.1.1, for=192.0.2.43", "192.0.2.43", id="7239-4-forged-before"),
        pytest.param("for=192.0.2.43,for=10.0.0.2", "192.0.2.43", id="no-space"),
        pytest.param('for="192.0.2.43:80", for=10.0.0.2', "192.0.2.43", id="quoted-port"),
        pytest.param("for=unknown", "10.0.0.1", id="7239-6.2-unknown"),
        pytest.param("for=_hidden, for=_SEVKISEK", "10.0.0.1", id="7239-6.3-obfuscated"),
        pytest.param("for=192.0.2.7, proto=https", "10.0.0.1", id="element-without-for"),
        pytest.param("for=192.0.2.7;for=192.0.2.8", "10.0.0.1", id="two-fors"),
        pytest.param('for="192.0.2.7', "10.0.0.1", id="quote-open"),
        pytest.param("for=192.0.2.7:80", "10.0.0.1", id="unquoted-port"),
        pytest.param('secret="a,for=1.1.1.1";for=192.0.2.7', "192.0.2.7", id="comma-in-quotes"),
        pytest.param("for = 192.0.2.7", "10.0.0.1", id="7239-4-no-space-around-equals"),
        pytest.param("nonsense", "10.0.0.1", id="nonsense"),
    ],
)
def test_forwarded_is_read_from_the_right(value: str, expected: str) -> None:
    """RFC 7239 where there is no X-Forwarded-For; whatever is malformed tells nothing."""
    assert client("10.0.0.1", ("forwarded", value)) == expected


def test_an_untrusted_peer_is_the_client() -> None:
    """Whatever it says about others."""
    fields = [("x-forwarded-for", "10.0.0.9"), ("forwarded", "for=10.0.0.9"), ("x-real-ip", "10.0.0.9")]
    assert client("192.0.2.1", *fields) == "192.0.2.1"


def test_without_trusted_proxies_nobody_is_believed() -> None:
    """The default: the peer is the client, on loopback too."""
    assert client_address("127.0.0.1", Fields.of(("x-forwarded-for", "192.0.2.7")), ()) == "127.0.0.1"


def test_several_lines_are_one_list() -> None:
    """A proxy may append a line of its own (RFC 9110 §5.3)."""
    assert client("10.0.0.1", ("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.7")) == "192.0.2.7"


def test_x_forwarded_for_goes_before_forwarded() -> None:
    """Where both are there, the one that nearly every proxy writes is read."""
    assert client("10.0.0.1", ("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "192.0.2.7")) == "192.0.2.7"


@pytest.mark.parametrize("name", ["x_forwarded_for", "x-forwarded_for", "x_forwarded-for"])
def test_names_with_underscores_are_never_believed(name: str) -> None:
    """A proxy that replaces X-Forwarded-For lets X_Forwarded_For through."""
    assert client("10.0.0.1", (name, "192.0.2.7")) == "10.0.0.1"


@pytest.mark.parametrize(
    ("peer", "expected"),
    [("::ffff:10.0.0.1", "192.0.2.7"), ("2001:db8:ffff::1", "192.0.2.7"), ("::ffff:192.0.2.1", "192.0.2.1")],
)
def test_a_peer_is_known_in_any_clothes(peer: str, expected: str) -> None:
    """A dual-stack listener sees IPv4 proxies as IPv6."""
    assert xff("192.0.2.7", peer=peer) == expected


def test_a_unix_socket_peer_is_a_local_proxy() -> None:
    """Whoever may open the socket tells the address; without one there is none but the socket."""
    assert xff("192.0.2.7", peer="unix") == "192.0.2.7"
    assert client("unix") == "unix"


def test_ten_thousand_hops_are_cut() -> None:
    """However long the list, a bounded part of it is looked at."""
    assert xff("192.0.2.7, " + "10.0.0.2, " * 10_000) == "10.0.0.2"


@given(st.binary(), st.binary())
def test_no_bytes_whatever_are_an_error(value: bytes, forwarded: bytes) -> None:
    """Any fields give an address."""
    told = [("x-forwarded-for", value), ("forwarded", forwarded)]
    assert ip_address(client_address("10.0.0.1", Fields.of(*told[:1]), TRUSTED))
    assert ip_address(client_address("10.0.0.1", Fields.of(*told[1:]), TRUSTED))


@given(st.lists(st.ip_addresses(), max_size=5), st.ip_addresses())
def test_what_a_client_writes_never_matters(forged: list[object], real: object) -> None:
    """Behind a proxy that appends the true address, no forged list before it changes who the client is."""
    honest = xff(str(real))
    if not is_trusted(str(real), TRUSTED):
        assert xff(", ".join([*map(str, forged), str(real)])) == honest


@pytest.mark.parametrize(
    "name",
    [
        "x-forwarded-for",
        "X-Forwarded-Proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x_forwarded_for",
        "X-Forwarded_Host",
        "forwarded",
        "x-real-ip",
        "X_Real-IP",
    ],
)
def test_what_tells_of_hops_is_dropped_however_spelled(name: str) -> None:
    """Only what the sidecar says anew goes upstream."""
    fields = Fields(((b"host", b"a"), (name.encode(), b"forged")))
    assert believable(RequestHead(method="GET", target=b"/", fields=fields)) == Fields.of(("host", "a"))


def told(peer: str, *fields: tuple[str, str]) -> dict[bytes, bytes]:
    """What the upstream is told of a request from ``peer``."""
    request = RequestHead(
        method="GET", target=b"/", fields=Fields.of(*fields), authority=b"shop.example", scheme="http"
    )
    return dict(forwarding_fields(request, peer, TRUSTED))


FORGED = [
    ("x-forwarded-for", "1.1.1.1"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-prefix", "/evil"),
    ("x-real-ip", "1.1.1.1"),
]


def test_a_clients_own_claims_are_not_passed_on() -> None:
    """From an untrusted peer the upstream is told what the sidecar saw."""
    assert told("192.0.2.1", *FORGED) == {
        b"x-forwarded-for": b"192.0.2.1",
        b"x-real-ip": b"192.0.2.1",
        b"x-forwarded-proto": b"http",
        b"x-forwarded-host": b"shop.example",
    }


def test_a_trusted_proxys_claims_are_passed_on() -> None:
    """The chain that is vouched for, from the client on; what the client wrote before it is left out."""
    fields = [("x-forwarded-for", "1.1.1.1, 192.0.2.7, 10.0.0.2"), *FORGED[1:4], ("x-real-ip", "1.1.1.1")]
    assert told("10.0.0.1", *fields) == {
        b"x-forwarded-for": b"192.0.2.7, 10.0.0.2, 10.0.0.1",
        b"x-real-ip": b"192.0.2.7",
        b"x-forwarded-proto": b"https",
        b"x-forwarded-host": b"evil.example",
        b"x-forwarded-prefix": b"/evil",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-proto", "https, "),
        ("x-forwarded-host", "a b"),
        ("x-forwarded-host", "a/b"),
        ("x-forwarded-host", "user@a"),
        ("x-forwarded-prefix", "evil"),
    ],
)
def test_nonsense_from_a_trusted_proxy_is_not_passed_on(name: str, value: str) -> None:
    """What is no scheme, host or path is replaced by what the sidecar saw."""
    assert told("10.0.0.1", (name, value)) == told("10.0.0.1")


def test_the_last_of_several_schemes_is_the_trusted_one() -> None:
    """Each proxy appends; what is before may be the client's."""
    assert told("10.0.0.1", ("x-forwarded-proto", "https, http"))[b"x-forwarded-proto"] == b"http"


def test_a_unix_peer_adds_no_address() -> None:
    """A socket is no hop that an upstream could know."""
    assert told("unix", ("x-forwarded-for", "192.0.2.7"))[b"x-forwarded-for"] == b"192.0.2.7"
    assert b"x-forwarded-for" not in told("unix")


@pytest.mark.parametrize(
    ("method", "name", "kept"),
    [
        pytest.param("GET", "x-original-url", False, id="another-path"),
        pytest.param("POST", "X_Rewrite_Url", False, id="another-path-underscore"),
        pytest.param("GET", "x-host", False, id="another-host"),
        pytest.param("GET", "proxy", False, id="CVE-2016-5385-httpoxy"),
        pytest.param("GET", "x-http-method-override", False, id="CPDoS-HMO"),
        pytest.param("POST", "x-http-method-override", False, id="past-a-guarded-method"),
        pytest.param("POST", "transfer_encoding", False, id="framing-with-underscore"),
        pytest.param("POST", "content-length", True, id="framing"),
        pytest.param("GET", "x-nominated", False, id="9110-7.6.1-nominated-by-connection"),
        pytest.param("GET", "cookie", True, id="9110-7.6.1-not-nominable"),
    ],
)
def test_what_would_mislead_the_origin_is_not_believed(method: str, name: str, kept: bool) -> None:
    """Fields that make an origin answer for another request than the one in the key do not reach it."""
    fields = Fields.of((name, "1"), ("connection", "x-nominated, cookie"))
    believed = believable(RequestHead(method=method, target=b"/", fields=fields))
    assert kept == (name.lower().encode() in believed)


def test_long_names_and_hops_are_not_remembered() -> None:
    """Whoever can send them could fill the memory with them; they are judged as short ones are."""
    memos = forwarded._misleads, forwarded._address
    for memo in memos:
        memo.cache_clear()
    name, hop = b"x-forwarded-" + b"x" * LONG_BYTES, "f" * 1000
    told = Fields.of(("x-script-name", "/"), (name, ""), ("accept", "*/*"))
    assert believable(RequestHead("GET", b"/", told)) == told.without({name, b"x-script-name"})
    assert client_address("10.0.0.1", Fields.of(("x-forwarded-for", hop)), TRUSTED) == "10.0.0.1"
    assert forwarded._misleads.cache_info().currsize == 0
    assert forwarded._address.cache_info().currsize <= 1  # the peer
