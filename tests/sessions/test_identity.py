"""The identity fields: no client can send them, and services can tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.client.seal import SEAL_FIELD, seal, verify_seal
from cacheproxy.policy.identity import SessionRules
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.sessions.contract import Session
from cacheproxy.sessions.identity import Stripper, identity_fields, strip

RULES = SessionRules(
    identity=((b"x-user-id", "user_id"), (b"x-org-id", "org.id")),
    namespace=(b"x-auth-",),
)
GET = RequestHead(method="GET", target=b"/articles?page=2")
NOW = 1_700_000_000.7
ALICE = Session("s", {"user_id": 7, "org": {"id": "acme"}})


@pytest.mark.parametrize(
    "name",
    [
        "x-user-id",
        "X-User-Id",
        "x_user_id",
        "X_USER-ID",
        "x-org-id",
        "x-auth-anything",
        "X_Auth_Roles",
        "x-auth-",
        "x-identity-seal",
        "X_Identity_Seal",
    ],
)
def test_a_forged_field_never_passes(name: str) -> None:
    """The identity fields, the whole namespace and the seal are deleted, ``-`` and ``_`` alike, in any case."""
    forged = Fields(((b"host", b"a"), (name.encode(), b"admin"), (b"accept", b"*/*"), (name.encode(), b"root")))
    assert strip(forged, RULES) == Fields.of(("host", "a"), ("accept", "*/*"))


@pytest.mark.parametrize("name", ["x-user", "x-user-id2", "xuser-id", "x-authority", "cookie", "authorization"])
def test_other_fields_pass(name: str) -> None:
    """What is not in the namespace is none of our business."""
    assert strip(Fields.of((name, "v")), RULES) == Fields.of((name, "v"))


def test_names_that_clients_make_up_take_no_memory() -> None:
    """However many there are, and a forged one among them is still found."""
    stripper = Stripper()
    for number in range(3000):
        fields = Fields.of((f"x-{number}", "v"), ("x_user_id", "admin"))
        assert stripper.strip(fields, RULES) == Fields.of((f"x-{number}", "v"))
    assert len(stripper._reserved._found) <= 1024


def test_without_sessions_only_the_seal_is_ours() -> None:
    """A policy that sets no identity deletes none, but nobody ever sends a seal."""
    assert strip(Fields.of(("x-user-id", "7"), ("x-identity-seal", "t=1,v1=0")), None) == Fields.of(("x-user-id", "7"))


def test_identity_is_what_the_session_says() -> None:
    """Each configured field carries its session field, nested ones too."""
    assert identity_fields(ALICE, RULES) == ((b"x-user-id", b"7"), (b"x-org-id", b"acme"))


def test_nobody_has_no_identity() -> None:
    """Without a session nothing is told."""
    assert identity_fields(None, RULES) == ()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("7\r\nx-admin: 1", id="crlf"),
        pytest.param("7\n", id="lf"),
        pytest.param("7\x00", id="nul"),
        pytest.param("\x7f", id="del"),
        pytest.param("\x85", id="c1"),
        pytest.param("Łukasz", id="not-latin-1"),
        pytest.param("\ud800", id="surrogate"),
        pytest.param(" 7", id="leading-space"),
        pytest.param("7\t", id="trailing-tab"),
        pytest.param("", id="empty"),
        pytest.param("x" * 4097, id="long"),
        pytest.param(None, id="null"),
        pytest.param(True, id="boolean"),
        pytest.param(1.5, id="fraction"),
        pytest.param(["7"], id="list"),
        pytest.param({"id": "7"}, id="object"),
    ],
)
def test_what_cannot_stand_in_a_field_is_left_out(value: object) -> None:
    """A value that could break a head, or has no one spelling, is no identity; the others still are told."""
    session = Session("s", {"user_id": value, "org": {"id": "acme"}})
    assert identity_fields(session, RULES) == ((b"x-org-id", b"acme"),)


@given(st.text())
def test_no_text_whatever_breaks_a_head(text: str) -> None:
    """A told value is one line of visible Latin-1."""
    for _, value in identity_fields(Session("s", {"user_id": text}), RULES):
        assert value.decode("latin-1") == text
        assert not set(value) & {0, 10, 13}


def told(session: Session | None, secret: str = "k3y") -> tuple[tuple[bytes, bytes], ...]:
    """What a sidecar tells of ``session`` with ``GET``, sealed."""
    identity = identity_fields(session, RULES)
    return (*identity, (SEAL_FIELD, seal(secret, method="GET", target=GET.target, identity=identity, now=NOW)))


def verified(got: tuple[tuple[bytes, bytes], ...], **changed) -> bool:
    """Whether a service that ``got`` this with ``GET`` a moment later believes them."""
    request = {
        "method": "GET",
        "target": GET.target,
        "fields": [(b"host", b"a"), *got],
        "identity": {name for name, _ in RULES.identity},
        "now": NOW + 1,
    }
    return verify_seal("k3y", **(request | changed))


@pytest.mark.parametrize("session", [ALICE, None, Session("s", {"user_id": "a"})])
def test_a_sealed_identity_is_believed(session: Session | None) -> None:
    """What the sidecar set, the service verifies; that nobody is logged in, too."""
    assert verified(told(session))


SEALED_ALICE = told(ALICE)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"method": "DELETE"}, id="other-method"),
        pytest.param({"target": b"/admin"}, id="other-target"),
        pytest.param({"now": NOW + 62}, id="old"),
        pytest.param({"now": NOW - 62}, id="from-the-future"),
        pytest.param({"fields": SEALED_ALICE[:-1]}, id="no-seal"),
        pytest.param({"fields": SEALED_ALICE[1:]}, id="field-missing"),
        pytest.param({"fields": (*SEALED_ALICE, SEALED_ALICE[-1])}, id="two-seals"),
        pytest.param({"fields": ((b"x-user-id", b"8"), *SEALED_ALICE[1:])}, id="field-changed"),
        pytest.param({"fields": ((b"x-user-id", b"8"), *SEALED_ALICE)}, id="field-added"),
        pytest.param({"fields": ((b"x-user-id", b"7\nx-org-id:acme"), SEALED_ALICE[-1])}, id="fields-run-together"),
        pytest.param({"fields": (*SEALED_ALICE[:-1], (b"x-identity-seal", b""))}, id="empty-seal"),
        pytest.param({"fields": (*SEALED_ALICE[:-1], (b"x-identity-seal", b"t=\xb2,v1=\xff"))}, id="not-ascii"),
    ],
)
def test_whatever_was_changed_on_the_way_is_not_believed(changed: dict[str, object]) -> None:
    """A request that went around the sidecar, or was replayed for another purpose, fails."""
    assert not verified(SEALED_ALICE, **changed)


def test_another_secret_is_not_believed() -> None:
    """The seal is by the shared secret."""
    assert not verified(told(ALICE, "other"))
