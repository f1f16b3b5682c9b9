"""The guides for operators: every command is run in the state that it is about, and prints what the page shows."""

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from cacheproxy.admin.access import Access
from cacheproxy.admin.app import AdminDeps, admin_app
from cacheproxy.redis_link.errors import Lost
from cacheproxy.semantics.storing import PassReason
from cacheproxy.upstream.reasons import Reason

from .conftest import READY_S, Process, await_answer, free_port

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
SECTIONS = (
    "Connection failures",
    "Old answers",
    "Refused clients",
    "A sidecar that does not stay up",
    "Low hit rate",
    "Unexpected misses",
    "Slow cache",
)
STATES = ("running", "redis is down", "origin is down")


@dataclass(frozen=True, slots=True)
class Block:
    """Commands and what they print, in one state."""

    state: str
    number: int
    text: str

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Each command with what it prints."""
        parts = re.split(r"^\$ (.+)\n", self.text, flags=re.MULTILINE)
        return list(zip(parts[1::2], parts[2::2], strict=True))


def blocks(page: str) -> list[Block]:
    """The console blocks of a page."""
    found = re.findall(r"<!-- ([a-z ]+) -->\n```console\n(.*?)```", page, re.DOTALL)
    return [Block(state, number, text) for number, (state, text) in enumerate(found)]


BLOCKS = blocks(PAGE)
OPERATING = (ROOT / "docs" / "operating.md").read_text()


@pytest.fixture(scope="module")
def service(module_valkeys, tmp_path_factory) -> Iterator[dict[str, object]]:
    """The sample service with its Redis, and the demo's policy."""
    directory = tmp_path_factory.mktemp("troubleshooting")
    redis, port = module_valkeys(), free_port()
    uvicorn = [sys.executable, "-m", "uvicorn", "--factory", "cacheproxy.demo.service:create_app"]
    origin = Process([*uvicorn, "--port", str(port), "--log-level", "warning"], directory / "origin.log")
    origin.environment = {"REDIS_URL": redis.url}
    yield {"redis": redis, "origin": origin, "url": f"http://127.0.0.1:{port}"}
    origin.end()


@pytest.fixture
def shell(request, service, sidecars) -> Iterator[dict[str, str]]:
    """An operator's environment, with a sidecar that served something and then met ``request.param``."""
    origin, redis = service["origin"], service["redis"]
    if origin.popen is None:
        origin.start()
    await_answer(origin, service["url"] + "/health")
    with redis.client() as client:
        client.flushall()
    policy = (ROOT / "config/cacheproxy.yaml").read_text().replace("interval: 5s", "interval: 100ms")
    # a budget for a busy machine: what the page shows is that Redis is there, not how fast
    (one,) = sidecars(1, redis.url, policy=policy, upstream=service["url"], CACHEPROXY_REDIS_BUDGET="2s")
    one.await_part("origin", "up")
    for path in ("/articles", "/articles/1", "/articles/1"):
        assert httpx.get(one.url + path, trust_env=False).status_code == 200
    if request.param == "redis is down":
        redis.kill()
        one.await_part("bus", "lost")
    if request.param == "origin is down":
        origin.end()
    scripts = str(Path(sys.executable).parent)
    yield {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "CACHEPROXY_ADMIN": one.admin.removeprefix("http://"),
        "SIDECAR": one.url,
        "POLICY": one.args[one.args.index("--config") + 1],
    }
    if request.param == "redis is down":
        redis.start()


def test_the_page_has_a_section_for_each_trouble_and_shows_every_command_in_a_state():
    """A console block without its state would never be run."""
    assert re.findall(r"^## (.+)$", PAGE, re.MULTILINE) == list(SECTIONS)
    assert PAGE.count("```console") == len(BLOCKS)
    assert {block.state for block in BLOCKS} == set(STATES)
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        assert "$ " in section


def test_the_guide_to_the_admin_port_names_every_route():
    """And none that is not there."""
    deps = AdminDeps(**dict.fromkeys(AdminDeps.__dataclass_fields__))
    served = {route.path for route in admin_app(replace(deps, access=Access(loopback=True))).routes}
    table = OPERATING.partition("## The admin port")[2]
    named = set(re.findall(r"[` ](/[a-z0-9/{}]*)[^`|]*`", table))
    assert {path.replace("{key:path}", "{key}") for path in served} == named
    assert OPERATING.count("```console") == len(blocks(OPERATING))


def test_the_reasons_that_the_page_explains_exist():
    """And every reason for which Redis is done without is explained."""
    rows = re.findall(r"^\| (`[a-z]+`(?:, `[a-z]+`)*) \|", PAGE, re.MULTILINE)
    assert {reason for row in rows for reason in re.findall(r"[a-z]+", row)} == set(Lost)
    upstream = re.findall(r"`([a-z]+(?:-[a-z]+)+)`", re.search(r"502, 503 and 504 carry.*?\n\n", PAGE, re.DOTALL)[0])
    assert {"connect-refused", *upstream} - {"stale-if-error"} <= set(Reason)
    kept_out = re.findall(r"`([a-z-]+)`", re.search(r"`not_stored` counts.*?is over", PAGE, re.DOTALL)[0])
    assert set(kept_out) <= set(PassReason)


@pytest.mark.parametrize(
    ("shell", "block"),
    [
        pytest.param(block.state, block, id=f"{name}-{block.number}-{block.state}")
        for name, page in (("troubleshooting", PAGE), ("operating", OPERATING))
        for block in blocks(page)
    ],
    indirect=["shell"],
)
def test_every_command_prints_what_the_page_shows(shell, block):
    """Line by line, but for what ``...`` stands for."""
    checker = doctest.OutputChecker()
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for command, wanted in block.commands:
        ran = subprocess.run(
            command, shell=True, env=shell, capture_output=True, text=True, timeout=READY_S, check=False
        )
        printed = ran.stdout + ran.stderr
        assert checker.check_output(wanted, printed, flags), f"$ {command}\n{printed}"
