"""Refreshing before the end (XFetch)."""

import random

import pytest

from cacheproxy.fills.early import refreshes_early


def test_what_is_stale_is_refreshed_by_everybody():
    """At the end of its lifetime there is no chance left."""
    assert refreshes_early(fresh_for_s=0.0, fill_s=0.2, draw=0.0)
    assert refreshes_early(fresh_for_s=-5.0, fill_s=0.2, draw=0.0)


def test_the_chance_grows_towards_the_end():
    """A draw that refreshes at some time does so at every later one."""
    decisions = [refreshes_early(fresh_for_s=left / 10, fill_s=0.2, draw=0.9) for left in range(20, -1, -1)]
    assert decisions == sorted(decisions)
    assert decisions[0] is False


def test_beta_moves_it():
    """Without beta nothing is early; with more of it more is."""
    assert not refreshes_early(fresh_for_s=0.01, fill_s=10.0, draw=0.999, beta=0.0)
    assert not refreshes_early(fresh_for_s=1.0, fill_s=0.2, draw=0.99, beta=1.0)
    assert refreshes_early(fresh_for_s=1.0, fill_s=0.2, draw=0.99, beta=2.0)


@pytest.mark.parametrize("requests_per_s", [10, 1_000])
def test_about_one_request_refreshes_before_the_end(requests_per_s):
    """However many ask, few refresh, and nearly always somebody does before the lifetime is over."""
    rng = random.Random(7)
    early = 0
    for _ in range(200):
        for n in range(60 * requests_per_s):
            left_s = 2.0 - n / requests_per_s
            if left_s <= 0:
                break
            if refreshes_early(fresh_for_s=left_s, fill_s=0.2, draw=rng.random()):
                early += 1
                break
    assert early > (180 if requests_per_s == 1_000 else 100)
