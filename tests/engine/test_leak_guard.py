"""Responses that name their caller."""

import pytest

from cacheproxy.engine.leak_guard import names_caller
from cacheproxy.policy.identity import Identity
from cacheproxy.semantics.fields import Fields

ANN = Identity(session_id="s-1234567", session={"user_id": 7001234, "email": "ann@example.com", "role": "customer"})


@pytest.mark.parametrize(
    ("field", "body", "named"),
    [
        pytest.param("", b'{"id": 7001234}', True, id="user-id-as-a-number"),
        pytest.param("", b'{"id": "7001234"}', True, id="user-id-as-text"),
        pytest.param("", b"<p>ann@example.com</p>", True, id="e-mail"),
        pytest.param("", b"s-1234567", True, id="session-id"),
        pytest.param("ann@example.com", b"", True, id="in-a-field"),
        pytest.param("", b"for every customer", False, id="a-role-names-nobody"),
        pytest.param("", b'{"id": 7001235}', False, id="somebody-else"),
    ],
)
def test_a_response_that_names_its_caller_is_found(field: str, body: bytes, named: bool) -> None:
    """The caller's own session id, user id and e-mail address are found wherever they stand."""
    assert named == names_caller(ANN, Fields.of(("x-user", field)), body)


def test_short_values_are_not_looked_for() -> None:
    """A user id of one digit stands in most responses by chance."""
    assert not names_caller(Identity(session={"user_id": 7}), Fields(), b'{"price": 7}')


def test_values_are_found_as_json_quotes_them() -> None:
    """A name beyond ASCII is found though JSON escapes it."""
    named = Identity(session={"username": "zoë-müller"})
    assert names_caller(named, Fields(), b'{"by": "zo\\u00eb-m\\u00fcller"}')
