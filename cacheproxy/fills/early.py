"""When to refresh a hot response before it goes stale, so that its lifetime never ends for everybody at once."""

import math

_RAREST = 1e-4
"""Chances below this are none."""


def refreshes_early(*, fresh_for_s: float, fill_s: float, draw: float, beta: float = 1.0) -> bool:
    """Whether this request should refresh what is fresh for ``fresh_for_s`` more and took ``fill_s`` to fill.

    XFetch (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention, VLDB 2015): with
    ``draw`` uniform in [0, 1) each request decides by itself, and one of many does so about ``fill_s`` early.
    ``beta`` above 1 favours earlier refreshes; at 0 there are none before the end.
    """
    early_s = fill_s * beta * -math.log(1.0 - draw)  # 1 - draw is never 0
    return early_s >= fresh_for_s


def early_window_s(*, fill_s: float, beta: float = 1.0) -> float:
    """How long before the end of a lifetime the chance of an early refresh begins to be worth a thought."""
    return fill_s * beta * -math.log(_RAREST)
