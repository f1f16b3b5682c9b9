"""The JSON Schema of policies."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cacheproxy.policy.schema import schema_text
from cacheproxy.policy.units import DURATION_PATTERN, RATE_PATTERN, SIZE_PATTERN, duration_s, rate, size_bytes

CONFIG = Path(__file__).parents[2] / "config"


def test_the_committed_schema_is_current() -> None:
    """``cacheproxy schema > config/cacheproxy.schema.json`` was run after the last change of the models."""
    assert (CONFIG / "cacheproxy.schema.json").read_text(encoding="utf-8") == schema_text()


def test_the_schema_refuses_unknown_keys_everywhere() -> None:
    """An editor shows a misspelled key while it is typed."""
    schema = json.loads(schema_text())
    objects = [schema, *schema["$defs"].values()]
    assert all(one["additionalProperties"] is False for one in objects)


def test_every_key_says_what_it_is_for() -> None:
    """An editor shows it while it is typed; a mapping may say so itself."""
    schema = json.loads(schema_text())
    said = {f"#/$defs/{name}" for name, model in schema["$defs"].items() if "description" in model}
    keys = [item for one in (schema, *schema["$defs"].values()) for item in one.get("properties", {}).items()]
    assert [name for name, key in keys if "description" not in key and key.get("$ref") not in said] == []


@pytest.mark.parametrize(
    "file", [CONFIG / "cacheproxy.yaml", *sorted(CONFIG.glob("examples/*.yaml"))], ids=lambda file: file.stem
)
def test_the_sample_policies_have_only_keys_of_the_schema(file: Path) -> None:
    """What a sample writes, the schema knows, and its strings have the schema's patterns."""
    schema = json.loads(schema_text())
    check(yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader), schema, schema)


@pytest.mark.parametrize(
    ("pattern", "read", "texts"),
    [
        (DURATION_PATTERN, duration_s, ["1s", "250ms", "1.5h", "0d", "1", "s", "1S", "-1s", "1h30m"]),
        (SIZE_PATTERN, size_bytes, ["1B", "1KiB", "1.5MiB", "1", "1M", "kB"]),
        (RATE_PATTERN, rate, ["1/s", "1 per 60s", "10/minute", "5/250ms", "1", "/s", "1/fortnight", "1.5/s"]),
    ],
)
def test_an_editor_and_the_program_accept_the_same(
    pattern: str, read: Callable[[object], object], texts: list[str]
) -> None:
    """A pattern of the schema matches what the parser takes, and nothing else."""
    for text in texts:
        assert bool(re.search(pattern, text)) == is_read(read, text), text


def is_read(read: Callable[[object], object], text: str) -> bool:
    """Whether ``read`` takes ``text``."""
    try:
        read(text)
    except ValueError:
        return False
    return True


def check(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> None:
    """Hold ``value`` against the parts of ``schema`` that say something about shape: $ref, anyOf, properties, items."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
    if "anyOf" in schema:
        kinds = {dict: "object", list: "array"}
        wanted = kinds.get(type(value), "string")
        schema = next(
            one for one in schema["anyOf"] if "$ref" in one or wanted in one.get("type", ()) or "const" in one
        )
        if "$ref" in schema or "const" in schema:
            return check(value, schema, root) if "$ref" in schema else None
    if isinstance(value, dict):
        for key, item in value.items():
            patterns = schema.get("patternProperties", {})
            named = next((one for name, one in patterns.items() if re.search(name, key)), None)
            known = schema.get("properties", {}) | ({} if named is None else {key: named})
            extra = schema.get("additionalProperties")
            assert key in known or isinstance(extra, dict), key
            check(item, known.get(key, extra), root)
    elif isinstance(value, list):
        for item in value:
            check(item, schema["items"], root)
    elif "pattern" in schema and "${" not in value:
        assert re.search(schema["pattern"], value), (value, schema)
    return None
