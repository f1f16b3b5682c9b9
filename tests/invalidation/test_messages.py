"""What is said on the bus is read, or is none of ours."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.invalidation.contract import Applied, PurgeMode
from cacheproxy.invalidation.messages import AckSaid, BeatSaid, EventRecord, OtherSaid, PurgeRecord, read, read_record

PURGE = {"kind": "purge", "epoch": "e", "at": "7", "after": "5", "mode": "soft", "tags": ["a"], "waiter": "w"}
EVENT = {"kind": "event", "epoch": "e", "at": "7", "after": "5", "event": '{"type": "käse"}'}
BEAT = {"kind": "beat", "replica": "r", "number": "1", "epoch": "e", "at": "9", "base": "2", "last": "7"}
ACK = {"kind": "ack", "waiter": "w", "replica": "r"}

APPLIED = Applied(epoch="e", at_us=7, tags=("a",), mode=PurgeMode.SOFT)


@pytest.mark.parametrize(
    ("said", "value"),
    [
        (PURGE, PurgeRecord(applied=APPLIED, after_us=5, waiter="w")),
        (EVENT, EventRecord(epoch="e", at_us=7, after_us=5, payload='{"type": "käse"}'.encode())),
        (BEAT, BeatSaid(replica="r", number=1, epoch="e", at_us=9, base_us=2, last_us=7)),
        (ACK, AckSaid("w", "r")),
        ({"kind": "wake", "token": "t"}, OtherSaid("wake", {"kind": "wake", "token": "t"})),
    ],
)
def test_each_kind_is_read(said, value):
    """Purges and events are records; the rest is only said."""
    payload = json.dumps(said).encode()
    assert read(payload) == value
    assert read_record(payload) == (value if said in (PURGE, EVENT) else None)


@pytest.mark.parametrize("said", [PURGE, EVENT, BEAT, ACK])
def test_a_message_that_lacks_something_is_none_of_ours(said):
    """Each member is needed, except whom to tell."""
    for name in said.keys() - {"waiter"} if said is PURGE else said.keys():
        assert read(json.dumps({**said, name: None}).encode()) is None or name == "kind"
        assert read(json.dumps({key: value for key, value in said.items() if key != name}).encode()) is None


@given(
    st.binary()
    | st.recursive(st.none() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_nothing_makes_it_raise(payload):
    """Anybody may publish anything on the bus's channel."""
    read(payload)
