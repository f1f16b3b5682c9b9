"""What a policy wants of libraries."""

import pytest

from cacheproxy.policy.load import load_policy
from cacheproxy.wiring.libraries import missing_libraries


@pytest.mark.parametrize(
    ("cache", "missing", "told"),
    [
        pytest.param("{compress: true, encode: {codings: [gzip]}}", {"zstandard", "brotli"}, [], id="none-wanted"),
        pytest.param("{compress: {coding: zstd}, encode: true}", set(), [], id="all-here"),
        pytest.param("{compress: {coding: zstd}}", {"zstandard"}, ["`deflate` stands in"], id="at-rest"),
        pytest.param("{encode: true}", {"brotli"}, ["offered `zstd` and `gzip`"], id="one-of-three"),
        pytest.param("{encode: {codings: [br]}}", {"brotli"}, ["`br` needs a library", "offered none"], id="the-only"),
    ],
)
def test_what_is_missing_is_told(
    monkeypatch: pytest.MonkeyPatch, cache: str, missing: set[str], told: list[str]
) -> None:
    """Only where a route asks for it, and with what it does instead."""
    monkeypatch.setattr("cacheproxy.storage.compression._is_here", lambda library: library not in missing)
    policy, _ = load_policy(f"version: 1\nroutes: [{{name: a, match: GET /a, cache: {cache}}}]", "p.yaml", {})
    messages = "; ".join(caution.message for caution in missing_libraries(policy))
    assert bool(messages) == bool(told)
    assert all(part in messages for part in told)
