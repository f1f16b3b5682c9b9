"""``cacheproxy demo``: Valkey, the sample service and the sidecar in front of it, and what to try with them."""

import asyncio
import contextlib
import shlex
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from cacheproxy.demo.children import DemoError, answers, running
from cacheproxy.demo.tour import check, show
from cacheproxy.errors import CacheproxyError
from cacheproxy.redis_link.embedded import start_embedded

HOST = "127.0.0.1"
CONFIG = Path(__file__).with_name("cacheproxy.yaml")
PORTS = {"proxy": 8080, "admin": 9090, "origin": 8000}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Places = dict[str, str]


def run(*, self_test: bool = False, config: Path = CONFIG) -> int:
    """Run the demo until a signal ends it; with ``self_test`` try its steps instead. 0, or 1 if something failed."""
    try:
        return asyncio.run(_until_stopped(check if self_test else show, config))
    except* (DemoError, CacheproxyError, OSError) as errors:
        for error in _leaves(errors):
            print(f"cacheproxy demo: {error}", file=sys.stderr)
    return 1


async def _until_stopped(use: Callable[[Places], Awaitable[int]], config: Path) -> int:
    """What ``use`` makes of the running demo; 0 where a signal ended it."""
    _cancel_on_signal()
    try:
        async with _started(config) as places:
            return await use(places)
    except asyncio.CancelledError:
        print("stopped", flush=True)
        return 0


def _cancel_on_signal() -> None:
    """Let the first signal cancel the running task. Later ones change nothing: everything is ending, in order."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def stop() -> None:
        for number in SIGNALS:
            loop.add_signal_handler(number, bool)  # does nothing
        task.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)


@asynccontextmanager
async def _started(config: Path) -> AsyncIterator[Places]:
    """Start everything from the bottom up and wait until it is ready; end it from the top down."""
    places = _places()
    with (
        tempfile.TemporaryDirectory(prefix="cacheproxy-demo-") as directory,
        closing(start_embedded()) as redis,
    ):
        logs = Path(directory)
        places |= {"redis": redis.url, "jar": str(logs / "cookies.txt")}
        async with (
            running("service", _service(places), {"REDIS_URL": redis.url}, logs / "service.log"),
            running("sidecar", _sidecar(places, config), {}, logs / "sidecar.log"),
        ):
            await answers(f"{places['origin']}/health")
            await answers(f"{places['admin']}/readyz")
            yield places


def _places() -> Places:
    at = {name: f"{HOST}:{_free_port(port)}" for name, port in PORTS.items()}
    return {name: f"http://{address}" for name, address in at.items()} | {"admin_at": at["admin"], "cli": _cli()}


def _cli() -> str:
    """How to call our own command line from where we were started."""
    program = Path(sys.executable).with_name("cacheproxy")
    if not program.exists():
        return f"{shlex.quote(sys.executable)} -m cacheproxy"
    here = Path.cwd()
    return shlex.quote(str(program.relative_to(here) if program.is_relative_to(here) else program))


def _free_port(wanted: int) -> int:
    """``wanted`` if nobody has it, else one that is free now."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            free: int = probe.getsockname()[1]
            return free
    raise DemoError("no port is free")


def _service(places: Places) -> list[str]:
    port = places["origin"].rpartition(":")[2]
    options = {"--port": port, "--log-level": "warning", "--timeout-graceful-shutdown": "3"}
    return ["uvicorn", "--factory", "cacheproxy.demo.service:create_app", *_flat(options)]


def _sidecar(places: Places, config: Path) -> list[str]:
    options = {
        "--config": str(config),
        "--listen": places["proxy"].removeprefix("http://"),
        "--admin": places["admin_at"],
        "--upstream": places["origin"],
        "--redis": places["redis"],
    }
    return ["cacheproxy", "serve", *_flat(options)]


def _flat(options: dict[str, str]) -> list[str]:
    return [part for option in options.items() for part in option]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
