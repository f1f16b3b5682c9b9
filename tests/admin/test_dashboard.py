"""The dashboard's page holds everything it needs and may do nothing else."""

import re

from cacheproxy.admin import dashboard


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


async def test_the_page_reads_only_what_stats_has(client):
    """Every metric and member that the script names is one that the API gives."""
    stats = (await client().get("/api/v1/stats")).json()
    page = dashboard.PAGE.decode()
    assert set(re.findall(r"\bstats\.(\w+)", page)) <= {*stats, "version"}
