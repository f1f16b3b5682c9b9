"""Runs the public cache test suite (npm package http-cache-tests) against ``cacheproxy serve``.

Prints what does not pass, writes ``docs/conformance.md``, and exits 1 under the recorded floor. Needs Node 20 and npm.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from report import Outcome, OwnTest, Summary, page, summarise, table, under_floor

ROOT = Path(__file__).parents[2]
WORK = ROOT / ".conformance"
PACKAGE = WORK / "node_modules" / "http-cache-tests"
SUITE = "http-cache-tests@0.4.5"
FLOOR = Path(__file__).with_name("floor.json")
PAGE = ROOT / "docs" / "conformance.md"
INSTALL_LIMIT_S = 180.0
START_LIMIT_S = 20.0
RUN_LIMIT_S = 300.0

LIST_TESTS = """
import tests from './tests/index.mjs'
import surrogate from './tests/surrogate-control.mjs'
const listed = []
for (const suite of [...tests, surrogate])
  for (const test of suite.tests)
    if (test.browser_only !== true)
      listed.push({ id: test.id, name: test.name, suite: suite.id, kind: test.kind || 'required',
                    depends_on: test.depends_on || [] })
console.log(JSON.stringify(listed))
"""


RUN_OWN = """
import fetch from 'node-fetch'
import { runTests, getResults } from './client/runner.mjs'
import tests from '%s'
await runTests([{ name: 'beyond', id: 'beyond', tests }], fetch, false, process.env.npm_config_base)
const results = getResults()
console.log(JSON.stringify(tests.map(({ id, name, spec }) => ({ id, name, spec, result: results[id] }))))
"""


def main() -> int:
    """0 if the floor is held, 1 if not."""
    arguments = _arguments()
    _install()
    with ExitStack() as stack:
        base = arguments.base
        if base is None:
            origin_port, port, admin_port = _free_ports(3)
            stack.enter_context(_running("origin", _origin_command(), origin_port, _origin_environment(origin_port)))
            serve = _serve_command(port, admin_port, origin_port, arguments.redis)
            # A hundred requests at once on a busy machine: it is the rules that are judged, not Redis's speed.
            environment = {**os.environ, "CACHEPROXY_REDIS_BUDGET": "5s"}
            stack.enter_context(_running("sidecar", serve, port, environment))
            base = f"http://127.0.0.1:{port}"
        results = _run_suite(base)
        own = _run_own(base)
    summary = summarise([Outcome.of(test, results.get(str(test["id"]))) for test in _tests()], own)
    sys.stdout.write(table(summary))
    if arguments.write:
        PAGE.write_text(page(summary, SUITE), encoding="utf-8")
    return _judge(summary)


def _judge(summary: Summary) -> int:
    lost = under_floor(summary, json.loads(FLOOR.read_text(encoding="utf-8")))
    for line in lost:
        sys.stdout.write(f"under the floor: {line}\n")
    return 1 if lost else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", help="test the proxy at this URL instead of starting ours")
    parser.add_argument("--redis", default="embedded", help="as for `cacheproxy serve` (default: %(default)s)")
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave docs/conformance.md as it is")
    return parser.parse_args()


def _install() -> None:
    if PACKAGE.is_dir():
        return
    npm = _program("npm")
    WORK.mkdir(exist_ok=True)
    quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    subprocess.run([npm, "install", "--prefix", str(WORK), *quiet, SUITE], check=True, timeout=INSTALL_LIMIT_S)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is needed to run the suite (Node 20)")
    return found


def _origin_command() -> list[str]:
    return [_program("node"), "server/server.mjs"]


def _origin_environment(port: int) -> dict[str, str]:
    given = {"protocol": "http", "port": str(port), "pidfile": str(WORK / "origin.pid")}
    return {**os.environ, **{f"npm_config_{name}": value for name, value in given.items()}}


def _serve_command(port: int, admin_port: int, origin_port: int, redis: str) -> list[str]:
    options = {
        "--config": str(ROOT / "config" / "examples" / "rfc9111.yaml"),
        "--listen": f"127.0.0.1:{port}",
        "--admin": f"127.0.0.1:{admin_port}",
        "--upstream": f"http://127.0.0.1:{origin_port}",
        "--redis": redis,
    }
    return [sys.executable, "-m", "cacheproxy", "serve", *(part for option in options.items() for part in option)]


@contextmanager
def _running(name: str, command: list[str], port: int, environment: dict[str, str]) -> Iterator[None]:
    """``command`` while it listens on ``port``; its output is in ``.conformance/NAME.log``."""
    directory = PACKAGE if name == "origin" else ROOT
    with (WORK / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            _await_listening(process, name, port)
            yield
        finally:
            process.terminate()
            process.wait(timeout=START_LIMIT_S)


def _await_listening(process: "subprocess.Popen[bytes]", name: str, port: int) -> None:
    give_up_at = time.monotonic() + START_LIMIT_S
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"the {name} does not listen on port {port}; see {WORK / name}.log")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _run_suite(base: str) -> dict[str, object]:
    """What the suite's own command line prints: each test's id, with true or [kind of failure, message]."""
    environment = {**os.environ, "npm_config_base": base, "npm_package_config_id": ""}
    printed = _node(["--no-warnings", "cli.mjs"], environment)
    start = printed.find("\n{") + 1 if not printed.startswith("{") else 0
    results: dict[str, object] = json.loads(printed[start:])
    return results


def _run_own(base: str) -> list[OwnTest]:
    script = RUN_OWN % Path(__file__).with_name("beyond.mjs").as_uri()
    printed = _node(["--no-warnings", "--input-type=module", "-e", script], {**os.environ, "npm_config_base": base})
    return [OwnTest.of(test) for test in json.loads(printed)]


def _tests() -> list[dict[str, object]]:
    listed: list[dict[str, object]] = json.loads(_node(["--input-type=module", "-e", LIST_TESTS], dict(os.environ)))
    return listed


def _node(arguments: list[str], environment: dict[str, str]) -> str:
    command = [_program("node"), *arguments]
    done = subprocess.run(
        command, cwd=PACKAGE, env=environment, stdout=subprocess.PIPE, check=True, timeout=RUN_LIMIT_S, text=True
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
