"""The fake origin's own ways: its gate, its counts, its barrier."""

import asyncio
from functools import partial

import pytest

from cacheproxy.errors import UpstreamError
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.upstream.contract import Prepared
from cacheproxy.upstream.fake import Answer, ScriptedOrigin

GET = RequestHead(method="GET", target=b"/a")


async def test_held_requests_wait_at_the_gate() -> None:
    """While held, requests arrive and are counted, and none is answered until the gate opens."""
    origin = ScriptedOrigin({"/a": Answer(body=b"x")})
    origin.hold()
    sending = [asyncio.create_task(origin.send(GET)) for _ in range(3)]
    await origin.arrived(3)
    assert origin.count("/a") == 3
    assert not any(task.done() for task in sending)
    origin.release()
    assert [head.status for head, _ in await asyncio.gather(*sending)] == [200, 200, 200]


async def test_a_target_not_in_the_script_is_not_found() -> None:
    """What the script does not name meets its last resort."""
    head, _ = await ScriptedOrigin().send(GET)
    assert head.status == 404


async def test_the_script_can_change() -> None:
    """A target may meet other steps from some moment on."""
    origin = ScriptedOrigin({"/a": Answer()})
    origin.script("/a", Answer(status=500), Answer(status=503))
    assert [(await origin.send(GET))[0].status for _ in range(3)] == [500, 503, 503]


async def test_closing_is_noted() -> None:
    """Tests can see that whoever owns the origin closed it."""
    origin = ScriptedOrigin()
    await origin.aclose()
    assert origin.closed


async def test_what_goes_at_once_meets_the_script_too() -> None:
    """It is counted, waits at the gate, and comes whole or has to be sent for."""
    origin = ScriptedOrigin({"/a": [Answer(body=b"x"), Answer(parts=(b"p",)), UpstreamError(502, "no", sent=True)]})
    origin.at_once = True
    origin.hold()
    sent = [
        origin.begin(Prepared("GET", b"GET /a HTTP/1.1\r\nhost: h\r\n"), b"x-request-id: id\r\n", b"") for _ in range(3)
    ]
    told: list[int] = []
    for number, each in enumerate(sent):
        assert each is not None
        each.when_told(partial(told.append, number))
    assert (told, origin.count("/a"), origin.received[0].head.fields.get(b"x-request-id")) == ([], 3, b"id")
    origin.release()
    assert told == [0, 1, 2]
    assert [each and each.whole for each in sent] == [(ResponseHead(200), b"x"), None, None]
    _, body = await origin.send(GET, begun=sent[1])
    assert [chunk async for chunk in body] == [b"p"]
    with pytest.raises(UpstreamError, match="no"):
        await origin.send(GET, begun=sent[2])
