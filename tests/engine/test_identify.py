"""Who is asking, and what nobody can claim to be."""

import pytest

from cacheproxy.client.seal import SEAL_FIELD, seal
from cacheproxy.semantics.fields import Fields
from cacheproxy.sessions.contract import Session
from cacheproxy.upstream.fake import Answer, Received

ANN, BOB, NOBODY, STRANGER = (("cookie", f"sid={name}") for name in ("s-ann", "s-bob", "s-none", "s-stranger"))
TENANTS = """
version: 1
trusted_proxies: [10.0.0.0/8]
session: {cookie: sid, identity: {X-User-Id: user_id}}
tenant: {from: %s, enforce: true}
routes: [{name: ours, match: "GET /ours/{id}", cache: {ttl: 60s, key: "ours:{id}", scope: tenant}}]
"""


def whoever(received: Received) -> Answer:
    """The user that the origin was told of."""
    return Answer(body=received.head.fields.get(b"x-user-id") or b"-")


@pytest.mark.parametrize(
    ("cookie", "told"), [(ANN, b"ann"), (NOBODY, b"-"), (STRANGER, b"-")], ids=["user", "no-user", "no-session"]
)
async def test_the_origin_is_told_who_asks(house, cookie: tuple[str, str], told: bytes) -> None:
    """The session's own word, whatever the client says of itself."""
    house.origin.script("/plain/1", whoever)
    answer = await house.ask("/plain/1", cookie, ("x-user-id", "forged"), ("X_User_Id", "forged"))
    assert told == answer.body
    assert b"x_user_id" not in house.origin.received[0].head.fields


async def test_a_session_at_hand_is_not_looked_up(house) -> None:
    """The origin is told of it all the same, and of another's as soon as the same cookie stands for that."""
    house.origin.script("/plain/1", whoever)
    ann, bob = (Session("s-ann", {"user_id": user}) for user in ("ann", "bob"))
    told = []
    for session in (ann, ann, bob):
        house.sessions.inner.at_hand["s-ann"] = session
        told.append((await house.ask("/plain/1", ANN)).body)
    assert ([b"ann", b"ann", b"bob"], 0) == (told, house.sessions.calls["load"])


async def test_connection_cannot_drop_the_identity(house) -> None:
    """A client that nominates the field does not become nobody (RFC 9110 §7.6.1)."""
    house.origin.script("/plain/1", whoever)
    assert b"ann" == (await house.ask("/plain/1", ANN, ("connection", "x-user-id"))).body


@pytest.mark.parametrize("cookie", [("a", "b"), STRANGER], ids=["none", "unknown"])
async def test_a_required_session_is_required(house, cookie: tuple[str, str]) -> None:
    """401, and the origin hears nothing of it."""
    answer = await house.ask("/mine/1", cookie)
    assert (401, 0) == (answer.status, house.origin.count())


async def test_what_is_one_users_is_no_others(house) -> None:
    """Each user has a response of their own, and is answered from it."""
    house.origin.script("/mine/1", whoever)
    answers = [await house.ask("/mine/1", cookie) for cookie in (ANN, BOB, ANN, BOB)]
    assert [b"ann", b"bob", b"ann", b"bob"] == [answer.body for answer in answers]
    assert ["MISS", "MISS", "HIT", "HIT"] == [answer["x-cache"] for answer in answers]


async def test_a_session_without_a_user_shares_nothing(house) -> None:
    """There is no key that would be safe."""
    house.origin.script("/mine/1", whoever)
    answer = await house.ask("/mine/1", NOBODY)
    assert "cacheproxy; fwd=bypass; fwd-status=200; detail=no-user" == answer["cache-status"]


@pytest.mark.parametrize(("target", "status"), [("/mine/1", 503), ("/plain/1", 200)], ids=["required", "optional"])
async def test_a_session_that_cannot_be_looked_up(house, target: str, status: int) -> None:
    """Where it is required the door stays closed; elsewhere nobody is logged in."""
    house.origin.script(target, whoever)
    house.sessions.fails.add("load")
    answer = await house.ask(target, ANN)
    assert (status, status == 200) == (answer.status, answer.body == b"-")


async def test_a_route_may_ignore_sessions(build) -> None:
    """Then none is looked up, and the origin is told of none."""
    house = build("""
version: 1
session: {cookie: sid, identity: {X-User-Id: user_id}}
routes: [{name: open, match: "GET /open", session: ignore}]
""")
    house.origin.script("/open", whoever)
    assert (b"-", 0) == ((await house.ask("/open", ANN)).body, house.sessions.calls["load"])


async def test_what_is_one_tenants_is_no_others(build) -> None:
    """The session names the tenant; each has responses of its own, and none without is answered."""
    house = build(TENANTS % "session.org_id")
    house.origin.script("/ours/1", whoever)
    answers = [await house.ask("/ours/1", cookie) for cookie in (ANN, BOB, ANN)]
    assert ["MISS", "MISS", "HIT"] == [answer["x-cache"] for answer in answers]
    assert 400 == (await house.ask("/ours/1")).status


async def test_a_tenants_header_is_believed_from_proxies_alone(build) -> None:
    """Any client can send one."""
    house = build(TENANTS % '"header:X-Org-Id"')
    house.origin.script("/ours/1", Answer(fields=Fields(), body=b"ours"))
    assert 200 == (await house.ask("/ours/1", ("x-org-id", "red"), trusted=True)).status
    assert 400 == (await house.ask("/ours/1", ("x-org-id", "red"))).status


async def test_a_seal_covers_what_the_origin_is_told(build) -> None:
    """The service behind can tell that the identity is ours, for this request, and that nobody is nobody."""
    house = build("""
version: 1
session: {cookie: sid, identity: {X-User-Id: user_id}, seal_secret: "0123456789abcdef0123456789abcdef"}
""")
    for cookie in (ANN, STRANGER):
        await house.ask("/who", cookie, (SEAL_FIELD.decode(), "forged"))
    for received, user in zip(house.origin.received, ("ann", None), strict=True):
        told = () if user is None else ((b"x-user-id", user.encode()),)
        [value] = received.head.fields.all(SEAL_FIELD)
        expected = seal(
            "0123456789abcdef0123456789abcdef", method="GET", target=b"/who", identity=told, now=house.clock.now()
        )
        assert expected == value


LOGIN = "/login?next=%2Fpages%2F1%3Fa%3Db"


@pytest.mark.parametrize(
    ("method", "status", "location"), [("GET", 303, LOGIN), ("HEAD", 303, LOGIN), ("POST", 401, None)]
)
async def test_readers_are_shown_where_to_log_in(build, method: str, status: int, location: str | None) -> None:
    """With the way back; what is no page to read is refused."""
    house = build("""
version: 1
session: {cookie: sid}
routes:
  - {name: pages, match: "/pages/{id}", session: required, session_redirect: "/login?next={target}"}
""")
    answer = await house.ask("/pages/1?a=b", method=method)
    assert (status, location) == (answer.status, answer["location"])


async def test_a_tenant_that_only_the_session_tells_cannot_be_guessed(build) -> None:
    """Without the session's word the request would be nobody's, or everybody's."""
    house = build(TENANTS % "session.org_id")
    house.sessions.fails.add("load")
    assert 503 == (await house.ask("/ours/1", ANN)).status
