"""How much of a response is taken in before it counts as malformed: fixed, as no origin has a use for more."""

MAX_HEAD_BYTES = 64 * 1024
MAX_FIELDS = 256
MAX_INTERIM = 32
"""Interim responses before the final one."""
MAX_EXTENSION_BYTES = 4096
"""Of the extensions of one chunk, which are read and forgotten."""
HELD_BODY_BYTES = 16 * 1024
"""A sized body up to this is handed over with its head, so that its breaking off is a clean 502."""
HIGH_WATER_BYTES = 64 * 1024
"""Unread bytes of a body that are always held; beyond them reading from the origin pauses, or memory is borrowed."""
AHEAD_BYTES = 1024 * 1024
"""Unread bytes of a body beyond which reading pauses in any case."""
ALL_AHEAD_BYTES = 64 * 1024 * 1024
"""What all bodies together may borrow."""
CONTINUE_WAIT_S = 1.0
"""How long a body waits for 100 (Continue) before it is sent unasked (RFC 9110 §10.1.1)."""
