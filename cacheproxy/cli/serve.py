"""``cacheproxy serve``: run the sidecar."""

import logging
import os
import sys
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import uvloop

from cacheproxy.cli.log_lines import LineHandler, LogLines
from cacheproxy.cli.plain_structlog import structlog
from cacheproxy.engine.access_line import ENCODED, moment
from cacheproxy.engine.record import WriteLine
from cacheproxy.engine.recorder import Event
from cacheproxy.policy.load import load_policy
from cacheproxy.policy.route import Policy
from cacheproxy.policy.router import Router
from cacheproxy.server.listen import ListenError
from cacheproxy.settings import Settings
from cacheproxy.wiring.application import assemble
from cacheproxy.wiring.policy_file import policy_text

if TYPE_CHECKING:
    from structlog.typing import EventDict

_STDOUT, _STDERR = 1, 2


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. 0 once drained, 2 where an address cannot be had. PolicyError for the rest."""
    lines = log_as_json(settings.log_level)
    text = policy_text(settings.config)
    policy, router = load_policy(text, str(settings.config), os.environ, upstream_url=settings.upstream)
    if settings.workers > 1:
        from cacheproxy.wiring.supervisor import supervise  # noqa: PLC0415 - one worker alone need not load it

        return run_to_its_end(supervise(settings, text))
    return run_to_its_end(_serve(settings, policy, router, lines))


def run_to_its_end(serving: Coroutine[None, None, None]) -> int:
    """0 once ``serving`` has drained, 2 where an address cannot be had."""
    try:
        uvloop.run(serving)
    except ListenError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


async def _serve(settings: Settings, policy: Policy, router: Router, lines: LogLines) -> None:
    async with AsyncExitStack() as stack:
        write_line = access_lines(lines, settings.log_level)
        application = await assemble(settings, policy, router, stack, write_line=write_line)
        application.metrics.watch_total(Event.LOG_DROPPED, lambda: lines.dropped)
        await application.serve()


def log_as_json(level: str) -> LogLines:
    """Write each line of the log as one JSON object, and on the standard error what libraries have to say."""
    lines = LogLines(_STDOUT, _dropped)
    structlog.configure(
        processors=[_rendered],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    of_libraries = LogLines(_STDERR, "{} log lines dropped".format)
    logging.basicConfig(level=logging.WARNING, handlers=[LineHandler(of_libraries)])
    return lines


def access_lines(lines: LogLines, level: str) -> WriteLine | None:
    """Where the access log's lines go, past structlog; None where ``level`` leaves them out, as structlog does."""
    return lines.msg if logging.getLevelNamesMapping()[level.upper()] <= logging.INFO else None


def _rendered(logger: object, level: str, line: "EventDict") -> str:
    """``line`` as JSON. The access log's lines, which are many, are made in ``engine.access_line``."""
    line["level"] = level
    line["at"] = moment(time.time())
    if "exc_info" in line:
        line = structlog.processors.format_exc_info(logger, level, line)
    return ENCODED(line)


def _dropped(lines: int) -> str:
    return _rendered(None, "warning", {"lines": lines, "event": "log_lines_dropped"})
