"""Which request fields nothing reads."""

import pytest

from cacheproxy.policy.load import load_policy
from cacheproxy.policy.unread import CONTENT_LENGTH, carried_fields, unread_fields

PLAIN = """
version: 1
routes:
  - {name: r, match: "GET /r/{id}", cache: {ttl: 9s, key: "r:{id}"}}
"""
SESSION = PLAIN + "session: {cookie: sid, identity: {X-User-Id: user_id}}\n"
IGNORED = SESSION.replace("cache:", "session: ignore, cache:")


def unread(text: str, *vary: bytes) -> frozenset[bytes]:
    """What its first route leaves unread."""
    policy, _ = load_policy(text, "test.yaml", {"LANGUAGE": "accept-language"})
    return unread_fields(policy, policy.routes[0], vary)


def test_what_describes_a_client_is_unread() -> None:
    """Nothing hangs on it, unless somebody says so."""
    assert {b"user-agent", b"accept", b"referer", b"x-request-id", b"x-forwarded-for", b"cookie"} <= unread(PLAIN)


@pytest.mark.parametrize(
    "name",
    [b"host", b"authorization", b"cache-control", b"range", b"if-none-match", b"accept-encoding", b"origin",
     b"connection", b"x-forwarded-host", b"x-forwarded-proto", b"forwarded", b"x-user-id", b"x-unknown"],
)  # fmt: skip
def test_what_is_not_known_to_be_safe_counts(name: bytes) -> None:
    """What HTTP, this proxy or nobody gives a meaning to is in every comparison."""
    assert name not in unread(PLAIN)


def test_what_vary_names_counts() -> None:
    """The stored response says that it was chosen by it."""
    assert b"user-agent" not in unread(PLAIN, b"user-agent")


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        (b"accept-language", PLAIN.replace("r:{id}", "r:{id}:{header.Accept-Language}")),
        (b"accept-language", PLAIN.replace("r:{id}", "r:{id}:{header.${LANGUAGE}}")),
        (b"user-agent", PLAIN.replace("ttl: 9s,", "ttl: 9s, bypass: {header: User-Agent},")),
        (b"referer", PLAIN + "limits: {few: {rate: 1/s, by: [header.referer]}}\n"),
        (b"x-real-ip", PLAIN + "tenant: {from: 'header:X-Real-IP'}\n"),
        (b"x-forwarded-for", PLAIN + "limits: {few: {rate: 1/s, by: [client_ip]}}\n"),
        (b"user-agent", PLAIN.replace("ttl: 9s,", "ttl: 9s, lookup_when: {not: {header.User-Agent: '*bot*'}},")),
        (b"cookie", PLAIN.replace("ttl: 9s,", "ttl: 9s, store_when: {cookie.beta: absent},")),
        (b"cookie", PLAIN.replace("r:{id}", "r:{id}:{cookie.theme}")),
        (b"cookie", PLAIN.replace("ttl: 9s,", "ttl: 9s, bypass: {cookie: preview},")),
        (b"cookie", SESSION),
        (b"cookie", IGNORED.replace("r:{id}", "r:{id}:{cookie.theme}")),
    ],
)
def test_what_the_policy_mentions_counts(name: bytes, policy: str) -> None:
    """Wherever it is mentioned, and whoever it comes from."""
    assert name not in unread(policy)


@pytest.mark.parametrize(
    ("text", "vary"),
    [
        (PLAIN.replace("r:{id}", "r:{id}:{header.X-Real-IP}"), b"accept"),
        (PLAIN.replace("r:{id}", "r:{id}:{header.X-Forwarded-For}"), b"accept"),
        (PLAIN, b"x-real-ip"),
        (PLAIN, b"x-forwarded-for"),
    ],
)
def test_the_fields_that_tell_addresses_count_together(text: str, vary: bytes) -> None:
    """Of X-Forwarded-For, as a proxy sends it, we make the X-Real-IP that a key reads."""
    assert unread(text, vary).isdisjoint({b"x-forwarded-for", b"x-real-ip"})


def test_an_address_counts_where_a_limit_counts_by_it_unsaid() -> None:
    """Clients behind one proxy each have their own limit, also where the file leaves it at that."""
    limited = PLAIN + "limits: {few: {rate: 1/s}}\n"
    policy, _ = load_policy(limited.replace("{name: r,", "{name: r, limits: [few],"), "test.yaml", {})
    assert policy.routes[0].limits
    assert unread_fields(policy, policy.routes[0], ()).isdisjoint({b"x-forwarded-for", b"x-real-ip"})


def test_cookies_are_unread_where_the_session_is_ignored() -> None:
    """A session elsewhere does not matter to a route that ignores it."""
    assert b"cookie" in unread(IGNORED)


def carried(text: str) -> frozenset[bytes]:
    """What merely goes on under its first route."""
    policy, _ = load_policy(text, "test.yaml", {})
    return carried_fields(policy, policy.routes[0])


def test_what_is_unread_merely_goes_on() -> None:
    """And with it the length of a body."""
    assert unread(PLAIN) == carried(PLAIN) - {CONTENT_LENGTH}


def test_addresses_merely_go_on_together_or_not_at_all() -> None:
    """What the origin is told in one field it is told in the other, too."""
    addresses = {b"x-forwarded-for", b"x-real-ip"}
    mentioning = PLAIN.replace("ttl: 9s,", "ttl: 9s, store_when: {header.X-Real-IP: absent},")
    assert [addresses, set()] == [addresses & carried(text) for text in (PLAIN, mentioning)]


def test_the_length_of_a_body_is_read_where_a_rule_does() -> None:
    """Elsewhere requests with bodies of any length go the same way."""
    mentioning = PLAIN.replace("ttl: 9s,", "ttl: 9s, store_when: {header.Content-Length: absent},")
    assert [True, False] == [CONTENT_LENGTH in carried(text) for text in (PLAIN, mentioning)]
