"""The demo's steps, shown to a person or tried by ourselves."""

import asyncio
import sys

from cacheproxy.demo.steps import STEPS, Step, filled

STEP_S = 30.0
RETRY_S = 0.1
BOLD, DIM, PLAIN = ("\x1b[1m", "\x1b[2m", "\x1b[0m") if sys.stdout.isatty() else ("", "", "")


async def show(places: dict[str, str]) -> int:
    """Print where everything is and what to try, then wait until cancelled."""
    print(f"{BOLD}The sidecar is at {places['proxy']}, in front of a FastAPI service at {places['origin']}.{PLAIN}")
    print(f"{DIM}Admin: {places['admin']}   Redis: {places['redis']}{PLAIN}\n")
    print("Try these, in another terminal, in this order. Ctrl-C ends everything.\n")
    for number, step in enumerate(STEPS, 1):
        print(f"{BOLD}{number:2}. {filled(step.says, places)}{PLAIN}\n    {filled(step.command, places)}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()
    return 0


async def check(places: dict[str, str]) -> int:
    """Run every step and say of each whether it shows what it says. 1 if any does not."""
    failed = 0
    for number, step in enumerate(STEPS, 1):
        output, shortfall = await _tried(step, places)
        print(f"{'ok  ' if shortfall is None else 'FAIL'} {number:2}. {filled(step.says, places)}", flush=True)
        if shortfall is not None:
            failed += 1
            print(f"  $ {filled(step.command, places)}\n{output}\n  {shortfall}", flush=True)
    print(f"{len(STEPS) - failed} of {len(STEPS)} steps show what they say")
    return 1 if failed else 0


async def _tried(step: Step, places: dict[str, str]) -> tuple[str, str | None]:
    """The output of the first try that shows what ``step`` says, or of the last, and what was missing in it."""
    output, shortfall = "", None
    for attempt in range(step.tries):
        if attempt:
            await asyncio.sleep(RETRY_S)
        output = await _output(filled(step.command, places))
        shortfall = step.shortfall(output)
        if shortfall is None:
            break
    return output, shortfall


async def _output(command: str) -> str:
    """What a shell prints when it runs ``command``, on both of its streams; cut off after ``STEP_S``."""
    shell = await asyncio.create_subprocess_shell(
        command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        printed, _ = await asyncio.wait_for(shell.communicate(), STEP_S)
    except BaseException:
        shell.kill()
        raise
    return printed.decode("utf-8", "replace").replace("\r\n", "\n")
