"""What a run of the suite came to: counts, what did not pass and why, and the page that says so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

KINDS = ("required", "optimal", "check")
TEMPLATE = Path(__file__).with_name("page.md")

CONTRADICTS_RFC: Mapping[str, str] = {
    "conditional-lm-fresh-no-lm": (
        "It asks for what the RFC forbids. Without `Last-Modified`, RFC 9111 §4.3.2 compares `If-Modified-Since` with "
        "the stored `Date`. The test asks with a date 3000 seconds earlier and wants 304, by which the client would "
        "keep a copy older than ours. We answer 200; no cache in the recorded results passes."
    ),
}
"""Why a test that could be passed is not: test id, and the RFC's word."""

NOTHING_PASSES = (
    "Nothing can pass. The origin closes the connection, so it has no answer, and RFC 9111 §4.2.4 forbids the stale "
    "one: 502 is left, and given (`beyond-closed-...` below). The suite then reads `Server-Request-Count` in the "
    "answer that was never made. Its display sets these tests aside, for they build on the question `stale-close`, "
    "which we answer with no; no cache in the recorded results passes."
)
IMPOSSIBLE: Mapping[str, str] = {
    f"stale-close-{directive}": NOTHING_PASSES
    for directive in ("must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=2")
}
"""Tests that cannot be passed: test id, and why."""


