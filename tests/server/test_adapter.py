"""From bytes to what the engine understands."""

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.errors import ClientError
from cacheproxy.policy.identity import TenantRules, TenantSource
from cacheproxy.policy.route import Policy, Route, UpstreamRules
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.server.adapter import MEMO_HEAD_BYTES, Adapter

PROXY, CLIENT = "10.0.0.1", "192.0.2.1"
BEHIND_PROXIES = Policy(
    upstream=UpstreamRules(), trusted_proxies=(ip_network("10.0.0.0/8"),), fallback=Route(name="fallback")
)
BY_HEADER = Policy(
    upstream=UpstreamRules(),
    trusted_proxies=(ip_network("10.0.0.0/8"),),
    tenant=TenantRules(source=TenantSource.HEADER, name="x-org-id"),
    fallback=Route(name="fallback"),
)


class Engine:
    """As much of an engine as an adapter asks."""

    def __init__(self, policy: Policy) -> None:
        """With ``policy`` in force."""
        self.policy = policy

    @property
    def active(self) -> "Engine":
        """What is in force."""
        return self


def adapter(policy: Policy = BEHIND_PROXIES, port: int = 8080) -> Adapter:
    """An adapter for ``policy``."""
    return Adapter(cast("Any", Engine(policy)), port)


def asked(*fields: tuple[str, str], authority: bytes = b"example.com") -> RequestHead:
    """A GET."""
    all_fields = Fields.of(("host", authority.decode()), *fields)
    return RequestHead(method="GET", target=b"/", fields=all_fields, authority=authority)


def test_a_head_is_read_and_understood() -> None:
    """The request, its framing, and who its client is."""
    raw = b"POST /x HTTP/1.1\r\nHost: example.com\r\nX-Forwarded-For: 203.0.113.9\r\nContent-Length: 3\r\n\r\n"
    arrived = adapter().read(raw, "http", PROXY)
    assert ("POST", 3) == (arrived.request.method, arrived.framing.length)
    assert ("203.0.113.9", True) == (arrived.client.address, arrived.client.trusted)


def test_what_is_malformed_is_refused_each_time() -> None:
    """The memo keeps no errors."""
    reader = adapter()
    for _ in range(2):
        with pytest.raises(ClientError):
            reader.read(b"GET / HTTP/1.1\r\n\r\n", "http", CLIENT)


def test_a_head_is_read_once_for_each_peer_and_scheme() -> None:
    """From when it comes again. The same bytes mean something else from somebody else."""
    reader, raw = adapter(), b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"
    first, again = reader.read(raw, "http", PROXY), reader.read(raw, "http", PROXY)
    assert (first, again) == (again, reader.read(raw, "http", PROXY))
    assert again is reader.read(raw, "http", PROXY)
    assert "203.0.113.9" == first.client.address
    assert CLIENT == reader.read(raw, "http", CLIENT).client.address
    assert "https" == reader.read(raw, "https", CLIENT).request.scheme


ODD = st.sampled_from(
    [b"/", b"//", b"*", b"http://b.example/", b"#", b"%", b"%zz", b"?", b"\\", b'"', b"{", b"\x7f", b"\xe9", b" "]
)
TARGETS = st.lists(ODD | st.binary(min_size=1, max_size=3), max_size=4).map(b"".join)
LINES = (
    b"Host: a.example\r\n",
    b"Host: a.example\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Host: b.example\r\n",
    b"Host: a.example\r\nConnection: upgrade, x-hop\r\nUpgrade: websocket\r\nX-Hop: 1\r\n",
    b"Host: a.example\r\nContent-Length: 3\r\nExpect: 100-continue\r\n",
    b"Host: a.example\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    b"Host: a.example\r\nX : 1\r\n",
    b"Host: a.example\r\nX-Request-ID: one-2\r\nX: 1\r\n",
    b"Host: a.example\r\nX-Request-ID: one\r\nX-REQUEST-ID:\t two,\r\n",
    b"Host: a.example\r\nX-Request-ID: one\r\nx-request-id:-\r\n",
    b"X: 1\nX-Request-ID: one\r\nHost: a.example\r\n",
    b"X: 1\r\n",
)


def _outcome(read: Callable[[], object]) -> object:
    try:
        return read()
    except ClientError as error:
        return error.status, error.reason


@settings(max_examples=500)
@given(
    st.sampled_from([b"GET", b"POST", b"OPTIONS", b"CONNECT", b"BREW", b"get"]),
    TARGETS | TARGETS.map(b"/".__add__),
    st.sampled_from([b"1.1", b"1.0", b"2.0"]),
    st.sampled_from(LINES),
    st.sampled_from([PROXY, CLIENT]),
)
def test_a_target_is_read_apart_as_it_is_in_its_head(
    method: bytes, target: bytes, version: bytes, lines: bytes, peer: str
) -> None:
    """What was remembered of other heads with the same lines changes nothing: not what is understood, nor refused."""
    reader, raw = adapter(), b"%b %b HTTP/%b\r\n%b\r\n" % (method, target, version, lines)
    for before in (b"/", b"/a?b", b"*", b"http://c.example/"):
        _outcome(lambda before=before: reader.read(raw.replace(target, before, 1), "http", peer))
    whole = _outcome(lambda: reader._read(raw, "http", peer))
    assert whole == _outcome(lambda: reader.read(raw, "http", peer))


