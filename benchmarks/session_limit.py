"""What a session and a limit cost on a hit, and what a client costs that is over its limit: beside nginx' limit_req.

    python benchmarks/session_limit.py [--seconds 2] [--rounds 3]

Both servers run on one core, load and Valkey on the other. Where something else runs on the machine too, look at the
requests per second of the server's own CPU time, and at the ratios: both servers are measured in turn.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template

import redis
from load import Generator, Load, Run
from machine import LOAD_CORE, SERVER_CORE, await_answer, fetch, free_port, running
from servers import Place, Server, binary, origin, sidecar

from cacheproxy.client import SyncSessions
from cacheproxy.redis_link.embedded import start_embedded

POLICY = """
version: 1
session: {cookie: session_id, ttl: 1h, identity: {X-User-Id: user_id}}
limits:
  exact: {rate: 100000000/minute, by: [session.user_id]}
  leased: {rate: 100000000/minute, by: [session.user_id], precision: leased}
  blocked: {rate: 1/day, by: [client_ip]}
routes:
  - {name: item, match: "GET /items/{id}", session: ignore, cache: {ttl: 1h, key: "items:{id}"}}
  - name: session
    match: "GET /items/session/{id}"
    session: required
    cache: {ttl: 1h, key: "session:{id}", scope: user}
  - name: exact
    match: "GET /items/exact/{id}"
    session: required
    limits: [exact]
    cache: {ttl: 1h, key: "exact:{id}", scope: user}
  - name: leased
    match: "GET /items/leased/{id}"
    session: required
    limits: [leased]
    cache: {ttl: 1h, key: "leased:{id}", scope: user}
  - {name: blocked, match: "GET /items/blocked/{id}", limits: [blocked], cache: {ttl: 1h, key: "blocked:{id}"}}
"""
NGINX = """
worker_processes 1;
daemon off;
pid $dir/nginx.pid;
error_log stderr crit;
events { worker_connections 8192; }
http {
  access_log off;
  keepalive_requests 1000000000;
  proxy_temp_path $dir/nginx-temp;
  client_body_temp_path $dir/nginx-body;
  proxy_cache_path $dir/nginx-cache levels=1:2 keys_zone=store:64m inactive=1h max_size=512m use_temp_path=off;
  limit_req_zone $$cookie_session_id zone=plenty:16m rate=100000r/s;
  limit_req_zone $$binary_remote_addr zone=few:16m rate=1r/m;
  limit_req_status 429;
  server {
    listen 127.0.0.1:$port backlog=4096;
    proxy_cache store;
    proxy_cache_valid 200 1h;
    location / { proxy_pass http://127.0.0.1:$origin; }
    location ~ ^/items/(exact|leased)/ {
      limit_req zone=plenty burst=100000 nodelay;
      proxy_pass http://127.0.0.1:$origin;
    }
    location /items/blocked/ { limit_req zone=few; proxy_pass http://127.0.0.1:$origin; }
  }
}
"""


@dataclass(frozen=True, slots=True)
class Row:
    """What is asked for, and the least that the sidecar should answer a second on a core of its own."""

    says: str
    target: str
    least: int
    status: int = 200


ROWS = (
    Row("hit, nothing asked", "/items/1", 0),
    Row("hit, session by heart", "/items/session/1", 0),
    Row("hit, session, one exact limit in Redis", "/items/exact/1", 18_000),
    Row("hit, session, one limit in batches", "/items/leased/1", 45_000),
    Row("client over its limit", "/items/blocked/1", 50_000, status=429),
)


def main() -> int:
    """Measure, and print. 0, or 1 where something is not installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    if not binary("nginx") or not binary("wrk"):
        print("this needs nginx and wrk; on Debian: apt install nginx-light wrk", file=sys.stderr)
        return 1
    os.sched_setaffinity(0, {LOAD_CORE})
    with ExitStack() as stack:
        generator, servers, session_id = _start(stack)
        print(f"{'':42}{'sidecar/s':>11}{'per CPU s':>11}{'aim':>8}{'nginx/s':>11}{'per CPU s':>11}{'ratio':>8}")
        for row in ROWS:
            if arguments.only in row.target:
                print(_line(row, *_measured(row, generator, servers, session_id, arguments)))
    return 0


def _start(stack: ExitStack) -> tuple[Generator, list[Server], str]:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    directory.chmod(0o755)  # nginx reads and writes there as another user
    place = Place(directory=directory, origin=free_port())
    (directory / "policy.yaml").write_text(POLICY, "utf-8")
    made = stack.enter_context(origin(place))
    valkey = start_embedded()
    stack.callback(valkey.close)
    with redis.Redis.from_url(valkey.url) as store:
        session_id = SyncSessions(store).create({"user_id": "7"})
    ours = stack.enter_context(sidecar(place, redis=valkey.url, policy=directory / "policy.yaml"))
    return Generator(made), [ours, stack.enter_context(_nginx(place))], session_id


@contextmanager
def _nginx(place: Place) -> Iterator[Server]:
    port, file = free_port(), place.directory / "limit_req.conf"
    file.write_text(Template(NGINX).substitute(dir=place.directory, port=port, origin=place.origin), "utf-8")
    log = place.directory / "limit_req.log"
    with running([binary("nginx"), "-p", str(place.directory), "-c", str(file)], SERVER_CORE, log) as process:
        await_answer(process, port, "/items/1", log)
        yield Server("nginx", port, process)


def _measured(
    row: Row, generator: Generator, servers: list[Server], session_id: str, arguments: argparse.Namespace
) -> list[list[Run]]:
    cookie = f"Cookie:_ga=GA1.1.1; theme=dark; session_id={session_id}"
    runs: list[list[Run]] = [[] for _ in servers]
    for _ in range(arguments.rounds):
        for server, made in zip(servers, runs, strict=True):
            for _ in range(3):  # the first may fill, the second be learnt from
                answer = fetch(server.port, row.target, cookie.replace(":", ": ", 1) + "\r\n")
            status = int(answer.split(b" ", 2)[1])
            assert status == row.status, f"{server.name} answers {status} to {row.target}"
            load = Load(target=row.target, fields=(cookie,))
            made.append(generator.run(server, load, arguments.seconds))
    return runs


def _line(row: Row, ours: list[Run], theirs: list[Run]) -> str:
    def median(runs: list[Run], figure: str) -> float:
        return statistics.median(getattr(run, figure) for run in runs)

    per_cpu = [1e6 / median(runs, "cpu_ms") for runs in (ours, theirs)]
    ratio = per_cpu[0] / per_cpu[1]
    aim = f"{row.least:,}" if row.least else ""
    return (
        f"{row.says:42}{median(ours, 'rate'):>11,.0f}{per_cpu[0]:>11,.0f}{aim:>8}"
        f"{median(theirs, 'rate'):>11,.0f}{per_cpu[1]:>11,.0f}{ratio:>8.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
