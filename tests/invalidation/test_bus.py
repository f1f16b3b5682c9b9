"""Replicas that follow one clock over a real server."""

import json


async def test_a_purge_reaches_every_replica(valkey, replica, hard):
    """What one replica purges, another forgets."""
    one, two = replica(valkey, "one"), replica(valkey, "two")
    await one.ready()
    await two.ready()
    receipt = await one.purger.purge(hard("article:1"))
    await two.ledger.until_true(lambda: "article:1" in two.ledger.tags)
    assert two.ledger.applied[-1].at_us == receipt.at_us


async def test_a_purge_with_wait_names_who_acknowledged(valkey, replica, hard):
    """With ``wait``, all live replicas have applied the purge when it returns."""
    one, two = replica(valkey, "one"), replica(valkey, "two")
    await one.ready()
    await two.ready()
    receipt = await one.purger.purge(hard("a"), wait_s=5.0)
    assert receipt.acknowledged == ("one", "two")
    assert receipt.silent == ()
    assert "a" in two.ledger.tags


async def test_a_plain_event_purges_once_for_all(valkey, replica):
    """Every replica hears a plain message; the clock moves once for it."""
    one, two = replica(valkey, "one"), replica(valkey, "two")
    await one.ready()
    await two.ready()
    event = json.dumps({"type": "article.updated", "data": {"id": 42}})
    assert await one.roles.bus.call("PUBLISH", "cacheproxy:events", event) == 2
    for each in (one, two):
        await each.ledger.until_true(lambda each=each: "article:42" in each.ledger.tags)
    await one.purger.purge(_hard("end"))
    await two.ledger.until_true(lambda: "end" in two.ledger.tags)
    assert two.ledger.tags.count("article:42") == 1


def _hard(*tags):
    from cacheproxy.invalidation.contract import Purge

    return Purge(tags=tags)
