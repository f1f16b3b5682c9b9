"""The JSON Schema of policies."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from cacheproxy.policy.schema import schema_text

CONFIG = Path(__file__).parents[2] / "config"


def test_the_committed_schema_is_current() -> None:
    """``cacheproxy schema > config/cacheproxy.schema.json`` was run after the last change of the models."""
    assert (CONFIG / "cacheproxy.schema.json").read_text(encoding="utf-8") == schema_text()


def test_the_schema_refuses_unknown_keys_everywhere() -> None:
    """An editor shows a misspelled key while it is typed."""
    schema = json.loads(schema_text())
    objects = [schema, *schema["$defs"].values()]
    assert all(one["additionalProperties"] is False for one in objects)


def test_the_sample_policy_has_only_keys_of_the_schema() -> None:
    """What the sample writes, the schema knows, and its strings have the schema's patterns."""
    schema = json.loads(schema_text())
    check(
        yaml.load(CONFIG.joinpath("cacheproxy.yaml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader),
        schema,
        schema,
    )


def check(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> None:
    """Hold ``value`` against the parts of ``schema`` that say something about shape: $ref, anyOf, properties, items."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
    if "anyOf" in schema:
        kinds = {dict: "object", list: "array"}
        wanted = kinds.get(type(value), "string")
        schema = next(one for one in schema["anyOf"] if "$ref" in one or one.get("type") == wanted or "const" in one)
        if "$ref" in schema or "const" in schema:
            return check(value, schema, root) if "$ref" in schema else None
    if isinstance(value, dict):
        for key, item in value.items():
            patterns = schema.get("patternProperties", {})
            known = schema.get("properties", {}) | {key: one for name, one in patterns.items() if re.search(name, key)}
            extra = schema.get("additionalProperties")
            assert key in known or isinstance(extra, dict), key
            check(item, known.get(key, extra), root)
    elif isinstance(value, list):
        for item in value:
            check(item, schema["items"], root)
    elif "pattern" in schema and "${" not in value:
        assert re.search(schema["pattern"], value), (value, schema)
    return None
