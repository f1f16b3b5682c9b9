"""Limits: where they count, and what stands in for Redis while it does not answer."""

from collections.abc import Callable
from dataclasses import dataclass

from cacheproxy.clock import Clock
from cacheproxy.limits.contract import Limiter
from cacheproxy.limits.delaying import DelayingLimiter
from cacheproxy.limits.fallback import FallbackLimiter
from cacheproxy.limits.in_flight import InFlight
from cacheproxy.limits.leased import LeasedLimiter
from cacheproxy.limits.memory import MemoryLimiter
from cacheproxy.limits.redis import RedisLimiter
from cacheproxy.limits.refusals import RefusalMemory
from cacheproxy.redis_link.cluster import ClusterLink
from cacheproxy.redis_link.connect import AnyLink


@dataclass(frozen=True, slots=True, kw_only=True)
class Limiting:
    """What limits are asked of."""

    limiter: Limiter
    in_flight: InFlight
    degraded: Callable[[], bool]
    """Whether limits are not counted for all replicas together just now."""


def limiting_alone(clock: Clock) -> Limiting:
    """Counted in this process, which is the only one."""
    return Limiting(
        limiter=DelayingLimiter(MemoryLimiter(clock), clock), in_flight=InFlight(lambda: 1), degraded=lambda: False
    )


def limiting_shared(link: AnyLink, prefix: str, clock: Clock, replicas: Callable[[], int]) -> Limiting:
    """Counted in Redis for all ``replicas``: each layer spares the next one what it can answer itself."""
    counting = RedisLimiter(link, prefix, cluster=isinstance(link, ClusterLink))
    fallback = FallbackLimiter(LeasedLimiter(RefusalMemory(counting, clock), clock), clock, replicas)
    return Limiting(
        limiter=DelayingLimiter(fallback, clock), in_flight=InFlight(replicas), degraded=lambda: fallback.degraded
    )
