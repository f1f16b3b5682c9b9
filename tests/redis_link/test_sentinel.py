"""Real sentinels: the master is found, and followed to where it goes."""

import asyncio
from pathlib import Path

import pytest

from cacheproxy.errors import StateError
from cacheproxy.redis_link.connect import Tuning


@pytest.fixture
def sentinels(valkeys, tmp_path: Path):
    """A master, its replica, and three sentinels that watch them; ``(master, replica, url)``."""
    master = valkeys()
    replica = valkeys("--replicaof", "127.0.0.1", str(master.port))
    watchers = []
    for n in range(3):
        config = tmp_path / f"sentinel{n}.conf"
        config.write_text(
            f"sentinel monitor main 127.0.0.1 {master.port} 2\n"
            "sentinel down-after-milliseconds main 300\n"
            "sentinel failover-timeout main 2000\n"
        )
        watchers.append(valkeys(str(config), "--sentinel"))
    hosts = ",".join(f"127.0.0.1:{each.port}" for each in watchers)
    return master, replica, f"redis+sentinel://{hosts}/main/0"


async def test_a_failover_is_followed(sentinels, connected) -> None:
    """The master dies: each call is answered or told at once, and once there is a new master it is used by itself."""
    master, replica, url = sentinels
    link = connected(url, Tuning(limit_s=0.2)).cache
    await link.ping(5.0)
    assert await link.call("SET", "k", "v") == b"OK"
    await _until_watched(replica, url, connected)
    with master.client() as client:
        client.execute_command("WAIT", 1, 1000)
    master.kill()
    slowest_s, served = 0.0, None
    loop = asyncio.get_running_loop()
    while served != b"v":
        started = loop.time()
        try:
            served = await link.call("GET", "k")
        except StateError:
            await asyncio.sleep(0.01)
        slowest_s = max(slowest_s, loop.time() - started)
    assert slowest_s < 1.0
    assert await link.call("SET", "k", "w") == b"OK"
    with replica.client() as client:
        assert client.get("k") == b"w"


async def test_sentinels_that_know_no_such_master_are_told(sentinels, connected) -> None:
    """A wrong name for the master: StateError, not a long search."""
    _, _, url = sentinels
    link = connected(url.replace("/main/", "/nobody/"), Tuning(limit_s=0.5)).cache
    with pytest.raises(StateError):
        await link.ping(5.0)


async def test_no_sentinel_at_all_is_told(connected) -> None:
    """Nobody at any address: StateError, and the breaker is open."""
    link = connected("redis+sentinel://127.0.0.1:1,127.0.0.1:2/main/0", Tuning(limit_s=0.5)).cache
    with pytest.raises(StateError):
        await link.ping(5.0)
    assert not link.up


async def _until_watched(replica, url: str, connected) -> None:
    """Wait until every sentinel knows the replica and the other two: without them there is no failover."""
    for host in url.partition("//")[2].partition("/")[0].split(","):
        sentinel = connected(f"redis://{host}", Tuning(limit_s=2)).cache
        while True:
            known = await sentinel.call("SENTINEL", "MASTER", "main")
            if int(known[b"num-slaves"]) == 1 and int(known[b"num-other-sentinels"]) == 2:
                break
            await asyncio.sleep(0.05)
    with replica.client() as client:
        while client.info("replication")["master_link_status"] != "up":  # noqa: ASYNC110 - the event is in other processes
            await asyncio.sleep(0.05)
