"""``cacheproxy serve``: run the sidecar."""

import logging
import os
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack

import structlog
import uvloop

from cacheproxy.cli.log_lines import LogLines
from cacheproxy.policy.load import load_policy
from cacheproxy.policy.route import Policy
from cacheproxy.policy.router import Router
from cacheproxy.server.listen import ListenError
from cacheproxy.settings import Settings
from cacheproxy.wiring.application import assemble
from cacheproxy.wiring.policy_file import policy_text


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. 0 once drained, 2 where an address cannot be had. PolicyError for the rest."""
    log_as_json(settings.log_level)
    text = policy_text(settings.config)
    policy, router = load_policy(text, str(settings.config), os.environ, upstream_url=settings.upstream)
    if settings.workers > 1:
        from cacheproxy.wiring.supervisor import supervise  # noqa: PLC0415 - one worker alone need not load it

        return run_to_its_end(supervise(settings, text))
    return run_to_its_end(_serve(settings, policy, router))


def run_to_its_end(serving: Coroutine[None, None, None]) -> int:
    """0 once ``serving`` has drained, 2 where an address cannot be had."""
    try:
        uvloop.run(serving)
    except ListenError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


async def _serve(settings: Settings, policy: Policy, router: Router) -> None:
    async with AsyncExitStack() as stack:
        application = await assemble(settings, policy, router, stack)
        await application.serve()


def log_as_json(level: str) -> None:
    """Write each line of the log as one JSON object."""
    lines = LogLines(sys.stdout)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
