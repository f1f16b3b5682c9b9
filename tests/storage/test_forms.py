"""Coded forms: each made once, kept beside its body, and gone with it."""

import asyncio
import gzip
import threading
import tracemalloc
from collections.abc import Callable
from random import Random

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantics.rules import Coding
from cacheproxy.storage import forms as forms_module
from cacheproxy.storage.compression import FOR_CLIENTS, compress
from cacheproxy.storage.contract import Entry
from cacheproxy.storage.forms import MAX_MAKING, Forms
from cacheproxy.storage.memory import MemoryStore

MakeEntry = Callable[..., Entry]
TEXT = b"All work and no play. " * 50
LARGE = TEXT * 20
DECODERS = {
    Coding.GZIP: gzip.decompress,
    Coding.BR: brotli.decompress,
    Coding.ZSTD: lambda coded: zstandard.ZstdDecompressor().decompress(coded),
}


@given(st.binary(max_size=5000), st.sampled_from(list(DECODERS)))
def test_any_client_can_read_it(body: bytes, coding: Coding) -> None:
    """What is coded comes out of each coding's own library as it went in."""
    assert DECODERS[coding](compress(body, coding, FOR_CLIENTS)) == body


def test_a_window_is_no_larger_than_browsers_take() -> None:
    """8 MB at most (RFC 9659 §3)."""
    coded = compress(Random(1).randbytes(12 << 20), Coding.ZSTD, FOR_CLIENTS)
    assert zstandard.get_frame_parameters(coded).window_size <= 8 << 20


@pytest.mark.parametrize(("body", "at_once"), [(TEXT, True), (LARGE, False)], ids=["at-once", "in-a-thread"])
@pytest.mark.parametrize("coding", DECODERS)
async def test_a_form_is_made_once(
    memory: MemoryStore, entry: MakeEntry, monkeypatch, body: bytes, coding: Coding, at_once: bool
) -> None:
    """The second client gets the very bytes that were made for the first; large ones beside the event loop."""
    memory.keep(entry(body=body))
    forms, made_by = Forms(memory), []
    monkeypatch.setattr(
        forms_module, "compress", lambda *given: made_by.append(threading.get_ident()) or compress(*given)
    )
    first, second = await forms.coded("k", body, coding), await forms.coded("k", body, coding)
    assert first is not None
    assert first is second
    assert DECODERS[coding](first) == body
    assert [at_once] == [thread == threading.get_ident() for thread in made_by]


async def test_a_herd_waits_for_one(memory: MemoryStore, entry: MakeEntry, monkeypatch) -> None:
    """However many ask at once, it is made once; and one that leaves harms nobody."""
    memory.keep(entry(body=LARGE))
    forms, made = Forms(memory), []
    monkeypatch.setattr(forms_module, "compress", lambda *given: made.append(1) or compress(*given))
    herd = [asyncio.create_task(forms.coded("k", LARGE, Coding.GZIP)) for _ in range(50)]
    await asyncio.sleep(0)
    herd[0].cancel()
    answers = await asyncio.gather(*herd[1:])
    assert (1, 1) == (len(made), len(set(map(id, answers))))
    assert herd[0].cancelled()


async def test_past_the_bound_clients_do_not_wait(memory: MemoryStore, entry: MakeEntry, monkeypatch) -> None:
    """While many forms are under way, who asks for one more gets the body as it is; and a stop waits for all."""
    forms, go = Forms(memory), threading.Event()
    monkeypatch.setattr(forms_module, "compress", lambda *given: (go.wait(10), compress(*given))[1])
    bodies = [LARGE + b"%d" % number for number in range(MAX_MAKING + 1)]
    for number, body in enumerate(bodies):
        memory.keep(entry(f"k{number}", body))
    waiting = [asyncio.create_task(forms.coded(f"k{number}", body, Coding.BR)) for number, body in enumerate(bodies)]
    assert await waiting[-1] is None
    go.set()
    await forms.aclose()
    assert all([await each for each in waiting[:-1]])


async def test_what_does_not_shrink_is_tried_once(memory: MemoryStore, entry: MakeEntry, monkeypatch) -> None:
    """Noise is given out as it is, and costs nothing the next time, nor any memory."""
    noise = Random(1).randbytes(2000)
    memory.keep(entry(body=noise))
    before = memory.used_bytes
    assert await Forms(memory).coded("k", noise, Coding.GZIP) is None
    monkeypatch.delattr(forms_module, "compress")
    assert await Forms(memory).coded("k", noise, Coding.GZIP) is None
    assert memory.used_bytes - before < 500


