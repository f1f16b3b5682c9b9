"""Room for connections."""

import resource

import pytest

from cacheproxy.server.room import LEAST_CONNECTIONS, MOST_CONNECTIONS, RESERVED_DESCRIPTORS, most_connections


@pytest.mark.parametrize(
    ("limits", "raised_to", "connections"),
    [
        ((1024, 1 << 20), MOST_CONNECTIONS + RESERVED_DESCRIPTORS, MOST_CONNECTIONS),
        ((1024, resource.RLIM_INFINITY), MOST_CONNECTIONS + RESERVED_DESCRIPTORS, MOST_CONNECTIONS),
        ((1024, 4096), 4096, 4096 - RESERVED_DESCRIPTORS),
        ((256, 256), 256, LEAST_CONNECTIONS),
        ((1 << 20, 1 << 20), None, MOST_CONNECTIONS),
    ],
)
def test_the_limit_of_descriptors_is_raised_and_kept_to(monkeypatch, limits, raised_to, connections) -> None:
    """As many clients are let in as there are descriptors, less those that the sidecar needs for the rest."""
    given: list[int] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: given.append(limits[0]))
    assert connections == most_connections()
    assert ([] if raised_to is None else [raised_to]) == given


def test_a_limit_that_may_not_be_raised_is_kept_to(monkeypatch) -> None:
    """Where the system says no, there are fewer clients."""

    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert 1024 - RESERVED_DESCRIPTORS == most_connections()
