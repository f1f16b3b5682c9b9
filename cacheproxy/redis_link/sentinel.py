"""Which server is the master, by redis-py's Sentinel client."""

from redis import exceptions
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from cacheproxy.errors import StateError
from cacheproxy.redis_link.endpoint import Address, Endpoint
from cacheproxy.redis_link.errors import Lost


async def master(endpoint: Endpoint, connect_s: float) -> Address:
    """The master's address, by the first of the endpoint's Sentinels that knows it. StateError where none does."""
    share_s = connect_s / len(endpoint.addresses)
    options = {
        "socket_timeout": share_s,
        "socket_connect_timeout": share_s,
        "retry": Retry(NoBackoff(), 0),
        "username": endpoint.sentinel_username,
        "password": endpoint.sentinel_password,
    }
    sentinel = Sentinel(endpoint.addresses, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
    try:
        host, port = await sentinel.discover_master(endpoint.service)
    except exceptions.RedisError as error:
        raise StateError(_reason_of(error), str(error)) from error
    finally:
        for client in sentinel.sentinels:
            await client.aclose()
    return str(host), int(port)


def _reason_of(error: exceptions.RedisError) -> Lost:
    match error:
        case exceptions.TimeoutError():
            return Lost.TIMEOUT
        case exceptions.AuthenticationError():
            return Lost.ERROR
        case exceptions.ConnectionError():
            return Lost.REFUSED
        case _:
            return Lost.ERROR
