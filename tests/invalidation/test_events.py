"""What an event purges, or why it was dropped."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.invalidation.contract import Purge, PurgeMode
from cacheproxy.invalidation.events import MAX_EVENT_BYTES, Interpreter, Refusal
from cacheproxy.policy.load import load_policy
from cacheproxy.policy.route import EventRules
from cacheproxy.policy.tags import PurgeRequest, purge_tags
from cacheproxy.policy.templates import Template

RULES = EventRules(
    on=(
        ("article.updated", (Template.parse("article:{data.id}"), Template.parse("articles"))),
        ("user.logged_out", (Template.parse("session:{data.session_id}"),)),
        ("nothing", ()),
    )
)


@pytest.fixture
def interpreter() -> Interpreter:
    """By the rules above."""
    return Interpreter(RULES)


def test_our_own_form(interpreter):
    """An event's type picks the templates, and its data fills them."""
    event = b'{"type": "article.updated", "data": {"id": 42}}'
    assert interpreter.interpret(event) == Purge(tags=("article:42", "articles"))


def test_a_cloud_event_as_it_is(interpreter):
    """CloudEvents (JSON format, structured mode) have type and data in the same places."""
    event = {
        "specversion": "1.0",
        "id": "b3c7",
        "source": "/articles",
        "type": "article.updated",
        "datacontenttype": "application/json",
        "data": {"id": "42"},
    }
    assert interpreter.interpret(json.dumps(event).encode()) == Purge(tags=("article:42", "articles"))


def test_an_event_may_say_what_to_purge(interpreter):
    """``purge`` has the members of the admin API's, and becomes the same tags."""
    asked = {"tags": ["a"], "keys": ["articles:42", "articles:list:*"], "paths": ["/x?y"], "routes": ["r"]}
    event = json.dumps({"purge": {**asked, "tenant": "t", "mode": "soft"}}).encode()
    tags = purge_tags(PurgeRequest(**{kind: tuple(names) for kind, names in asked.items()}, tenant="t"))
    assert interpreter.interpret(event) == Purge(tags=tags, mode=PurgeMode.SOFT)
    assert interpreter.interpret(b'{"purge": {"all": true}}') == Purge(tags=("*",))
    assert isinstance(interpreter.interpret(b'{"purge": {"tenant": "t"}}'), Purge)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param(b'"' + b"x" * MAX_EVENT_BYTES, Refusal.HUGE, id="over-1-MiB"),
        pytest.param(b'{"type": "\xff"}', Refusal.NOT_UTF8, id="not-utf-8"),
        pytest.param(b"", Refusal.MALFORMED, id="empty"),
        pytest.param(b"hello", Refusal.MALFORMED, id="not-json"),
        pytest.param(b'{"type": "article.updated",}', Refusal.MALFORMED, id="trailing-comma"),
        pytest.param(b'{"type": ' + b"9" * 5000 + b"}", Refusal.MALFORMED, id="a-number-too-long-to-read"),
        pytest.param(b"[" * 5000, Refusal.DEEP, id="too-deep-to-read"),
        pytest.param(b'{"a":' * 40 + b"1" + b"}" * 40, Refusal.DEEP, id="objects-40-deep"),
        pytest.param(b'{"a":' + b"[" * 40 + b"]" * 40 + b"}", Refusal.DEEP, id="lists-40-deep"),
        pytest.param(b"[]", Refusal.WRONG_TYPE, id="a-list"),
        pytest.param(b"null", Refusal.WRONG_TYPE, id="null"),
        pytest.param(b"{}", Refusal.WRONG_TYPE, id="no-type"),
        pytest.param(b'{"type": 7}', Refusal.WRONG_TYPE, id="type-is-a-number"),
        pytest.param(b'{"type": "article.deleted"}', Refusal.UNKNOWN_EVENT, id="unknown-type"),
        pytest.param(b'{"type": "article.updated"}', Refusal.MISSING_DATA, id="no-data"),
        pytest.param(b'{"type": "article.updated", "data": []}', Refusal.MISSING_DATA, id="data-is-a-list"),
        pytest.param(b'{"type": "article.updated", "data": {"id": {}}}', Refusal.MISSING_DATA, id="id-is-an-object"),
        pytest.param(b'{"type": "article.updated", "data": {"id": null}}', Refusal.MISSING_DATA, id="id-is-null"),
        pytest.param(b'{"type": "article.updated", "data": {"id": true}}', Refusal.MISSING_DATA, id="id-is-a-bool"),
        pytest.param(rb'{"type": "article.updated", "data": {"id": "a\n"}}', Refusal.BAD_TAG, id="control-in-data"),
        pytest.param(rb'{"type": "article.updated", "data": {"id": "\ud800"}}', Refusal.BAD_TAG, id="lone-surrogate"),
        pytest.param(b'{"type": "nothing"}', Refusal.NAMES_NOTHING, id="mapped-to-nothing"),
        pytest.param(b'{"purge": {}}', Refusal.NAMES_NOTHING, id="purge-of-nothing"),
        pytest.param(b'{"purge": {"tags": [], "mode": "soft"}}', Refusal.NAMES_NOTHING, id="purge-of-no-tags"),
        pytest.param(b'{"purge": {"all": false}}', Refusal.NAMES_NOTHING, id="purge-not-all"),
        pytest.param(b'{"purge": []}', Refusal.WRONG_TYPE, id="purge-is-a-list"),
        pytest.param(b'{"purge": {"tags": "a"}}', Refusal.WRONG_TYPE, id="tags-is-text"),
        pytest.param(b'{"purge": {"tags": [1]}}', Refusal.WRONG_TYPE, id="a-tag-is-a-number"),
        pytest.param(b'{"purge": {"tags": ["a"], "all": "yes"}}', Refusal.WRONG_TYPE, id="all-is-text"),
        pytest.param(b'{"purge": {"tags": ["a"], "mode": "harder"}}', Refusal.WRONG_TYPE, id="unknown-mode"),
        pytest.param(b'{"purge": {"tags": ["a"], "mode": []}}', Refusal.WRONG_TYPE, id="mode-is-a-list"),
        pytest.param(b'{"purge": {"tags": ["a"], "tenant": 1}}', Refusal.WRONG_TYPE, id="tenant-is-a-number"),
        pytest.param(b'{"purge": {"tag": ["a"]}}', Refusal.WRONG_TYPE, id="misspelt-member"),
        pytest.param(b'{"purge": {"tags": ["a b"]}}', Refusal.BAD_TAG, id="space"),
        pytest.param(b'{"purge": {"tags": ["article:*:list"]}}', Refusal.BAD_TAG, id="glob"),
        pytest.param(b'{"purge": {"keys": ["article:?"]}}', Refusal.BAD_TAG, id="glob-in-key"),
        pytest.param(b'{"purge": {"tags": [""]}}', Refusal.NAMES_NOTHING, id="empty-tag"),
        pytest.param(b'{"purge": {"tags": ["a", ""]}}', Refusal.BAD_TAG, id="an-empty-tag-among-others"),
        pytest.param(b'{"purge": {"tags": ["@route/x"]}}', Refusal.BAD_TAG, id="a-tag-of-our-own"),
        pytest.param(b'{"purge": {"paths": ["x"]}}', Refusal.BAD_TAG, id="relative-path"),
        pytest.param(rb'{"purge": {"paths": ["/\u0000"]}}', Refusal.BAD_TAG, id="control-in-path"),
        pytest.param(b'{"purge": {"tags": ["a"], "all": true}}', Refusal.BAD_TAG, id="all-and-more"),
        pytest.param(
            json.dumps({"purge": {"tags": [str(n) for n in range(1001)]}}).encode(), Refusal.TOO_MANY, id="1001-tags"
        ),
    ],
)
def test_what_is_wrong_is_refused_for_a_reason(interpreter, payload, reason):
    """Each mistake has a reason of its own, and none of them purges anything."""
    assert interpreter.interpret(payload) is reason


