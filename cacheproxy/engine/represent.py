"""Which form of a stored response a client gets (RFC 9110 §12): as the origin sent it, or in a coding made here."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from cacheproxy.semantics.coding import coded_fields, coding_for, may_encode, negotiated_fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.semantics.rules import Coding, EncodeRules
from cacheproxy.storage.contract import Entry


class Forms(Protocol):
    """Coded forms of stored bodies (``storage.forms.Forms``)."""

    def offered(self, codings: Sequence[Coding]) -> Sequence[Coding]:
        """Those of ``codings`` in which forms can be made here."""
        ...

    async def coded(self, key: str, body: bytes, coding: Coding) -> bytes | None:
        """``body``, which is stored under ``key``, in ``coding``; None where that is not to be had."""
        ...


async def represent(request: RequestHead, entry: Entry, rules: EncodeRules, forms: Forms) -> Entry:
    """``entry`` in the form that ``request`` likes best; what has several forms says so by Vary, whichever it is."""
    if not may_encode(entry.status, entry.fields, len(entry.body), rules):
        return entry
    coding = coding_for(request.fields, forms.offered(rules.codings))
    coded = None if coding is None else await forms.coded(entry.key, entry.body, coding)
    if coding is None or coded is None:
        return replace(entry, fields=negotiated_fields(entry.fields))
    return replace(entry, fields=coded_fields(entry.fields, coding), body=coded)


def passing(head: ResponseHead, length: int | None, rules: EncodeRules) -> ResponseHead:
    """``head`` of what goes to the client as it arrives, and is stored meanwhile: later it may have several forms."""
    body_bytes = rules.above_bytes + 1 if length is None else length
    if not may_encode(head.status, head.fields, body_bytes, rules):
        return head
    return ResponseHead(head.status, negotiated_fields(head.fields))
