"""``cacheproxy serve``: run the sidecar."""

import gc
import logging
import os
import sys
from contextlib import AsyncExitStack

import structlog
import uvloop

from cacheproxy.errors import Fault, PolicyError
from cacheproxy.policy.load import load_policy
from cacheproxy.policy.route import Policy
from cacheproxy.policy.router import Router
from cacheproxy.server.listen import ListenError
from cacheproxy.settings import Settings
from cacheproxy.wiring.application import assemble
from cacheproxy.wiring.policy_file import policy_text


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. 0 once drained, 2 where an address cannot be had. PolicyError for the rest."""
    if settings.workers > 1:
        raise PolicyError("settings", [Fault("more than 1 is not supported yet; start replicas instead", "workers")])
    _log_as_json(settings.log_level)
    text = policy_text(settings.config)
    policy, router = load_policy(text, str(settings.config), os.environ, upstream_url=settings.upstream)
    try:
        uvloop.run(_serve(settings, policy, router))
    except ListenError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


async def _serve(settings: Settings, policy: Policy, router: Router) -> None:
    async with AsyncExitStack() as stack:
        application = await assemble(settings, policy, router, stack)
        # What is here now is here for good: looking through it over and over would be a tenth of a request's cost.
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        await application.serve()


def _log_as_json(level: str) -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