def test_heads_that_differ_in_their_targets_share_what_else_was_read() -> None:
    """From the second on, so that what follows from their fields can be remembered by those."""
    reader, head = adapter(), b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
    _, one, other = (reader.read(head % target, "http", CLIENT).request for target in (b"/", b"/a", b"/b?c"))
    assert (b"/a", b"/b?c", True) == (one.target, other.target, one.fields is other.fields)


def test_heads_that_differ_in_their_ids_are_told_apart() -> None:
    """What else they say is read once for all of them, and they keep their order."""
    reader, head = adapter(), b"GET /%d HTTP/1.1\r\nHost: a\r\nX-Request-Id: %b\r\nConnection: close\r\n\r\n"
    heads = [head % named for named in enumerate((b"a", b"-", b"b"))]
    read = [reader.read(head, "http", CLIENT) for head in heads]
    assert read == [reader._read(head, "http", CLIENT) for head in heads]
    assert [b"a", b"-", b"b"] == [arrived.request.fields.get(b"x-request-id") for arrived in read]
    assert read[0].framing is read[2].framing


def test_a_new_policy_reads_anew() -> None:
    """Who was believed may be believed no longer."""
    engine = Engine(BEHIND_PROXIES)
    reader = Adapter(cast("Any", engine), 8080)
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"
    reader.read(raw, "http", PROXY)
    engine.policy = Policy(upstream=UpstreamRules(), trusted_proxies=(), fallback=Route(name="fallback"))
    reader.forget()
    assert PROXY == reader.read(raw, "http", PROXY).client.address


def test_a_new_policy_decides_anew_whom_to_trust() -> None:
    """On connections that are open already, too: the edge asks for each request."""
    engine = Engine(BEHIND_PROXIES)
    reader = Adapter(cast("Any", engine), 8080)
    assert reader.trusts(PROXY)
    engine.policy = Policy(upstream=UpstreamRules(), trusted_proxies=(), fallback=Route(name="fallback"))
    reader.forget()
    assert not reader.trusts(PROXY)


def test_long_heads_are_not_remembered() -> None:
    """The memo is bounded in bytes."""
    reader = adapter()
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * MEMO_HEAD_BYTES + b"\r\n\r\n"
    reader.read(raw, "http", CLIENT)
    assert reader.read(raw, "http", CLIENT) is not reader.read(raw, "http", CLIENT)


@pytest.mark.parametrize(("peer", "trusted"), [(PROXY, True), (CLIENT, False), ("", True)])
def test_who_is_trusted(peer: str, trusted: bool) -> None:
    """Proxies that the policy names, and whoever may open our unix socket."""
    assert trusted == adapter().trusts(peer)


@pytest.mark.parametrize(("peer", "believed"), [(PROXY, True), (CLIENT, False)], ids=["proxy", "client"])
def test_only_proxies_say_for_which_host_and_scheme(peer: str, believed: bool) -> None:
    """What is in the key is what the origin is told, in Host and in X-Forwarded-Host."""
    claims = (("x-forwarded-host", "real.example"), ("x-forwarded-proto", "https"))
    request, _ = adapter().understand(asked(*claims), peer)
    host = b"real.example" if believed else b"example.com"
    assert (host, "https" if believed else "http") == (request.authority, request.scheme)
    assert [host] == request.fields.all(b"host")
    assert [host] == request.fields.all(b"x-forwarded-host")


@pytest.mark.parametrize(
    ("authority", "port", "known_as"),
    [
        (b"127.0.0.1:8080", 8080, b"127.0.0.1"),
        (b"localhost:8080", 8080, b"localhost"),
        (b"[::1]:8080", 8080, b"[::1]"),
        (b"localhost:9090", 8080, b"localhost:9090"),
        (b"example.com:8080", 8080, b"example.com:8080"),
    ],
)
def test_replicas_on_loopback_share_their_keys(authority: bytes, port: int, known_as: bytes) -> None:
    """Their own ports are left out; any other host's port is the client's word, and tells responses apart."""
    assert known_as == adapter(port=port).understand(asked(authority=authority), CLIENT)[0].authority


@pytest.mark.parametrize(("peer", "kept"), [(PROXY, True), (CLIENT, False)], ids=["proxy", "client"])
def test_a_tenants_field_is_taken_from_proxies_alone(peer: str, kept: bool) -> None:
    """However a client spells it, the origin does not hear it."""
    request, _ = adapter(BY_HEADER).understand(asked(("x-org-id", "red"), ("x_org_id", "blue")), peer)
    assert ([b"red"] if kept else []) == request.fields.all(b"x-org-id")
    assert [] == request.fields.all(b"x_org_id")
