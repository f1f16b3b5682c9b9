"""What every ``Origin`` promises: one body of tests over the real client and over the fake."""

from collections.abc import Awaitable, Callable

import pytest

from cacheproxy.errors import UpstreamError
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.upstream.bodies import BytesBody, PartsBody
from cacheproxy.upstream.contract import Origin, RequestBody, ResponseBody
from cacheproxy.upstream.fake import Answer, Received, ScriptedOrigin
from cacheproxy.upstream.reasons import Reason, failure

Start = Callable[[ScriptedOrigin], Awaitable[Origin]]


@pytest.fixture(params=["http", "scripted"])
def start(request: pytest.FixtureRequest) -> Start:
    """Turn a script into an origin: itself, or a server that plays it and a client."""
    if request.param == "http":
        return request.getfixturevalue("play")

    async def itself(script: ScriptedOrigin) -> Origin:
        return script

    return itself


def get(target: str = "/", method: str = "GET") -> RequestHead:
    """A request for ``target``."""
    return RequestHead(method=method, target=target.encode(), fields=Fields.of(("host", "origin.example")))


async def read(body: ResponseBody) -> bytes:
    """The content of ``body``."""
    return b"".join([chunk async for chunk in body])


async def test_a_response_is_its_head_and_its_body(start: Start) -> None:
    """Status, fields in order and with repeats, and content arrive as the origin gave them."""
    fields = Fields.of(("set-cookie", "a=1"), ("content-length", "5"), ("set-cookie", "b=2"))
    origin = await start(ScriptedOrigin({"/": Answer(status=201, fields=fields, body=b"hello")}))
    head, body = await origin.send(get())
    assert head == ResponseHead(201, fields)
    assert body.complete == b"hello"
    assert body.length == 5
    assert await read(body) == b"hello"
    await body.aclose()


@pytest.mark.parametrize("fields", [Fields(), Fields.of(("content-length", "200000"))])
async def test_a_body_in_parts_arrives_whole(start: Start, fields: Fields) -> None:
    """However a body arrives, its content is the same."""
    parts = (b"a" * 100_000, b"b" * 100_000)
    origin = await start(ScriptedOrigin({"/": Answer(fields=fields, parts=parts)}))
    _, body = await origin.send(get())
    assert await read(body) == b"".join(parts)


async def test_trailers_come_after_the_body(start: Start) -> None:
    """Trailer fields are there once the body was read."""
    trailers = Fields.of(("digest", "abc"))
    origin = await start(ScriptedOrigin({"/": Answer(parts=(b"a", b"b"), trailers=trailers)}))
    _, body = await origin.send(get())
    assert await read(body) == b"ab"
    assert body.trailers == trailers


async def test_a_body_that_breaks_off_is_an_error(start: Start) -> None:
    """A body that ends early never ends cleanly, so that nobody takes a part of it for the whole."""
    broken = Answer(parts=(b"a" * 100_000,), breaks_with=failure(Reason.BODY_TRUNCATED))
    origin = await start(ScriptedOrigin({"/": broken}))
    _, body = await origin.send(get())
    with pytest.raises(UpstreamError) as error:
        await read(body)
    assert (error.value.reason, error.value.sent) == (Reason.BODY_TRUNCATED, True)


async def test_no_response_is_an_error(start: Start) -> None:
    """Where no response came, ``send`` itself fails."""
    origin = await start(ScriptedOrigin({"/": failure(Reason.CLOSED_EARLY)}))
    with pytest.raises(UpstreamError) as error:
        await origin.send(get())
    assert (error.value.status, error.value.reason, error.value.sent) == (502, Reason.CLOSED_EARLY, True)


async def test_interim_responses_are_told_before_the_final_one(start: Start) -> None:
    """102 and 103 go to the callback, in order."""
    early = (ResponseHead(102), ResponseHead(103, Fields.of(("link", "</a>; rel=preload"))))
    script = ScriptedOrigin({"/": Answer(interim=early, fields=Fields.of(("content-length", "0")))})
    origin = await start(script)
    seen: list[ResponseHead] = []
    head, _ = await origin.send(get(), on_interim=seen.append)
    assert head.status == 200
    assert tuple(seen) == early


@pytest.mark.parametrize("answer", [Answer(fields=Fields.of(("content-length", "5")), body=b"hello"), Answer()])
async def test_the_answer_to_a_head_has_no_body(start: Start, answer: Answer) -> None:
    """HEAD is answered with the fields of a GET and no content."""
    origin = await start(ScriptedOrigin({"/": answer}))
    for _ in range(2):
        head, body = await origin.send(get(method="HEAD"))
        assert head.fields.get(b"content-length") == answer.fields.get(b"content-length")
        assert body.complete == b""


@pytest.mark.parametrize(
    "make",
    [
        lambda: BytesBody(b"sent"),
        lambda: PartsBody([b"se", b"nt"], length=4),
        lambda: PartsBody([b"se", b"", b"nt"]),
    ],
    ids=["bytes", "sized", "chunked"],
)
async def test_a_request_body_arrives(start: Start, make: Callable[[], RequestBody]) -> None:
    """Content is sent whatever its framing."""
    script = ScriptedOrigin({"/": lambda received: Answer(fields=sized(received.body), body=received.body)})
    origin = await start(script)
    _, echoed = await origin.send(get(method="POST"), make())
    assert await read(echoed) == b"sent"
    assert script.received[0].body == b"sent"


async def test_a_request_arrives_as_it_is(start: Start) -> None:
    """Method, raw target and fields reach the origin untouched."""
    script = ScriptedOrigin(otherwise=Answer(status=204))
    origin = await start(script)
    request = get("/a%2fb//c?x=%41&x=", method="DELETE")
    await origin.send(request)
    assert script.received == [Received(request, b"")]


async def test_the_origin_answers_one_request_after_another(start: Start) -> None:
    """The next request meets the script's next step."""
    steps = [Answer(status=500, fields=sized(b"")), Answer(status=204)]
    script = ScriptedOrigin({"/": steps})
    origin = await start(script)
    assert [(await origin.send(get()))[0].status for _ in range(3)] == [500, 204, 204]
    assert (script.count("/"), script.count("/other"), script.count()) == (3, 0, 3)


async def test_a_body_can_be_let_go_of_early_and_twice(start: Start) -> None:
    """Closing an unread body is enough, and the next request is answered all the same."""
    script = ScriptedOrigin({"/": [Answer(parts=(b"a" * 1_000_000, b"b")), Answer(status=204)]})
    origin = await start(script)
    _, body = await origin.send(get())
    await body.aclose()
    await body.aclose()
    head, _ = await origin.send(get())
    assert head.status == 204


async def test_closing_twice_is_closing_once(start: Start) -> None:
    """``aclose`` may be called again."""
    origin = await start(ScriptedOrigin())
    await origin.aclose()
    await origin.aclose()


def sized(body: bytes) -> Fields:
    """The framing of ``body``."""
    return Fields.of(("content-length", str(len(body))))