async def test_only_what_l1_holds_has_forms(memory: MemoryStore, entry: MakeEntry) -> None:
    """Without a place to keep it, a form would be made again for every request."""
    memory.keep(entry(body=TEXT))
    another = bytes(bytearray(TEXT))
    assert await Forms(memory).coded("other", TEXT, Coding.GZIP) is None
    assert await Forms(memory).coded("k", another, Coding.GZIP) is None


async def test_forms_count_in_l1s_bytes(memory: MemoryStore, entry: MakeEntry) -> None:
    """What is made is counted, and given back with the entry."""
    memory.keep(entry(body=TEXT))
    before = memory.used_bytes
    form = await Forms(memory).coded("k", TEXT, Coding.GZIP)
    assert form is not None
    assert len(form) < memory.used_bytes - before < len(form) + 500
    await memory.delete("k")
    assert memory._slot_bytes == 0


@pytest.mark.parametrize("coding", DECODERS)
async def test_what_is_counted_is_what_is_taken(memory: MemoryStore, entry: MakeEntry, coding: Coding) -> None:
    """The account of forms is within 5 % of the memory that Python gave out for them."""
    bodies = [TEXT + Random(number).randbytes(2000).hex().encode() for number in range(90)]
    for number, body in enumerate(bodies):
        memory.keep(entry(f"k{number}", body))
    forms, before = Forms(memory), memory.used_bytes
    await forms.coded("k0", bodies[0], coding)
    tracemalloc.start()
    try:
        for number, body in enumerate(bodies):
            await forms.coded(f"k{number}", body, coding)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken == pytest.approx(memory.used_bytes - before, rel=0.05)


async def test_a_form_may_cost_others_their_place(entry: MakeEntry, clock) -> None:
    """The bound on L1 holds with forms as without: what is asked for least goes."""
    memory = MemoryStore(40_000, clock=clock)
    memory.trust(True, epoch="e1")
    bodies = [Random(number).randbytes(2000).hex().encode() for number in range(8)]
    for number, body in enumerate(bodies):
        memory.keep(entry(f"k{number}", body))
    for number, body in enumerate(bodies):
        await Forms(memory).coded(f"k{number}", body, Coding.GZIP)
        assert memory.used_bytes <= memory.max_bytes
    assert memory.evictions > 0


async def test_a_form_outlives_revalidation_and_nothing_else(memory: MemoryStore, entry: MakeEntry) -> None:
    """A 304 keeps the body, and so its forms; another body begins without."""
    memory.keep(entry(body=TEXT))
    form = await Forms(memory).coded("k", TEXT, Coding.GZIP)
    memory.keep(entry(body=TEXT, received_at=1_763_640_050.0))
    assert memory.forms("k", TEXT) == {Coding.GZIP: form}
    memory.keep(entry(body=LARGE))
    assert memory.forms("k", LARGE) == {}
    assert memory.forms("k", TEXT) is None


async def test_a_form_that_comes_too_late_is_not_kept(memory: MemoryStore, entry: MakeEntry, monkeypatch) -> None:
    """Whoever waited gets it, though the entry was dropped meanwhile."""
    memory.keep(entry(body=LARGE))
    forms, go = Forms(memory), threading.Event()
    monkeypatch.setattr(forms_module, "compress", lambda *given: (go.wait(10), compress(*given))[1])
    waiting = asyncio.create_task(forms.coded("k", LARGE, Coding.GZIP))
    await asyncio.sleep(0)
    memory.clear()
    go.set()
    assert gzip.decompress(await waiting or b"") == LARGE
    assert (memory.used_bytes < 200, memory._slot_bytes) == (True, 0)


def test_without_a_library_its_coding_is_not_offered(memory: MemoryStore, monkeypatch) -> None:
    """The others are, and gzip always is."""
    monkeypatch.setattr("cacheproxy.storage.compression._is_here", lambda library: library != "brotli")
    assert (Coding.ZSTD, Coding.GZIP) == Forms(memory).offered((Coding.ZSTD, Coding.BR, Coding.GZIP))
