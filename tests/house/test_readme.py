"""The README claims nothing that is not so."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cacheproxy.demo.steps import STEPS
from cacheproxy.policy.load import load_policy

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BENCHMARKS = ROOT / "docs" / "benchmarks.md"
"""Written by ``make bench``, on a machine that has nginx, Varnish and HAProxy."""
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_two_commands_come_first():
    """The first thing to copy is ``make demo``, the second ``make test``."""
    first_block = re.search(r"```sh\n(.*?)```", README, re.DOTALL)[1]
    assert re.findall(r"^(make \S+)", first_block, re.MULTILINE) == ["make demo", "make test"]


def test_every_command_it_names_exists():
    """Each ``make`` target is in the Makefile."""
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][a-z-]*)", README)) - {"and"} <= targets


def test_its_policy_is_one():
    """The example is read by the same code as any policy, without a complaint."""
    example = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)[1]
    policy, _router = load_policy(example, "README.md", {})
    assert [route.name for route in policy.routes] == ["article-list", "article", "article-write"]


def test_every_step_it_cites_is_a_step_of_the_demo():
    """Each claim of the table points at steps that are run and checked, and every step is pointed at."""
    cited = re.findall(r"\| ([\d, ]+) \|$", README, re.MULTILINE)
    numbers = [int(number) for row in cited for number in row.split(",")]
    assert numbers == list(range(1, len(STEPS) + 1))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    """Links within the repository name files that are there."""
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    missing = [
        page.parent / target for target in targets if "://" not in target and not (page.parent / target).exists()
    ]
    assert set(missing) <= {BENCHMARKS}


def test_every_page_is_within_reach():
    """A page that nothing links is not read."""
    linked = set(re.findall(r"\]\(docs/([^)#/]+)\)", README))
    unlinked = {page.name for page in (ROOT / "docs").glob("*.md")} - linked
    assert not unlinked, f"link them from README.md: {unlinked}"


def test_its_figures_are_those_of_the_page():
    """The scores in the public suite, ours and others', as the last run wrote them."""
    page = (ROOT / "docs" / "conformance.md").read_text()
    ours, of, varnish, nginx = re.search(
        r"(\d+) of the (\d+) required .*; Varnish (\d+), nginx (\d+) ", README
    ).groups()
    assert f"**{ours}/{of}**" in page
    scores = re.findall(r"^\| (Varnish|nginx) [\d.]+ \| (\d+) \|", page, re.MULTILINE)
    assert dict(scores) == {"Varnish": varnish, "nginx": nginx}


def test_its_commands_lead_to_a_sidecar(tmp_path):
    """What a newcomer types after the demo: a first policy is written, is right, and says what becomes of a request."""
    (commands,) = re.findall(r"```sh\nexport PATH.*?```", README, re.DOTALL)
    typed = re.findall(r"^cacheproxy (.+?)(?: +#.*)?$", commands, re.MULTILINE)
    *first, serve = (shlex.split(line) for line in typed)
    for arguments in first:
        subprocess.run([sys.executable, "-m", "cacheproxy", *arguments], cwd=tmp_path, check=True)
    assert serve[0] == "serve"


def test_make_bench_writes_the_page_that_is_linked():
    """The one page that a link may lead to before it is there."""
    assert 'PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"' in (ROOT / "benchmarks" / "run.py").read_text()


def test_every_decision_is_in_the_list():
    """A record that nobody finds is not one."""
    directory = ROOT / "docs" / "decisions"
    listed = set(re.findall(r"\]\((\d{4}-[^)]+)\)", (directory / "README.md").read_text()))
    assert listed == {path.name for path in directory.glob("[0-9]*.md")}
