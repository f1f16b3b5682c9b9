"""Tells the sidecars what has changed. Durable: what nobody hears now is read by whoever listens next.

    publisher = Publisher(Redis.from_url("redis://localhost"))
    await publisher.publish({"type": "article.updated", "data": {"id": 42}})
    await publisher.purge("article:42", "articles")

Call it after the change is committed: what a sidecar fetches from then on must be the new state.
"""

import json
from collections.abc import Mapping

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from cacheproxy.client.tags import checked
from cacheproxy.client.wire import DEFAULT_PREFIX, PUBLISH, PURGE, Layout, Recorded, publish_args, purge_args

MAX_EVENT_BYTES = 65_536
"""An event names what changed; it does not carry it. Each is kept in the stream for replicas that are away."""


class Publisher:
    """Purges and publishes through ``redis``, which stays the caller's to close. redis-py's errors pass."""

    def __init__(self, redis: AsyncRedis, prefix: str = DEFAULT_PREFIX) -> None:
        """``prefix`` is the sidecars' own."""
        self._layout = Layout(prefix)
        self._purge = redis.register_script(PURGE)
        self._publish = redis.register_script(PUBLISH)

    async def purge(self, *tags: str, soft: bool = False) -> int:
        """Purge ``tags`` everywhere; ``soft`` makes stale rather than gone. How many replicas heard it.

        ValueError where nothing is named, or something that cannot be a tag.
        """
        args = purge_args(self._layout, checked(*tags), "soft" if soft else "hard")
        return Recorded.of(await self._purge(_purge_keys(self._layout), args)).heard

    async def publish(self, event: Mapping[str, object]) -> int:
        """Publish ``event`` (``type`` and ``data``, or a CloudEvent) for the policies to map. How many heard it.

        ValueError where it is no event.
        """
        args = publish_args(self._layout, _text(event))
        return Recorded.of(await self._publish(_publish_keys(self._layout), args)).heard


class SyncPublisher:
    """``Publisher`` for services without an event loop."""

    def __init__(self, redis: Redis, prefix: str = DEFAULT_PREFIX) -> None:
        """``prefix`` is the sidecars' own."""
        self._layout = Layout(prefix)
        self._purge = redis.register_script(PURGE)
        self._publish = redis.register_script(PUBLISH)

    def purge(self, *tags: str, soft: bool = False) -> int:
        """As ``Publisher.purge``."""
        args = purge_args(self._layout, checked(*tags), "soft" if soft else "hard")
        return Recorded.of(self._purge(_purge_keys(self._layout), args)).heard

    def publish(self, event: Mapping[str, object]) -> int:
        """As ``Publisher.publish``."""
        args = publish_args(self._layout, _text(event))
        return Recorded.of(self._publish(_publish_keys(self._layout), args)).heard


def _purge_keys(layout: Layout) -> list[str]:
    return [layout.clock, layout.stream, layout.replicas]


def _publish_keys(layout: Layout) -> list[str]:
    return [layout.clock, layout.stream]


def _text(event: Mapping[str, object]) -> str:
    if not isinstance(event.get("type"), str) and "purge" not in event:
        raise ValueError("an event has a `type`, or says what to `purge`")
    text = json.dumps(event, allow_nan=False, separators=(",", ":"))
    if len(text) > MAX_EVENT_BYTES:
        raise ValueError(f"the event has {len(text)} bytes, over {MAX_EVENT_BYTES}: name what changed, do not send it")
    return text