class Verdict(StrEnum):
    """How a test ended."""

    PASS = "pass"
    FAIL = "fail"
    SETUP = "setup"
    """The test's own preparation did not come about, so it says nothing."""
    DEPENDENCY = "dependency"
    """A test that it builds on did not pass: the suite does not count it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One test, and how it ended."""

    id: str
    name: str
    suite: str
    kind: str
    depends_on: tuple[str, ...]
    verdict: Verdict
    message: str = ""

    @classmethod
    def of(cls, test: Mapping[str, object], result: object) -> "Outcome":
        """``result`` is true, or the kind of failure and its message; None where the test did not run."""
        kind, message = result if isinstance(result, list) else ("Assertion", "did not run")
        failed = Verdict.SETUP if kind == "Setup" else Verdict.FAIL
        depends_on = test["depends_on"]
        assert isinstance(depends_on, list)
        return cls(
            id=str(test["id"]),
            name=str(test["name"]),
            suite=str(test["suite"]),
            kind=str(test["kind"]),
            depends_on=tuple(depends_on),
            verdict=Verdict.PASS if result is True else failed,
            message="" if result is True else str(message),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTest:
    """A test of our own (``beyond.mjs``), the paragraph it holds us to, and what went wrong if anything did."""

    id: str
    name: str
    spec: str
    message: str

    @classmethod
    def of(cls, test: Mapping[str, object]) -> "OwnTest":
        """``result`` in ``test`` is true, or the kind of failure and its message."""
        result = test.get("result")
        message = "" if result is True else str(result)
        return cls(id=str(test["id"]), name=str(test["name"]), spec=str(test["spec"]), message=message)


@dataclass(frozen=True, slots=True)
class Summary:
    """All outcomes. The suite on Surrogate-Control is not among what the published scores count."""

    outcomes: Sequence[Outcome]
    own: Sequence[OwnTest] = ()

    def score(self, kind: str, *, surrogate: bool = False) -> tuple[int, int]:
        """How many tests of ``kind`` pass, and of how many."""
        counted = [o for o in self.outcomes if o.kind == kind and (o.suite == "surrogate-control") == surrogate]
        return sum(o.verdict is Verdict.PASS for o in counted), len(counted)

    @property
    def own_passed(self) -> int:
        """How many of our own tests pass."""
        return sum(not own.message for own in self.own)

    def open(self) -> list[Outcome]:
        """What does not pass and should: required and optimal tests, in the suite's order."""
        return [o for o in self.outcomes if o.verdict is not Verdict.PASS and o.kind != "check"]


def summarise(outcomes: Sequence[Outcome], own: Sequence[OwnTest]) -> Summary:
    """As the suite's own display judges: a test that builds on one that did not pass is set aside."""
    passed = {o.id for o in outcomes if o.verdict is Verdict.PASS}
    return Summary([_judged(o, passed) for o in outcomes], own)


def _judged(outcome: Outcome, passed: set[str]) -> Outcome:
    if outcome.verdict is Verdict.PASS or set(outcome.depends_on) <= passed:
        return outcome
    return Outcome(
        id=outcome.id,
        name=outcome.name,
        suite=outcome.suite,
        kind=outcome.kind,
        depends_on=outcome.depends_on,
        verdict=Verdict.DEPENDENCY,
        message=outcome.message,
    )


def under_floor(summary: Summary, floor: Mapping[str, int]) -> list[str]:
    """One line for each kind whose score is under ``floor``."""
    scores = {kind: summary.score(kind)[0] for kind in KINDS} | {"beyond": summary.own_passed}
    lost = [kind for kind, least in floor.items() if scores[kind] < least]
    return [f"{kind}: {scores[kind]} pass, {floor[kind]} are recorded" for kind in lost]


def table(summary: Summary) -> str:
    """The scores, and each test that does not pass, for a terminal."""
    lines = [f"{'kind':<10}{'pass':>6}{'of':>6}"]
    for kind in KINDS:
        passed, total = summary.score(kind)
        lines.append(f"{kind:<10}{passed:>6}{total:>6}")
    for kind in KINDS:
        passed, total = summary.score(kind, surrogate=True)
        lines.append(f"{'+ surrogate-control, ' + kind:<34}{passed}/{total}")
    lines.append(f"{'+ beyond the suite':<34}{summary.own_passed}/{len(summary.own)}")
    lines.append("")
    lines.extend(f"{'own':<21} {own.id} ({own.spec}): {own.message}" for own in summary.own if own.message)
    lines.extend(f"{o.verdict:<11}{o.kind:<9} {o.id}: {o.message}" for o in summary.open())
    return "\n".join(lines) + "\n"


def page(summary: Summary, suite: str) -> str:
    """``docs/conformance.md``."""
    return TEMPLATE.read_text(encoding="utf-8").format(
        suite=suite,
        required=_of(summary.score("required")),
        optimal=_of(summary.score("optimal")),
        check=_of(summary.score("check")),
        required_pass=summary.score("required")[0],
        optimal_pass=summary.score("optimal")[0],
        surrogate_required=_of(summary.score("required", surrogate=True)),
        surrogate_optimal=_of(summary.score("optimal", surrogate=True)),
        open=_open_rows(summary.open()),
        own=_own_rows(summary.own),
        own_pass=summary.own_passed,
        own_total=len(summary.own),
        checks=_check_rows(summary),
    )


def _of(score: tuple[int, int]) -> str:
    return f"{score[0]}/{score[1]}"


def _open_rows(outcomes: Sequence[Outcome]) -> str:
    reasons = {**CONTRADICTS_RFC, **IMPOSSIBLE}
    grouped: dict[tuple[str, str], list[str]] = {}
    for o in outcomes:
        grouped.setdefault((o.kind, reasons.get(o.id, o.message)), []).append(f"`{o.id}`")
    rows = [f"| {', '.join(ids)} | {kind} | {_escaped(reason)} |" for (kind, reason), ids in grouped.items()]
    return "\n".join(rows) if rows else "| none | | |"


def _own_rows(tests: Sequence[OwnTest]) -> str:
    return "\n".join(f"| {o.spec} | {_escaped(o.name)} | `{o.id}` | {_escaped(o.message) or 'pass'} |" for o in tests)


def _check_rows(summary: Summary) -> str:
    checks = [o for o in summary.outcomes if o.kind == "check"]
    return "\n".join(f"| `{o.id}` | {_escaped(o.name)} | {_answer(o)} |" for o in checks)


def _answer(outcome: Outcome) -> str:
    match outcome.verdict:
        case Verdict.PASS:
            return "yes"
        case Verdict.FAIL:
            return "no"
        case Verdict.SETUP | Verdict.DEPENDENCY:
            return "does not arise"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
