"""The demo's processes: started on a leash, watched while they run, ended in order."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

READY_S = 20.0
GRACE_S = 10.0
POLL_S = 0.05


class DemoError(Exception):
    """The demo cannot go on, for the reason given."""


@asynccontextmanager
async def running(name: str, module: list[str], environment: Mapping[str, str], log: Path) -> AsyncIterator[None]:
    """``python -m MODULE...`` as a process that ends with this context, or with us if we are killed.

    If it ends before, what is done in the context is cancelled and DemoError comes out (in an ExceptionGroup).
    """
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cacheproxy.demo.leash", str(GRACE_S), sys.executable, "-m", *module),
            stdin=asyncio.subprocess.PIPE,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C is for us alone: we end the others in order
        )
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(_watch(process, name, log))
        try:
            yield
        finally:
            watch.cancel()
            await _end(process)


async def _watch(process: asyncio.subprocess.Process, name: str, log: Path) -> None:
    status = await process.wait()
    raise DemoError(f"the {name} ended with status {status}:\n{_last_lines(log)}")


def _last_lines(log: Path) -> str:
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-20:])


async def _end(process: asyncio.subprocess.Process) -> None:
    """Let go of the leash, which ends the process within ``GRACE_S``."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), GRACE_S + 2)
    except TimeoutError:
        process.kill()
        await process.wait()


async def answers(url: str) -> None:
    """Wait until ``url`` answers 200. DemoError after ``READY_S``."""
    try:
        async with asyncio.timeout(READY_S), httpx.AsyncClient(trust_env=False) as client:
            while not await _answers_now(client, url):  # noqa: ASYNC110 - another process gives us no event
                await asyncio.sleep(POLL_S)
    except TimeoutError as error:
        raise DemoError(f"{url} did not answer within {READY_S:.0f} s") from error


async def _answers_now(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == 200
    except httpx.TransportError:
        return False
