"""structlog without rich, which it would load for tracebacks in colour that we never print: 4 MB, and 20 ms."""

import sys

_hidden = sys.modules.setdefault("rich", None) is None  # type: ignore[arg-type]

import structlog  # noqa: E402

if _hidden:
    del sys.modules["rich"]

__all__ = ["structlog"]
