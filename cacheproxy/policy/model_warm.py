"""``warm``: what is asked for before clients ask, as it is written."""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidatorFunctionWrapHandler, WithJsonSchema, WrapValidator

from cacheproxy.policy.model_types import Model, WarmRequests, warm_request
from cacheproxy.policy.warming import WarmRules

MAX_MOST_USED = 1000


class WarmModel(Model):
    """What is asked for before clients ask."""

    requests: WarmRequests = Field(
        default=[], description="Requests by name: `GET /articles`, `GET api.example.com/tags?page=2`."
    )
    most_used: int = Field(
        default=0, ge=0, le=MAX_MOST_USED, description="How many of those that clients made most often of late."
    )
    after_purge: bool = Field(
        default=False, description="Also after each purge, so that no client waits for the origin."
    )

    def rules(self) -> WarmRules:
        """As the engine has them."""
        return WarmRules(requests=tuple(self.requests), most_used=self.most_used, after_purge=self.after_purge)


_REQUESTS = TypeAdapter(WarmRequests)


def _warming(value: Any, handler: ValidatorFunctionWrapHandler) -> WarmModel:
    """A list of requests is the same as a mapping that has nothing but ``requests``."""
    if isinstance(value, str | list):
        return WarmModel(requests=_REQUESTS.validate_python(value))
    model: WarmModel = handler(value)
    return model


_LIST_SCHEMA: dict[str, Any] = _REQUESTS.json_schema()
Warming = Annotated[
    WarmModel,
    WrapValidator(_warming),
    WithJsonSchema({"anyOf": [*_LIST_SCHEMA["anyOf"], WarmModel.model_json_schema()]}),
]


def is_warm_request(line: str) -> bool:
    """Whether ``line`` could stand in a policy under ``warm``."""
    try:
        warm_request(line)
    except ValueError:
        return False
    return True
