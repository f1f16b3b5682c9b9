"""What fills ask with."""

from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.fill_fields import fill_fields_of
from cacheproxy.policy.load import load_policy
from cacheproxy.redis_link.contract import Budget
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead

POLICY = """
version: 1
upstream: {url: "http://127.0.0.1:8000"}
routes:
  - {name: plain, match: "GET /plain", cache: {ttl: 60s}}
  - {name: themed, match: "GET /themed", cache: {ttl: 60s, key: "themed:{cookie.theme}"}}
"""
ASKED = Fields.of(("host", "a"), ("cookie", "theme=dark; who=ann"), ("if-none-match", '"1"'))


def exchange_on(route: int, fields: Fields, identity_names: frozenset[bytes] = frozenset()) -> Exchange:
    """A request with ``fields`` on one of the routes of a policy that was just read."""
    policy, _ = load_policy(POLICY, "test", {})
    request = RequestHead(method="GET", target=b"/", fields=fields)
    return Exchange(
        request=request, body=None, on_interim=None, request_id="", started=0.0, now=0.0, budget=Budget(0.0),
        policy=policy, route=policy.routes[route], identity_names=identity_names,
    )  # fmt: skip


def asked(exchange: Exchange) -> Fields:
    """What goes into a fetch for ``exchange``."""
    rules = exchange.route.cache
    assert rules is not None
    return fill_fields_of(exchange, rules, exchange.request).unconditional


def test_the_same_fields_are_read_once_for_each_route() -> None:
    """What says who asks hangs on the key of the route; what was made of it before is the same object."""
    plain, themed = exchange_on(0, ASKED), exchange_on(1, ASKED)
    assert asked(plain).pairs == ((b"host", b"a"),)
    assert asked(themed).pairs == ((b"host", b"a"), (b"cookie", b"theme=dark"))
    assert asked(plain) is asked(plain)
    assert asked(themed) is asked(themed)


def test_a_policy_that_was_read_anew_is_another() -> None:
    """After a reload nothing is asked by the routes of before."""
    assert asked(exchange_on(0, ASKED)) is not asked(exchange_on(0, ASKED))


def test_what_is_one_requests_own_is_not_remembered() -> None:
    """Fields with an identity in them are put together each time, and long ones would fill the memory."""
    named = exchange_on(0, ASKED, frozenset({b"x-user-id"}))
    long = exchange_on(0, ASKED.plus((b"x", b"y" * 5000)))
    assert asked(named) is not asked(named)
    assert asked(long) is not asked(long)
