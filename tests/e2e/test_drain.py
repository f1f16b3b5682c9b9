"""A stop under load: clients that keep their connections lose no request to it. Real processes."""

import http.client
import signal
import threading
from contextlib import suppress

import pytest

from .conftest import Sidecar

pytestmark = pytest.mark.e2e


def connection(sidecar: Sidecar) -> http.client.HTTPConnection:
    """A client's connection, which it keeps."""
    return http.client.HTTPConnection(sidecar.url.removeprefix("http://"), timeout=10)


def ask(kept: http.client.HTTPConnection) -> http.client.HTTPResponse:
    """One request on ``kept``, answered in full."""
    kept.request("GET", "/items/kept")
    answer = kept.getresponse()
    answer.read()
    return answer


def ended(sidecar: Sidecar) -> int:
    """The status with which it ended."""
    assert sidecar.popen is not None
    return sidecar.popen.wait(10)


def test_a_stop_loses_no_request_of_those_who_keep_connections(sidecars) -> None:
    """Each is told with an answer that its connection is closed; who then connects again is refused, and not reset."""
    (one,) = sidecars(1, "none")
    answered, failed = [], []
    warm = threading.Barrier(17)

    def client() -> None:
        kept = connection(one)
        with suppress(ConnectionRefusedError):
            answered.append(ask(kept).status)
            warm.wait()
            while True:
                try:
                    answered.append(ask(kept).status)
                except ConnectionRefusedError:
                    raise
                except (OSError, http.client.HTTPException) as error:
                    failed.append(repr(error))
                    kept.close()
        kept.close()

    clients = [threading.Thread(target=client) for _ in range(16)]
    for each in clients:
        each.start()
    warm.wait()
    one.send(signal.SIGTERM)
    for each in clients:
        each.join()
    assert (ended(one), failed, set(answered)) == (0, [], {200})


def test_a_request_that_crosses_the_close_is_answered(sidecars) -> None:
    """A connection that was idle when the stop came has a moment left, and the answer says that it was the last."""
    (one,) = sidecars(1, "none")
    idle = connection(one)
    assert ask(idle).getheader("connection") is None
    one.send(signal.SIGTERM)
    while b'"draining"' not in one.log.read_bytes():
        assert one.popen is not None
        assert one.popen.poll() is None
    answer = ask(idle)
    assert (answer.status, answer.getheader("connection")) == (200, "close")
    assert ended(one) == 0
