"""The ``limits`` mapping of a policy file: rates, and requests in flight."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from cacheproxy.policy.model_types import Cidr, Duration, Model, Rate, Secret, Subjects, Token

DEFAULT_RATE = (100, 60.0)


class ExemptModel(Model):
    """Whom a limit does not concern."""

    networks: list[Cidr] = Field(default=[], description="Clients with these addresses.")
    header: Token | None = Field(default=None, description="Requests with the secret in this field.")
    secret: Secret | None = Field(default=None, repr=False, description="What must stand in `header`.")


class CostModel(Model):
    """What one request counts, by how it is answered."""

    hit: int = Field(default=1, ge=0, description="From the cache, fresh.")
    stale: int = Field(default=1, ge=0, description="From the cache, stale.")
    miss: int = Field(default=1, ge=0, description="By the origin.")


def _cost(value: object) -> object:
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if value < 1:
        raise ValueError("it must be more than zero; what only hits are to be spared is written `{hit: 0}`")
    return {"hit": value, "stale": value, "miss": value}


_COSTS: dict[str, Any] = {
    "anyOf": [
        {"type": "integer", "minimum": 1},
        {
            "type": "object",
            "properties": {name: {"type": "integer", "minimum": 0} for name in CostModel.model_fields},
            "additionalProperties": False,
        },
    ],
    "description": "What one request counts: a number, or one each for `hit`, `stale` and `miss`.",
}
Cost = Annotated[CostModel, BeforeValidator(_cost), WithJsonSchema(_COSTS)]


class LimitModel(Model):
    """A limit: so many requests in a time, or in flight at once, or both."""

    rate: Rate = Field(
        default=DEFAULT_RATE, description="`100/minute`, `10/s`, `100 per 60s`. None where only `concurrency` is given."
    )
    concurrency: int | None = Field(default=None, ge=1, description="Requests in flight at once, among all replicas.")
    by: Subjects = Field(default=["client_ip"], description="For each of what.")
    algorithm: Literal["gcra", "sliding_window", "sliding_log", "fixed_window", "token_bucket"] = Field(
        default="gcra", description="How it counts; gcra and token_bucket are the same."
    )
    burst: int = Field(default=0, ge=0, description="What may come at once (gcra, token_bucket); 0: the whole rate.")
    count: Literal["all", "miss"] = Field(default="all", description="miss: only what goes to the origin counts.")
    cost: Cost = CostModel()
    precision: Literal["exact", "leased"] = Field(
        default="exact",
        description="leased: permits are taken from Redis in small batches. Never more than the limit, and faster.",
    )
    on_limit: Literal["reject", "stale_else_reject", "delay"] = Field(
        default="reject", description="Answer 429; or with what is stored, however old; or hold the request back."
    )
    max_delay: Duration | None = Field(default=None, description="How long `delay` may hold it; 1s by default.")
    on_redis_down: Literal["allow", "deny", "local"] = Field(
        default="allow", description="Without Redis. local: each replica admits its share."
    )
    mode: Literal["enforce", "shadow"] = Field(default="enforce", description="shadow: count, and refuse nobody.")
    exempt: ExemptModel | None = Field(default=None, description="Whom it does not concern.")

    @property
    def rated(self) -> bool:
        """Whether it says anything of a rate."""
        return self.concurrency is None or "rate" in self.model_fields_set
