"""Evasion: no way of asking counts as somebody else, or as nobody, where a limit counts."""

import itertools
import socket

import pytest

from .wire import Wire

pytestmark = pytest.mark.e2e

POLICY = """
version: 1
trusted_proxies: [127.0.0.9/32]
limits:
  few: {rate: 3/hour, by: [client_ip]}
  few-each: {rate: 3/hour, by: [path]}
routes:
  - {name: limited, match: "GET /l/{id}", limits: [few]}
  - {name: numbered, match: "GET /n/{id:int}", limits: [few]}
  - {name: each, match: "/e/{id}", limits: [few-each]}
  - {name: hit, match: "GET /hit/{id}", limits: [few], cache: {ttl: 60s, key: "hit:{id}"}}
"""
STRANGERS = itertools.count(20)
"""Last parts of loopback addresses that no other test comes from."""


@pytest.fixture(scope="module")
def sidecar(raw_sidecars):
    """One sidecar for all of these."""
    return raw_sidecars(1, "none", policy=POLICY)[0]


def asked(sidecar, address: str, *requests: bytes, times: int = 8) -> list[int]:
    """The statuses of ``requests`` in turn, each on a connection of its own from ``address``."""
    port, statuses = int(sidecar.url.rpartition(":")[2]), []
    for raw in itertools.islice(itertools.cycle(requests), times):
        with socket.create_connection(("127.0.0.1", port), 5, (address, 0)) as sock:
            statuses.append(Wire(sock).ask(raw).status)
    return statuses


def get(path: bytes, *lines: bytes, method: bytes = b"GET") -> bytes:
    """A request."""
    fields = b"".join(line + b"\r\n" for line in lines)
    return b"%b %b HTTP/1.1\r\nHost: a.example\r\n%b\r\n" % (method, path, fields)


CLAIMS = {
    "x-forwarded-for": [b"X-Forwarded-For: 1.2.3.%d" % number for number in range(8)],
    "x-forwarded-for-ours": [b"X-Forwarded-For: 127.0.0.%d" % number for number in range(8)],
    "x_forwarded_for": [b"X_Forwarded_For: 1.2.3.%d" % number for number in range(8)],
    "forwarded": [b"Forwarded: for=1.2.3.%d" % number for number in range(8)],
    "x-real-ip": [b"X-Real-IP: 1.2.3.%d" % number for number in range(8)],
    "true-client-ip": [b"True-Client-IP: 1.2.3.%d" % number for number in range(8)],
    "cookie": [b"Cookie: a=%d" % number for number in range(8)],
    "user-agent": [b"User-Agent: a%d" % number for number in range(8)],
    "request-id": [b"X-Request-ID: a%d" % number for number in range(8)],
    "authorization": [b"Authorization: Bearer %d" % number for number in range(8)],
}


@pytest.mark.parametrize("path", [b"/l/1", b"/hit/1"])
@pytest.mark.parametrize("claims", CLAIMS)
def test_a_client_is_who_connects(sidecar, claims, path) -> None:
    """Whatever a client says of itself, its requests count together, hits on the express lane among them."""
    requests = [get(path, line) for line in CLAIMS[claims]]
    assert [200] * 3 + [429] * 5 == asked(sidecar, f"127.0.0.{next(STRANGERS)}", *requests)


THROUGH_A_PROXY = {
    "ipv6-of-one-subscriber": [b"X-Forwarded-For: 2001:db8::%x" % number for number in range(1, 9)],
    "ipv6-spelled-differently": [
        b"X-Forwarded-For: " + text for text in (b"2001:db8:1::1", b"2001:0db8:1:0::1", b"[2001:db8:1::1]:443")
    ],
    "ipv4-in-ipv6": [b"X-Forwarded-For: " + text for text in (b"7.7.7.7", b"::ffff:7.7.7.7", b"::FFFF:707:707")],
    "with-a-port": [b"X-Forwarded-For: 7.7.7.8:%d" % number for number in range(1, 9)],
    "what-the-client-put-before": [b"X-Forwarded-For: 1.1.1.%d, 8.8.8.8" % number for number in range(8)],
    "what-the-client-put-in-a-line": [b"X-Forwarded-For: 1.1.2.%d\r\nX-Forwarded-For: 8.8.8.9" % n for n in range(8)],
    "the-other-field": [b"Forwarded: for=5.5.5.%d\r\nX-Forwarded-For: 8.8.8.10" % number for number in range(8)],
    "no-address": [b"X-Forwarded-For: junk%d" % number for number in range(8)],
    "hidden": [b"Forwarded: for=_hidden%d" % number for number in range(8)],
    "white-space": [b"X-Forwarded-For: " + space + b"8.8.8.11" for space in (b"", b" ", b"\t", b" ,", b",,")],
}


@pytest.mark.parametrize("lines", THROUGH_A_PROXY)
def test_a_client_behind_a_proxy_is_one(sidecar, lines) -> None:
    """What a trusted proxy appended counts, in whatever spelling, and nothing that came to it from the client."""
    statuses = asked(sidecar, "127.0.0.9", *(get(b"/l/1", line) for line in THROUGH_A_PROXY[lines]))
    assert [429] * 5 == statuses[3:]


SPELLINGS = {
    "query": [b"/l/2?x=%d" % number for number in range(8)],
    "encoded": [b"/l/2", b"/l/%32", b"/%6c/2"],
    "slashes": [b"/l/2", b"/l/2/", b"/l//2", b"//l/2"],
    "parameters": [b"/l/2;%d" % number for number in range(8)],
    "numbers": [b"/n/7", b"/n/07", b"/n/+7", b"/n/7.0", b"/n/%37", b"/n/7/"],
    "absolute": [b"http://a.example/l/2", b"http://b.example/l/2", b"/l/2"],
    "ids": [b"/l/%d" % number for number in range(8)],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_gets_around_a_limit(sidecar, spelling) -> None:
    """What an origin might read as a limited path is counted, or refused."""
    requests = [get(path) for path in SPELLINGS[spelling]]
    statuses = asked(sidecar, f"127.0.0.{next(STRANGERS)}", *requests, times=16)
    assert 3 >= statuses.count(200)
    assert {200, 400, 429} >= set(statuses)


def test_no_method_gets_around_a_limit(sidecar) -> None:
    """A limit on every method counts them together."""
    requests = [get(b"/e/1", method=method) for method in (b"GET", b"POST", b"OPTIONS", b"PUT", b"PROPFIND", b"DELETE")]
    assert [200] * 3 + [429] * 5 == asked(sidecar, "127.0.0.1", *requests)
