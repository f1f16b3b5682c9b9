"""Which requests clients make most often, counted so cheaply that no request notices.

Counted is by cache key, with a request that brings what is stored under it. Of the hits on the express lane, which has
no time for this, one in a hundred stands for all (``Journal.sampled``). There are at most ``2 * kept`` counters: when
they are used up the lower half is let go (lossy counting), so a crawl through a million pages pushes out what was
asked for once, and never what is asked for all the time. A sketch such as count-min would need less memory for a
million keys, but cannot name them; the order of L1 (SIEVE) knows what was asked for again, but not how often, nor by
which request.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cacheproxy.engine.exchange import Exchange, XCache
from cacheproxy.engine.reply import Reply
from cacheproxy.policy.identity import TenantSource
from cacheproxy.policy.route import Scope, SessionUse
from cacheproxy.semantics.vary import vary_names

MAX_TARGET_BYTES = 1024
_ALWAYS = (b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-prefix")
"""What is in keys, or told to the origin, of the way a request came."""
_IF_VARIED = (b"accept", b"accept-encoding", b"accept-language")
_PERSONAL = frozenset({"header", "cookie", "session", "client_ip", "tenant"})
"""What a key may be made of that a request made by ourselves does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Popular:
    """A request that may be made again in nobody's name."""

    line: str
    """As under ``warm``: ``GET api.example.com/articles?page=2``."""
    scheme: str = "http"
    fields: tuple[tuple[str, str], ...] = ()
    """What else of it the answer hangs on."""

    def text(self) -> str:
        """It as JSON, for ``of``: the same for the same request."""
        return json.dumps([self.line, self.scheme, self.fields])

    @classmethod
    def of(cls, text: str | bytes) -> "Popular":
        """The request in ``text``. ValueError where there is none."""
        match json.loads(text):
            case [str(line), ("http" | "https") as scheme, [*pairs]]:
                return cls(line=line, scheme=scheme, fields=tuple(_pairs(pairs)))
            case _:
                raise ValueError("not a request")


@dataclass(slots=True)
class _Use:
    popular: Popular
    lately: float
    """Weighed: what was long ago counts less and less."""
    untold: int
    """Since ``take``."""


class Counters:
    """Counts uses, of one process."""

    def __init__(self, kept: int = 1024) -> None:
        """Nothing yet. ``kept`` is how many are sure to be told apart."""
        self._kept = kept
        self._uses: dict[str, _Use] = {}

    def __len__(self) -> int:
        """How many are counted; none unless a policy asks for it."""
        return len(self._uses)

    def note(self, exchange: Exchange, reply: Reply) -> None:
        """Count ``exchange``, if its policy wants that, and ``reply`` is stored and for everybody."""
        if not exchange.policy.warm.most_used or exchange.key is None:
            return
        if exchange.key.text in self._uses:
            self.again(exchange.key.text, 1)
        elif _is_stored(exchange) and _is_for_all(exchange):
            self.add(exchange.key.text, lambda: _popular(exchange, reply))

    def add(self, key: str, popular: Callable[[], Popular]) -> None:
        """Count one use of ``key``, which stands for the request ``popular()``."""
        if key in self._uses:
            self.again(key, 1)
            return
        self._uses[key] = _Use(popular(), 1, 1)
        if len(self._uses) > 2 * self._kept:
            self._cull()

    def again(self, key: str, uses: int) -> None:
        """Count ``uses`` more of ``key``, if it is counted."""
        use = self._uses.get(key)
        if use is not None:
            use.lately += uses
            use.untold += uses

    def most(self, count: int) -> list[Popular]:
        """The ``count`` most used, the most used first."""
        return [use.popular for use in self._ranked()[:count]]

    def take(self, count: int) -> list[tuple[Popular, int]]:
        """The ``count`` most used with their uses since this was asked last. From now on, what was counts half."""
        taken = [(use.popular, use.untold) for use in self._ranked()[:count] if use.untold]
        for use in self._uses.values():
            use.lately, use.untold = use.lately / 2, 0
        self._uses = {key: use for key, use in self._uses.items() if use.lately >= 0.01}
        return taken

    def _ranked(self) -> list[_Use]:
        return sorted(self._uses.values(), key=lambda use: -use.lately)

    def _cull(self) -> None:
        ranked = sorted(self._uses, key=lambda key: -self._uses[key].lately)
        self._uses = {key: self._uses[key] for key in ranked[: self._kept]}


def _is_stored(exchange: Exchange) -> bool:
    return exchange.hit or exchange.stored or exchange.x_cache is XCache.REVALIDATED


def _is_for_all(exchange: Exchange) -> bool:
    """Whether anybody's request, with no more than a host and a target, would have had the same answer."""
    route, request, tenant = exchange.route, exchange.request, exchange.policy.tenant
    return (
        request.method == "GET"
        and len(request.target) <= MAX_TARGET_BYTES
        and b"authorization" not in request.fields
        and route.scope is Scope.PUBLIC
        and route.session is not SessionUse.REQUIRED
        and (tenant is None or tenant.source is TenantSource.HOST)
        and _PERSONAL.isdisjoint(name.partition(".")[0] for name in route.key_names)
    )


def _popular(exchange: Exchange, reply: Reply) -> Popular:
    request = exchange.request
    varied = vary_names(reply.fields) or ()
    names = (*_ALWAYS, *(name for name in _IF_VARIED if name in varied))
    carried = ((name, request.fields.combined(name)) for name in names)
    return Popular(
        line=f"GET {request.authority.decode('latin-1')}{request.target.decode('latin-1')}",
        scheme=request.scheme,
        fields=tuple((name.decode(), value.decode("latin-1")) for name, value in carried if value is not None),
    )


def _pairs(members: list[object]) -> Iterator[tuple[str, str]]:
    for member in members:
        match member:
            case [str(name), str(value)] if name.encode() in (*_ALWAYS, *_IF_VARIED):
                yield name, value
            case _:
                raise ValueError("not a field that is carried")
