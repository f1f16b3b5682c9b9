"""Readers and writers of the chaos tests. They ask one replica each, and note what it said and when."""

import asyncio
import contextlib
import json
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import redis.asyncio
from redis.exceptions import RedisError

from cacheproxy.client import Publisher

from .chaos_history import Answer, Floor, History

PATIENCE_S = 30.0
OTHERS = 60
BROKEN = (OSError, asyncio.IncompleteReadError, TimeoutError)
Head = dict[str, str]


class Place(Protocol):
    """A replica, whichever process it is now."""

    number: int
    life: int
    port: int
    admin_port: int


class Wire:
    """One connection, made anew when it has broken."""

    def __init__(self, port: Callable[[], int]) -> None:
        """Connect to the loopback ``port`` when first asked."""
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, Head, bytes]:
        """Status, fields (lower case) and body of the answer. One of ``BROKEN`` where none came."""
        if self._streams is not None and (self._streams[0].at_eof() or self._streams[0].exception()):
            self.close()  # it broke while nobody used it
        try:
            async with asyncio.timeout(PATIENCE_S):
                if self._streams is None:
                    self._streams = await asyncio.open_connection("127.0.0.1", self._port())
                return await self._exchange(*self._streams, method, path, body)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    @staticmethod
    async def _exchange(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, path: str, body: bytes
    ) -> tuple[int, Head, bytes]:
        framing = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if method != "GET" else ""
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n".encode() + body)
        line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        if fields.get("transfer-encoding") == "chunked":
            return int(line.split(" ")[1]), fields, await _chunks(reader)
        return int(line.split(" ")[1]), fields, await reader.readexactly(int(fields.get("content-length", "0")))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return body


@dataclass(slots=True, kw_only=True)
class Load:
    """What is done to the replicas, and the history of it."""

    places: list[Place]
    origin_port: int
    redis_url: str
    paths: list[str]
    plain_events: bool = False
    """Whether events are plain messages, which only those hear who listen."""
    readers: int = 5
    """On each replica."""
    writers: int = 1
    """The same."""
    purgers: int = 4
    """The same. Where a replica does not answer they wait, so there are several."""
    history: History = field(default_factory=History)
    written: list[Floor] = field(default_factory=list)
    """What is purged without anybody having waited for it."""
    purged: int = 0
    over: bool = False
    _chance: random.Random = field(default_factory=lambda: random.Random(7))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load while the block runs."""
        jobs = [self._read(place) for place in self.places for _ in range(self.readers)]
        jobs += [self._write(place) for place in self.places for _ in range(self.writers)]
        jobs += [self._purge(place) for place in self.places for _ in range(self.purgers)] + [self._publish()]
        async with asyncio.TaskGroup() as tasks:
            jobs += [self._send_others(place, tasks) for place in self.places]
            for job in jobs:
                tasks.create_task(job)
            try:
                yield
            finally:
                self.over = True

    async def ask(self, wire: Wire, place: Place, method: str, path: str) -> Answer:
        """Ask ``place`` and note its answer."""
        life, began_at = place.life, time.monotonic()
        status, fields, body, error = 0, Head(), b"", ""
        try:
            status, fields, body = await wire.ask(method, path, b"{}" if method != "GET" else b"")
        except BROKEN as broken:
            error = repr(broken)
        answer = Answer(
            replica=place.number,
            life=life,
            method=method,
            path=path,
            began_at=began_at,
            ended_at=time.monotonic(),
            status=status,
            version=int(body) if status == 200 else 0,
            cache=fields.get("x-cache", ""),
            error=error or (f"{fields} {body!r}" if status >= 500 else ""),
        )
        self.history.answers.append(answer)
        return answer

    async def _read(self, place: Place) -> None:
        wire = Wire(lambda: place.port)
        while not self.over:
            answer = await self.ask(wire, place, "GET", self._some_path())
            await asyncio.sleep(0.1 if answer.status == 0 else self._chance.uniform(0, 0.02))
        wire.close()

    async def _send_others(self, place: Place, tasks: asyncio.TaskGroup) -> None:
        """Whether or not the last one was answered, so that some ask while the replica stands still.

        Their connections are there already: what comes on them is read before anything else when it goes on.
        """
        waiting = deque(Wire(lambda: place.port) for _ in range(OTHERS))
        while not self.over:
            await asyncio.sleep(0.05)
            if waiting:
                tasks.create_task(self._ask_once(waiting, place))
        for wire in waiting:
            wire.close()

    async def _ask_once(self, waiting: deque[Wire], place: Place) -> None:
        wire = waiting.popleft()
        await self.ask(wire, place, "GET", self._some_path())
        if self.over:
            wire.close()
        waiting.append(wire)

    async def _write(self, place: Place) -> None:
        """A write through a replica holds there at once, and in time everywhere."""
        wire = Wire(lambda: place.port)
        while not self.over:
            await asyncio.sleep(self._chance.uniform(0.05, 0.25))
            path = self._some_path()
            answer = await self.ask(wire, place, "PUT", path)
            if answer.status == 200:
                floor = Floor(
                    path=path, version=answer.version, at=answer.ended_at, replica=place.number, life=answer.life
                )
                self.history.floors.append(floor)
                self.written.append(floor)
        wire.close()

    async def _purge(self, place: Place) -> None:
        """A purge with ``wait`` holds everywhere as soon as it is acknowledged."""
        origin, admin = Wire(lambda: self.origin_port), Wire(lambda: place.admin_port)
        while not self.over:
            await asyncio.sleep(self._chance.uniform(0.02, 0.1))
            with contextlib.suppress(*BROKEN):
                await self.purge(origin, admin, self._some_path(), soft=self._chance.random() < 0.5)
        origin.close()
        admin.close()

    async def purge(self, origin: Wire, admin: Wire, path: str, *, soft: bool = False) -> bool:
        """Change ``path`` and purge it everywhere; whether that was acknowledged. One of ``BROKEN``."""
        async with asyncio.timeout(PATIENCE_S / 3):
            _, _, body = await origin.ask("PUT", path)
            wish = {"tags": [_tag(path)], "mode": "soft" if soft else "hard", "wait": "5s"}
            status, _, answer = await admin.ask("POST", "/api/v1/purge", json.dumps(wish).encode())
        acknowledged = status == 200 and json.loads(answer)["silent"] == []
        if acknowledged:
            self.purged += 1
            self.history.floors.append(Floor(path=path, version=int(body), at=time.monotonic(), soft=soft))
        return acknowledged

    async def _publish(self) -> None:
        """An event holds everywhere in time, whoever hears it."""
        client = redis.asyncio.Redis.from_url(self.redis_url, socket_timeout=1, socket_connect_timeout=1)
        origin, publisher = Wire(lambda: self.origin_port), Publisher(client)
        while not self.over:
            await asyncio.sleep(self._chance.uniform(0.05, 0.25))
            path = self._some_path()
            with contextlib.suppress(*BROKEN, RedisError):
                async with asyncio.timeout(PATIENCE_S / 3):
                    _, _, body = await origin.ask("PUT", path)
                    event = {"type": "changed", "data": {"tag": _tag(path)}}
                    if self.plain_events:
                        await client.publish("cacheproxy:events", json.dumps(event))
                    else:
                        await publisher.publish(event)
                self.written.append(Floor(path=path, version=int(body), at=time.monotonic(), replica=-1))
        origin.close()
        await client.aclose()

    def _some_path(self) -> str:
        """The first ones are asked for more often."""
        return self.paths[int(len(self.paths) * self._chance.random() ** 2)]


def _tag(path: str) -> str:
    return path.removeprefix("/").replace("/", ":")
