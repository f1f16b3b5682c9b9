"""A real cluster: formed, and changed while it is in use."""

import asyncio

import redis

MODE = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no")


class Cluster:
    """Three masters, sharing all slots, and replicas as asked for."""

    def __init__(self, nodes: list) -> None:
        """``nodes`` are running servers in cluster mode."""
        self.nodes = nodes
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)

    async def form(self) -> None:
        """Share out the slots, and wait until every node agrees that all are served."""
        first, *others = self.nodes
        for at, node in enumerate(self.nodes):
            with node.client() as client:
                last = 16383 if at == len(self.nodes) - 1 else 5461 * (at + 1) - 1
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", 5461 * at, last)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
        with first.client() as client:
            for node in others:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port)
        for node in self.nodes:
            await until(node, b"cluster_state:ok", "CLUSTER", "INFO")


async def until(node, holds: bytes, *command: str) -> None:
    """Wait until ``node`` answers ``command`` with what ``holds``: nodes agree in their own time."""
    with redis.Redis(port=node.port) as client:
        while holds not in raw(client, *command):  # noqa: ASYNC110 - the event is in other processes
            await asyncio.sleep(0.02)


async def replicate(cluster: Cluster, master, replica) -> None:
    """Make ``replica`` one of ``master``, and wait until all know of it and it is up to date."""
    with replica.client() as client, redis.Redis(port=master.port) as source:
        name = raw(source, "CLUSTER", "MYID")
        client.execute_command("CLUSTER", "MEET", "127.0.0.1", cluster.nodes[0].port)
        await until(replica, name, "CLUSTER", "NODES")
        client.execute_command("CLUSTER", "REPLICATE", name)
    await until(replica, b"master_link_status:up", "INFO", "replication")
    for node in cluster.nodes:
        await until(node, b"slave " + name, "CLUSTER", "NODES")


async def migrate(cluster: Cluster, slot: int, owner, other, keys: list[bytes], *, finish: bool = True) -> None:
    """Move a slot as redis-cli does; without ``finish`` it is left on its way."""
    with redis.Redis(port=owner.port) as source, redis.Redis(port=other.port) as target:
        from_id, to_id = (raw(each, "CLUSTER", "MYID").decode() for each in (source, target))
        target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", from_id)
        source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", to_id)
        source.execute_command("MIGRATE", "127.0.0.1", other.port, "", 0, 5000, "KEYS", *keys)
        if finish:
            for each in (target, source):
                each.execute_command("CLUSTER", "SETSLOT", slot, "NODE", to_id)


def raw(client, *command) -> bytes:
    """The reply to ``command`` as it came."""
    client.response_callbacks.clear()
    return bytes(client.execute_command(*command))