def test_data_cannot_purge_more_than_its_template(interpreter):
    """An id of ``*`` is an id: it stands for nothing but itself."""
    event = b'{"type": "article.updated", "data": {"id": "*"}}'
    purge = interpreter.interpret(event)
    assert "*" not in purge.tags
    assert not any(tag.endswith(":*") for tag in purge.tags)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(("type", "data", "purge", "tags")), inner)
    ),
)


@given(st.binary() | _json.map(lambda value: json.dumps(value).encode()))
def test_nothing_makes_it_raise(payload):
    """Whatever is published, there is a purge of something or a reason."""
    purge = Interpreter(RULES).interpret(payload)
    assert isinstance(purge, Refusal) or purge.tags


def test_the_digest_names_the_rules():
    """Rules that listen elsewhere or map otherwise have another digest; the same ones have the same."""
    variants = [
        RULES,
        EventRules(channels=("other",), on=RULES.on),
        EventRules(patterns=("cacheproxy:events",), channels=(), on=RULES.on),
        EventRules(on=RULES.on[:1]),
        EventRules(on=(("article.updated", RULES.on[0][1][:1]),)),
    ]
    assert len({Interpreter(rules).digest for rules in variants}) == len(variants)
    assert Interpreter(RULES).digest == Interpreter(EventRules(on=tuple(RULES.on))).digest


# --- the page that explains them

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text("utf-8")
PUBLISHED = re.findall(r"^redis-cli PUBLISH cacheproxy:events '(.+)'$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("payload", PUBLISHED)
def test_what_the_page_publishes_is_understood(payload: str) -> None:
    """By the mapping that stands there, too."""
    mapping = re.search(r"```yaml\n(.+?)```", PAGE, re.DOTALL)
    assert mapping is not None
    policy, _ = load_policy(f"version: 1\n{mapping[1]}", "docs/events.md", {})
    assert isinstance(Interpreter(policy.events).interpret(payload.encode()), Purge)


def test_the_page_explains_every_reason() -> None:
    """And publishes something."""
    assert len(PUBLISHED) >= 5
    assert all(f"`{reason}`" in PAGE for reason in Refusal)
