"""What fills ask with: made once for all the targets that a client asks for in the same words. Pure."""

from dataclasses import dataclass

from cacheproxy.engine.anonymity import anonymous, personal_fields
from cacheproxy.engine.exchange import Exchange
from cacheproxy.policy.route import Route
from cacheproxy.semantics.conditional import fill_fields
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.rules import CacheRules

MAX_KNOWN = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FillFields:
    """The fields of a request, as a fill on its behalf needs them."""

    personal: frozenset[bytes]
    """Those that say who asks: kept from the origin as long as the answer may be for many."""
    anonymous: Fields
    """All but those."""
    unconditional: Fields
    """Of these all that goes into a fetch: the client's own conditions are evaluated against what comes."""


def fill_fields_of(exchange: Exchange, rules: CacheRules, request: RequestHead) -> FillFields:
    """How a fill for ``exchange`` asks for ``request``. Fields that came before are the same object."""
    fields, route = request.fields, exchange.route
    place = (id(fields), id(route))
    known = _known.get(place)
    if known is not None and known[0] is fields and known[1] is route:
        return known[2]
    made = _made(exchange, rules, request)
    if not (exchange.identity_names or fields.is_long):  # with a name, they are this request's own
        if len(_known) >= MAX_KNOWN:
            _known.clear()
        _known[place] = (fields, route, made)
    return made


def _made(exchange: Exchange, rules: CacheRules, request: RequestHead) -> FillFields:
    personal = personal_fields(exchange, rules)
    asked = anonymous(request, personal, exchange.route.key_names).fields if personal else request.fields
    return FillFields(personal=personal, anonymous=asked, unconditional=fill_fields(asked, keep_range=True))


_known: dict[tuple[int, int], tuple[Fields, Route, FillFields]] = {}
