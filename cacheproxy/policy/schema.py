"""The JSON Schema of the policy file, for editors."""

import json

from cacheproxy.policy.models import PolicyModel


def schema_text() -> str:
    """The JSON Schema (2020-12) of a policy file, as ``config/cacheproxy.schema.json`` holds it."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **PolicyModel.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
