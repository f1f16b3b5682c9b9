"""The dashboard's page holds everything it needs and may do nothing else."""

import re

from cacheproxy.admin import dashboard
from cacheproxy.admin.families import COUNTERS, LEVELS


async def test_the_page_is_served_with_its_policy(client):
    """The browser is told to run this script, this style and nothing else."""
    answer = await client().get("/")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert policy.count("'sha256-") == 2
    assert "unsafe" not in policy


def test_the_page_loads_nothing():
    """No address of another host, no inline handler, no style attribute: the policy would refuse them."""
    page = dashboard.PAGE.decode()
    assert re.findall(r"https?://|\bsrc=|\bhref=|\sstyle=|\son[a-z]+=", page) == []


async def test_the_page_reads_only_what_stats_has(client, rest):
    """Every member, every metric and every column that the script names is one that the API gives."""
    rest.metrics.request(method="GET", route="a", cache_status="hit", seconds=0.001, resource_type="a", hit=True)
    stats = (await client().get("/api/v1/stats")).json()
    page = dashboard.PAGE.decode()
    assert set(re.findall(r"\bstats\.(\w+)", page)) <= set(stats)
    assert set(re.findall(r"\bpolicy\.(\w+)", page)) <= set(stats["policy"])
    assert set(re.findall(r"\brow\.(\w+)", page)) <= set(stats["requests"][0])
    named = {family.name for family in (*COUNTERS.values(), *LEVELS.values())}
    assert set(re.findall(r"\.(cacheproxy_\w+)", page)) <= named


async def test_the_page_asks_only_where_there_is_an_answer(client):
    """Each address that the script asks is one of this port's."""
    async with client() as admin:
        paths = set(re.findall(r"/api/v1/\w+", dashboard.PAGE.decode())) - {"/api/v1/events"}  # endless
        answers = {path: (await admin.get(path)).status_code for path in paths}
    assert answers == {"/api/v1/stats": 200, "/api/v1/explain": 400, "/api/v1/purge": 405}


def test_the_script_finds_its_elements():
    """Whatever it looks up by id is on the page, once."""
    page = dashboard.PAGE.decode()
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'\b(?:byId|show|draw)\("([\w-]+)"', page)) <= set(ids)


def test_every_control_has_a_name():
    """What a screen reader says of an input: its label, or ``aria-label``."""
    page = dashboard.PAGE.decode()
    controls = re.findall(r"(?:<label[^>]*>[^<]*)?<(?:input|select)[^>]*>", page)
    labelled = set(re.findall(r'<label[^>]*\bfor="([^"]+)"', page))
    unnamed = [
        control
        for control in controls
        if not control.startswith("<label")
        and "aria-label=" not in control
        and not any(f'id="{known}"' in control for known in labelled)
    ]
    assert (len(controls) >= 4, unnamed) == (True, [])
