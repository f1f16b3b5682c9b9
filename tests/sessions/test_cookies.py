"""The session id in the cookies, and everything that is none."""

import base64

import itsdangerous
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.policy.identity import SessionRules, SessionScheme
from cacheproxy.semantics.fields import Fields
from cacheproxy.sessions.cookies import session_id_of
from cacheproxy.sessions.signed import unsigned

RULES = SessionRules(cookie="session_id")
SIGNED = SessionRules(cookie="session_id", scheme=SessionScheme.SIGNED, secret="k3y", signed_max_age_s=100)
NOW = 1_700_000_000.0


def id_of(*lines: str | bytes, rules: SessionRules = RULES, now: float = NOW) -> str | None:
    """The session id in these Cookie lines."""
    return session_id_of(Fields.of(*(("cookie", line) for line in lines)), rules, now)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("session_id=abc", "abc", id="alone"),
        pytest.param("theme=dark; session_id=abc; lang=de", "abc", id="among-others"),
        pytest.param("theme=dark;session_id=abc", "abc", id="6265-no-space"),
        pytest.param(" session_id = abc ", "abc", id="as-starlette-strips"),
        pytest.param('session_id="abc"', "abc", id="6265-4.1.1-quoted"),
        pytest.param("session_id=a=b", "a=b", id="value-with-equals"),
        pytest.param("xsession_id=evil; session_id=abc", "abc", id="name-is-compared-whole"),
        pytest.param("session_id=" + "a" * 200, "a" * 200, id="longest"),
    ],
)
def test_a_well_formed_cookie_gives_its_id(line: str, expected: str) -> None:
    """The value of the one cookie of the name is the id."""
    assert id_of(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("", id="empty"),
        pytest.param("session_id", id="no-equals"),
        pytest.param("session_id=", id="no-value"),
        pytest.param("SESSION_ID=abc", id="names-are-case-sensitive"),
        pytest.param("session_id=abc; session_id=def", id="two"),
        pytest.param("session_id=abc; session_id=abc", id="two-alike"),
        pytest.param("session_id=abc; session_id=", id="two-one-empty"),
        pytest.param('session_id="abc', id="quote-opened"),
        pytest.param('session_id=abc"', id="quote-closed"),
        pytest.param('session_id="a"b"', id="quote-inside"),
        pytest.param('session_id="a\\"b"', id="escape-inside"),
        pytest.param('session_id=""', id="quoted-nothing"),
        pytest.param("session_id=" + "a" * 201, id="long"),
        pytest.param("session_id=" + "a" * 8192, id="8-kib"),
        pytest.param("session_id=a b", id="space"),
        pytest.param("session_id=a:b", id="colon-could-leave-the-key"),
        pytest.param("session_id={abc}", id="braces-could-choose-a-slot"),
        pytest.param("session_id=a*", id="glob"),
        pytest.param("session_id=a%00", id="percent"),
        pytest.param(b"session_id=\xff\xfe", id="not-ascii"),
        pytest.param("session_id=a\tb", id="tab"),
        pytest.param("session_id=a\x00", id="nul"),
    ],
)
def test_whatever_is_wrong_is_the_same_as_none(line: str | bytes) -> None:
    """Malformed, doubled and oversized cookies are no session, never an error."""
    assert id_of(line) is None


def test_cookies_over_several_lines_count_together() -> None:
    """A second Cookie line is more of the same list (RFC 9113 §8.2.3), so two cookies in two lines are two."""
    assert id_of("theme=dark", "session_id=abc") == "abc"
    assert id_of("session_id=abc", "session_id=def") is None


def test_no_cookie_is_no_session() -> None:
    """Without the field there is nothing to read."""
    assert id_of() is None


@given(st.lists(st.binary(max_size=40)))
def test_no_bytes_whatever_are_an_error(lines: list[bytes]) -> None:
    """Any Cookie lines give an id of the allowed characters or none."""
    found = id_of(*(b"session_id=" + line for line in lines))
    assert found is None or (found.isascii() and ":" not in found)


@given(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
def test_ids_signed_by_itsdangerous_are_understood(session_id: str) -> None:
    """What TimestampSigner signs, as Starlette uses it, is the id; any other scheme does not see through it."""
    signed = itsdangerous.TimestampSigner("k3y").sign(session_id).decode()
    moment = float(itsdangerous.TimestampSigner("k3y").unsign(signed, return_timestamp=True)[1].timestamp())
    assert id_of(f"session_id={signed}", rules=SIGNED, now=moment) == session_id
    assert id_of(f"session_id={signed}", rules=SIGNED, now=moment + 100) == session_id
    assert id_of(f"session_id={signed}", rules=SIGNED, now=moment + 101) is None
    assert id_of(f"session_id={signed}", rules=SIGNED, now=moment - 1) is None


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda signed: "abd" + signed[3:], id="id-changed"),
        pytest.param(lambda signed: signed[:-1] + ("A" if signed[-1] != "A" else "B"), id="signature-changed"),
        pytest.param(lambda signed: signed.rpartition(".")[0], id="signature-cut"),
        pytest.param(lambda signed: "abc", id="not-signed"),
        pytest.param(lambda signed: "..", id="only-dots"),
        pytest.param(lambda signed: itsdangerous.Signer("k3y").sign("abc").decode(), id="signed-without-a-time"),
        pytest.param(lambda signed: itsdangerous.TimestampSigner("key").sign("abc").decode(), id="other-key"),
        pytest.param(lambda signed: itsdangerous.TimestampSigner("").sign("abc").decode(), id="empty-key"),
        pytest.param(lambda signed: signed + "\xe9", id="not-ascii"),
    ],
)
def test_forged_signatures_are_no_session(forge) -> None:
    """What was not signed with the secret, whole and in this form, is the same as no cookie."""
    signed = itsdangerous.TimestampSigner("k3y").sign("abc").decode()
    rules = SessionRules(cookie="session_id", scheme=SessionScheme.SIGNED, secret="k3y", signed_max_age_s=None)
    assert id_of(f"session_id={signed}", rules=rules) == "abc"
    assert id_of(f"session_id={forge(signed)}", rules=rules) is None


def test_a_signed_value_has_a_bounded_length() -> None:
    """A right signature over a time padded with zeros is not even computed."""
    padded = base64.urlsafe_b64encode(b"\x00" * 1200 + int(NOW).to_bytes(4, "big")).decode()
    signed = itsdangerous.Signer("k3y").sign(f"abc.{padded}").decode()
    assert unsigned(signed, "k3y", now=NOW, max_age_s=100) == "abc"
    assert id_of(f"session_id={signed}", rules=SIGNED) is None


def test_without_a_secret_no_signed_id_is_believed() -> None:
    """A secret that was left empty does not make everybody's signature right."""
    signed = itsdangerous.TimestampSigner("").sign("abc").decode()
    rules = SessionRules(scheme=SessionScheme.SIGNED, secret="", signed_max_age_s=None)
    assert id_of(f"session_id={signed}", rules=rules) is None
