"""Cache keys of requests whose head came before. Bounded: with too many it forgets all, and makes them anew."""

from cacheproxy.policy.identity import Identity
from cacheproxy.policy.keys import CacheKey, NoKey, Params, cache_key
from cacheproxy.policy.route import Route
from cacheproxy.semantics.fields import LONG_BYTES
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.memo import Doorkeeper

MAX_KNOWN = 1024


class KnownKeys:
    """What ``cache_key`` says, remembered for requests without session and tenant: for them it hangs on the head.

    A head that came before is the same object (``server.adapter``).
    """

    def __init__(self, prefix: str) -> None:
        """All keys begin with ``prefix``."""
        self._prefix = prefix
        self._door = Doorkeeper()
        self._known: dict[int, tuple[RequestHead, Route, str, CacheKey | NoKey]] = {}

    def of(self, route: Route, request: RequestHead, params: Params, identity: Identity) -> CacheKey | NoKey:
        """The key of ``request`` under ``route``, which found ``params`` in it, or why it must bypass the cache."""
        if identity.session_id is not None or identity.session or identity.tenant is not None:
            return cache_key(route, request, params, identity, prefix=self._prefix)
        known = self._known.get(id(request))
        if known is not None and known[0] is request and known[1] is route and known[2] == identity.client_ip:
            return known[3]
        key = cache_key(route, request, params, identity, prefix=self._prefix)
        if not self._door.came((request.target, id(request.fields))) or _is_long(request):
            return key
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[id(request)] = (request, route, identity.client_ip, key)
        return key


def _is_long(request: RequestHead) -> bool:
    """Whether it is too long to be kept. One that was let go of leaves its id to the next, which then seems known."""
    return len(request.target) > LONG_BYTES or request.fields.is_long
