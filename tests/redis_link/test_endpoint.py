"""Redis URLs: read rightly, refused clearly, and never telling their password."""

import pytest

from cacheproxy.errors import PolicyError, StateError
from cacheproxy.redis_link.connect import Tuning
from cacheproxy.redis_link.endpoint import Endpoint, Kind


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost", "redis://localhost:6379/0"),
        ("redis://:hush@10.0.0.1:7000/3", "redis://10.0.0.1:7000/3"),
        ("redis://me:hush@[::1]:7000/3", "redis://[::1]:7000/3"),
        ("redis://host?db=2", "redis://host:6379/2"),
        ("rediss://host/1?ssl_cert_reqs=none", "rediss://host:6379/1"),
        ("unix:///run/redis.sock?db=4", "unix:///run/redis.sock?db=4"),
        ("unix://me:hush@/run/redis.sock", "unix:///run/redis.sock?db=0"),
        ("redis+sentinel://h1,h2:26380/main/2", "redis+sentinel://h1:26379,h2:26380/main/2"),
        ("rediss+cluster://h1:1,h2:2", "rediss+cluster://h1:1,h2:2/0"),
    ],
)
def test_a_url_says_where_and_how(url: str, shown: str) -> None:
    """Every scheme with its hosts, ports and database, and nothing secret in what is shown."""
    assert str(Endpoint.of(url)) == shown


def test_a_sentinel_url_names_the_master() -> None:
    """Hosts, service and database of a Sentinel URL, with credentials of both kinds."""
    endpoint = Endpoint.of("redis+sentinel://me:p%40ss@h1,h2/main/2?sentinel_password=s")
    assert endpoint.kind is Kind.SENTINEL
    assert endpoint.addresses == (("h1", 26379), ("h2", 26379))
    assert (endpoint.service, endpoint.db) == ("main", 2)
    assert (endpoint.credentials, endpoint.sentinel_password) == (("me", "p@ss"), "s")


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://host", "the scheme must be one of redis"),
        ("host:6379", "the scheme must be one of redis"),
        ("redis+sentinel://h1,h2", "names the master"),
        ("redis://host?no_such_option=1", "unknown option: no_such_option"),
        ("redis://host?ssl_ca_certs=/ca.pem", "unknown option: ssl_ca_certs"),
        ("rediss://host?ssl_no_such=1", "ssl_no_such"),
        ("rediss://host?ssl_ca_certs=/does/not/exist.pem", "No such file"),
        ("redis://host:port", "Port"),
    ],
)
def test_a_wrong_url_is_refused(url: str, complaint: str) -> None:
    """The operator is told what is wrong."""
    with pytest.raises(PolicyError, match=complaint):
        Endpoint.of(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:hush-hush@host:port",
        "http://me:hush-hush@host",
        "redis+sentinel://:hush-hush@host",
        "redis://host?sentinel_password=hush-hush&x=1",
        "redis://me:hush-hush@host",
        "unix://:hush-hush@/run/r.sock",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    """Neither an error nor repr nor str of an endpoint holds what is secret in the URL."""
    try:
        endpoint = Endpoint.of(url)
        shown = repr(endpoint) + str(endpoint)
    except PolicyError as error:
        shown = str(error)
    assert "hush" not in shown


async def test_the_wrong_password_is_told_without_it(fresh_valkey, connected, caplog, capsys) -> None:
    """A refused login is an error that names the server and not the password; the right one is let in."""
    with fresh_valkey.client() as outside:
        outside.config_set("requirepass", "open-sesame")
    wrong = fresh_valkey.url.replace("redis://", "redis://:hush-hush@")
    with pytest.raises(StateError) as failure:
        await connected(wrong, Tuning(limit_s=2)).cache.call("PING")
    assert failure.value.reason == "error"
    assert "hush" not in str(failure.value) + caplog.text + capsys.readouterr().out
    right = fresh_valkey.url.replace("redis://", "redis://:open-sesame@")
    assert await connected(right, Tuning(limit_s=2)).cache.call("PING") == b"PONG"


async def test_the_database_is_selected(fresh_valkey, connected) -> None:
    """``/1`` and ``/0`` are two databases."""
    one = connected(fresh_valkey.url.removesuffix("/0") + "/1", Tuning(limit_s=2)).cache
    await one.call("SET", "k", "one")
    assert await connected(fresh_valkey.url, Tuning(limit_s=2)).cache.call("GET", "k") is None
    assert await one.call("GET", "k") == b"one"
