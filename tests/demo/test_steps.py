"""The demo's table is honest: a step passes only if its output says what it claims."""

import re

import pytest

from cacheproxy.demo.steps import STEPS, Step, filled

PLACES = {
    "proxy": "http://127.0.0.1:8080",
    "admin": "http://127.0.0.1:9090",
    "origin": "http://127.0.0.1:8000",
    "admin_at": "127.0.0.1:9090",
    "cli": "cacheproxy",
    "jar": "/tmp/jar",
}


@pytest.mark.parametrize(
    ("output", "missing"),
    [
        ("X-Cache: HIT\ntook 0.001 s", None),
        ("x-cache: hit\ntook 0.001 s", None),
        ("X-Cache: MISS\ntook 0.001 s", "nothing like"),
        ("X-Cache: HIT\ntook 0.002 s", "not under"),
        ("X-Cache: HIT\ntook 0.009 s\ntook 0.001 s", None),
        ("X-Cache: HIT", "not under"),
        ("", "nothing like"),
    ],
)
def test_a_step_passes_only_with_what_it_expects_in_time(output, missing):
    """Every pattern is there and the time is under the bound; a time that was not measured is not a short one."""
    step = Step(says="", command="", expects=("^x-cache: hit",), under_s=0.002)
    shortfall = step.shortfall(output)
    assert shortfall is None if missing is None else missing in shortfall


@pytest.mark.parametrize(("took", "passes"), [("0.180", True), ("0.179", False)])
def test_a_step_may_be_too_quick(took, passes):
    """An answer that is quicker than the service's query did not come from it."""
    step = Step(says="", command="", expects=(), at_least_s=0.180)
    assert (step.shortfall(f"took {took} s") is None) is passes


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.says[:40])
def test_every_step_is_a_whole_command_that_could_fail(step):
    """All its places are known, and it expects something that empty output lacks."""
    assert "$" not in filled(step.command, PLACES) + filled(step.says, PLACES)
    assert step.shortfall("") is not None
    assert all(re.compile(pattern) for pattern in step.expects)
