"""The query of ``GET /api/v1/explain``: a request as an operator describes it."""

import re
from ipaddress import ip_address

from starlette.datastructures import QueryParams

from cacheproxy.admin.http import json_object
from cacheproxy.engine.question import Question
from cacheproxy.errors import ClientError
from cacheproxy.semantics.fields import Fields

_UNSENDABLE = re.compile(r"[\x00-\x20\x7f]")
MEMBERS = frozenset({"method", "target", "header", "session", "tenant", "client_ip"})


def parse_question(query: QueryParams) -> Question:
    """The request that ``query`` describes: ``method=GET&target=/articles/5&header=Accept: */*``. ClientError(400)."""
    unknown = sorted(query.keys() - MEMBERS)
    if unknown:
        raise ClientError(400, "bad-query", f"unknown parameter {unknown[0]!r}: known are {', '.join(sorted(MEMBERS))}")
    target = query.get("target", "")
    if not target.startswith("/"):
        raise ClientError(400, "bad-query", "target: a path, and query if any, such as /articles/5")
    if _UNSENDABLE.search(target):
        raise ClientError(400, "bad-query", "target: it holds a space or control character, which nobody can send")
    session = query.get("session")
    return Question(
        method=query.get("method", "GET"),
        target=target.encode("utf-8", "surrogateescape"),
        fields=Fields.of(*(_field(header) for header in query.getlist("header"))),
        session=None if session is None else json_object(session, "session"),
        tenant=query.get("tenant"),
        client_ip=_address(query.get("client_ip", "127.0.0.1")),
    )


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise ClientError(400, "bad-query", f"client_ip: `{text}` is not an address, such as 10.0.0.9") from error


def _field(header: str) -> tuple[bytes, bytes]:
    name, colon, value = header.partition(":")
    if not colon or not name.strip():
        raise ClientError(400, "bad-query", f"header: `{header}` is not a field; write 'Name: value'")
    return name.strip().encode(), value.strip().encode()
