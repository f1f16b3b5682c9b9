"""A stored response to decide about, and the way from a response to it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.storing import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponse:
    """What the rules look at in a stored response, with a fresh one's values."""

    status: int = 200
    fields: Fields = field(default_factory=Fields)
    body: bytes = b"0123456789"
    received_at: float = 1000.0
    lifetime_s: float = 60.0
    initial_age_s: float = 0.0
    swr_s: float = 0.0
    sie_s: float = 0.0
    must_revalidate: bool = False


@pytest.fixture(scope="session")
def stored_response() -> type[StoredResponse]:
    """The class itself, to be made with what matters in a test."""
    return StoredResponse


@pytest.fixture(scope="session")
def keep() -> Callable[[Store, bytes, float], StoredResponse]:
    """From a verdict to the stored response that it allows."""

    def _keep(verdict: Store, body: bytes, received_at: float) -> StoredResponse:
        return StoredResponse(
            status=verdict.status,
            fields=verdict.fields,
            body=body,
            received_at=received_at,
            lifetime_s=verdict.lifetime_s,
            initial_age_s=verdict.initial_age_s,
            swr_s=verdict.swr_s,
            sie_s=verdict.sie_s,
            must_revalidate=verdict.must_revalidate,
        )

    return _keep
