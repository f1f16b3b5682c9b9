"""The dashboard and the alerts speak of metrics that exist, and each alert fires when it should."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cacheproxy.admin.metrics import Metrics

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "config/grafana/cacheproxy.json").read_text())
ALERTS = yaml.safe_load((ROOT / "config/prometheus/alerts.yml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"

WORDS = re.compile(r"[a-z][a-z0-9_]*_[a-z0-9_]+")
NOT_METRICS = {"histogram_quantile", "label_values"}


def exposed() -> set[str]:
    """Every series name that the code exposes, whether or not anything was counted yet."""
    names = set()
    for name, kind in re.findall(rb"^# TYPE (\S+) (\S+)$", Metrics().render(), re.MULTILINE):
        known = name.decode()
        names |= {known + end for end in ("_bucket", "_sum", "_count")} if kind == b"histogram" else {known}
    return names


def metrics_in(expression: str) -> set[str]:
    """The metric names in PromQL: what is left without selectors, groupings, strings and Grafana's variables."""
    bare = re.sub(r"\{[^}]*\}|\b(by|without|on) *\([^)]*\)|\$\w+|\"[^\"]*\"", " ", expression)
    return set(WORDS.findall(bare)) - NOT_METRICS


def labels_in(expression: str) -> set[str]:
    """The label names that PromQL groups by."""
    return {label.strip() for inner in re.findall(r"\bby *\(([^)]*)\)", expression) for label in inner.split(",")}


def dashboard_expressions() -> Iterator[str]:
    """Every PromQL expression of the dashboard."""
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (annotation["expr"] for annotation in DASHBOARD["annotations"]["list"])
    yield from (re.sub(r"label_values\((.*), *\w+\)", r"\1", variable["definition"]) for variable in variables())


def variables() -> Iterator[dict[str, str]]:
    """The dashboard's variables that are queries."""
    return (variable for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query")


EXPRESSIONS = {**{f"dashboard-{at}": each for at, each in enumerate(dashboard_expressions())}} | {
    rule["alert"]: rule["expr"] for rule in RULES
}


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_every_metric_that_is_asked_for_exists(expression):
    """A renamed metric would leave an empty panel, or an alert that never fires."""
    names = metrics_in(expression) | ({"up"} if expression.startswith("up") else set())
    assert names
    assert names - {"up"} <= exposed()


def test_a_metric_that_does_not_exist_would_be_seen():
    """The check above can fail."""
    assert metrics_in('sum by (a_b) (rate(no_such_total{job="x_y"}[5m]))') == {"no_such_total"}
    assert "no_such_total" not in exposed()


def test_every_grouping_is_by_a_label_that_exists():
    """Or by one that Prometheus itself gives."""
    known = set(re.findall(r'(\w+)="', rendered_with_everything())) | {"instance", "job", "le"}
    for name, expression in EXPRESSIONS.items():
        assert labels_in(expression) <= known, name


def rendered_with_everything() -> str:
    """The metrics with one sample in each family."""
    from cacheproxy.admin.families import COUNTERS, LEVELS

    metrics = Metrics(config_hash="x")
    metrics.request(method="GET", route="r", cache_status="hit", seconds=0.1, resource_type="t", hit=True)
    metrics.operation("get", 0.1)
    for event, family in COUNTERS.items():
        metrics.event(event, *family.labels)
    for level, family in LEVELS.items():
        metrics.level(level, 1.0, "x" if family.labels else "")
    return metrics.render().decode()


def test_every_family_of_ours_is_on_the_dashboard():
    """What is worth counting is worth looking at."""
    ours = {name for name in exposed() if name.startswith(("cache", "request_"))}
    shown = {name for expression in EXPRESSIONS.values() for name in metrics_in(expression)}
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in ours} <= bases


def test_panels_neither_overlap_nor_share_an_id():
    """Each has a place of its own in a grid of 24 columns, a title, and what it asks."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["title"]
        assert panel["type"] == "row" or panel["targets"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_to_do(rule):
    """A summary, how bad it is, and a section of the guide that exists."""
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"]
    page, _, section = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^## (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert section in {heading.lower().replace(" ", "-") for heading in headings}


def test_the_guide_begins_with_every_alert():
    """Who is paged searches for the alert's name, and finds the section that the alert itself names."""
    rows = re.findall(r"^\| `(Cacheproxy\w+)` \| .+ \| .+\(#([a-z-]+)\) \|$", TROUBLESHOOTING.read_text(), re.MULTILINE)
    assert dict(rows) == {rule["alert"]: rule["annotations"]["runbook"].partition("#")[2] for rule in RULES}


def promtool(*arguments: str) -> str:
    """What Prometheus's own tool says."""
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_rules_and_the_configuration(promtool_installed):
    """As it would at start."""
    promtool("check", "config", str(ROOT / "config/prometheus/prometheus.yml"))


def test_every_alert_fires(promtool_installed):
    """On series that show what it is about, and Prometheus itself says so."""
    cases = ROOT / "tests/house/alerts.test.yml"
    tested = {
        alert["alertname"] for test in yaml.safe_load(cases.read_text())["tests"] for alert in test["alert_rule_test"]
    }
    assert tested == {rule["alert"] for rule in RULES}
    promtool("test", "rules", str(cases))
