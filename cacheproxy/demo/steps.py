"""What to try in the demo, in order. One table: what is printed is what ``--self-test`` runs and checks."""

import re
from dataclasses import dataclass
from string import Template

HEAD = "curl -s -o /dev/null -D - -w 'took %{time_total} s\\n'"
JSON = "-H 'Content-Type: application/json' -d"

_TOOK = re.compile(r"^took ([\d.]+) s$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to try: what it shows, the command, and what its output must say for that to be true."""

    says: str
    command: str
    """For a shell; ``$proxy, $origin, $admin, $admin_at, $cli, $jar`` stand for this run's places."""
    expects: tuple[str, ...]
    """Regular expressions, each found in the output; case does not matter."""
    at_least_s: float | None = None
    under_s: float | None = None
    """What the quickest of curl's own times must be under: the machine may be busy."""
    tries: int = 1
    """How often the self-test may try, where the step waits for something to arrive."""

    def shortfall(self, output: str) -> str | None:
        """What is missing from ``output``, or None if the step shows what it says."""
        for pattern in self.expects:
            if not re.search(pattern, output, re.IGNORECASE | re.MULTILINE):
                return f"nothing like {pattern!r}"
        took_s = min(map(float, _TOOK.findall(output)), default=None)
        if self.at_least_s is not None and (took_s is None or took_s < self.at_least_s):
            return f"took {took_s} s, and not at least {self.at_least_s} s"
        if self.under_s is not None and (took_s is None or took_s >= self.under_s):
            return f"took {took_s} s, which is not under {self.under_s} s"
        return None


STEPS = (
    Step(
        says="A list of articles: the service needs a query of 180 ms.",
        command=f"{HEAD} $proxy/articles",
        expects=(r"^HTTP/1.1 200", r"^x-cache: MISS", r"^cache-status: .*fwd=uri-miss.*stored"),
        at_least_s=0.180,
    ),
    Step(
        says="The same five times: from the sidecar's memory, in under 2 ms.",
        command=f"{HEAD} '$proxy/articles#[1-5]' | grep -E '^(age|x-cache|took)'",
        expects=(r"^x-cache: HIT", r"^age: \d"),
        under_s=0.002,
        tries=4,
    ),
    Step(
        says="Fifty clients at once on a page that nobody has: the service is asked once.",
        command=(
            "curl -sZ --parallel-immediate --parallel-max 50 -o /dev/null '$proxy/articles?skip=20#[1-50]';"
            " curl -s $origin/stats"
        ),
        expects=(r'"GET /articles\?skip=20":1\b',),
    ),
    Step(
        says="One article. 55 ms; from then on the sidecar has it.",
        command="curl -si $proxy/articles/1",
        expects=(r"^x-cache: MISS", r'"title":"Article 1"'),
    ),
    Step(
        says="A write through the sidecar purges what the policy says it changes ...",
        command=f"""curl -si -X PUT {JSON} '{{"title": "Changed"}}' $proxy/articles/1""",
        expects=(r"^HTTP/1.1 200", r'"revision":2'),
    ),
    Step(
        says="... so the next reader gets the new value.",
        command="curl -si $proxy/articles/1",
        expects=(r"^x-cache: MISS", r'"title":"Changed"'),
    ),
    Step(
        says="A write behind the sidecar's back: the service publishes an event on Redis ...",
        command=f"""curl -si -X PUT {JSON} '{{"title": "Changed behind"}}' $origin/articles/1""",
        expects=(r"^HTTP/1.1 200", r'"revision":3'),
    ),
    Step(
        says="... and the sidecar has heard it.",
        command="curl -si $proxy/articles/1",
        expects=(r"^x-cache: MISS", r'"title":"Changed behind"'),
        tries=10,
    ),
    Step(
        says="Anyone may publish such an event: a program in any language, or you.",
        command=f"""$cli publish --admin $admin_at article.updated '{{"id": 1}}' && {HEAD} $proxy/articles/1""",
        expects=(r"^x-cache: MISS",),
        tries=10,
    ),
    Step(
        says="Log in: the service writes a session to Redis and sets a cookie.",
        command=f"""curl -si -c $jar {JSON} '{{"user": "ada"}}' $proxy/login""",
        expects=(r"^HTTP/1.1 200", r"^set-cookie: session_id="),
    ),
    Step(
        says="The session's user reaches the service; who claims to be another does not.",
        command="curl -s -b $jar -H 'X-User-Id: 3' -H 'X-Org-Id: evil' $proxy/whoami",
        expects=(r'"X-User-Id":"1","X-Org-Id":"acme"',),
    ),
    Step(
        says="Without a session there is no user, whatever the client claims.",
        command="curl -s -H 'X-User-Id: 3' $proxy/whoami",
        expects=(r'"X-User-Id":null',),
    ),
    Step(
        says="A hundred lists a minute for each client, then 429.",
        command="curl -s -o /dev/null -w '%{http_code}\\n' '$proxy/articles#[1-120]' | sort | uniq -c",
        expects=(r"^ *\d+ 200$", r"^ *\d+ 429$"),
    ),
    Step(
        says="The refusal says when to come back.",
        # The first of many: by the time of a single request one more might be allowed
        command="curl -si -w '\\n' '$proxy/articles#[1-120]' | grep -m1 -A15 '^HTTP/1.1 429'",
        expects=(r"^HTTP/1.1 429", r"^retry-after: \d+", r"^content-type: application/problem\+json"),
    ),
    Step(
        says="What happened, for Prometheus. There is a page for people, too: $admin/",
        command="curl -s $admin/metrics | grep -E '^cache_(hits|misses)_total'",
        expects=(r'^cache_hits_total\{resource_type="articles"\} [1-9]', r"^cache_misses_total\{"),
    ),
)


def filled(text: str, places: dict[str, str]) -> str:
    """``text`` with this run's places in it."""
    return Template(text).substitute(places)
