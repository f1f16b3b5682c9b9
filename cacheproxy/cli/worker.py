"""A worker of ``cacheproxy serve --workers N``: started by the supervisor alone, which says on a pipe what to do."""

import signal
import sys
from pathlib import Path

from cacheproxy.cli.serve import access_lines, log_as_json, run_to_its_end
from cacheproxy.errors import PolicyError
from cacheproxy.server.leash import end_when_let_go, first_line
from cacheproxy.server.workers import MISUSED
from cacheproxy.settings import Settings
from cacheproxy.wiring.supervisor import LINGER_S
from cacheproxy.wiring.worker import Job, work


def main() -> int:
    """Work until told to stop, or let go of: 0 once drained, ``MISUSED`` where that cannot be done."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until we can reload: what we start with is what there is now
    job = Job.of(first_line())
    try:
        settings = Settings.load(**job.settings)
        end_when_let_go(Path(job.directory), settings.drain_delay + settings.drain_timeout + LINGER_S)
        lines = log_as_json(settings.log_level)
        return run_to_its_end(work(job, settings, lambda: lines.dropped, access_lines(lines, settings.log_level)))
    except PolicyError as error:
        for line in error.lines():
            print(line, file=sys.stderr)
        return MISUSED


if __name__ == "__main__":
    sys.exit(main())
