"""What a repeated answer hangs on beside the store: a session, and limits. Asked by the means of the ordinary way."""

import asyncio
from collections.abc import Sequence

from cacheproxy.engine.admission import Admission
from cacheproxy.limits.contract import Admitted, Asked, Check, Limited
from cacheproxy.redis_link.contract import Budget
from cacheproxy.sessions.contract import Session, Sessions


class Gate:
    """Stands at the express lane. It has no rules of its own."""

    def __init__(self, sessions: Sessions, admission: Admission, budget_s: float) -> None:
        """``budget_s`` is a request's total time for shared state."""
        self._sessions = sessions
        self._admission = admission
        self._budget_s = budget_s

    def knows(self, session: Session | None) -> bool:
        """Whether ``session`` is still what its cookie stands for, without asking; nobody's session always is."""
        return session is None or self._sessions.peek(session.id) is session

    def admit_now(self, rates: Sequence[Check]) -> Admitted | None:
        """Admitted and counted, where that needs no waiting; else None."""
        return self._admission.admit_now(rates)

    def refusal_now(self, rates: Sequence[Check]) -> Limited | None:
        """The refusal, where that is certain without waiting; else None."""
        return self._admission.refusal_now(rates)

    async def ask(self, rates: tuple[Check, ...]) -> Asked:
        """What the limits say, counted; to be noted by ``note``, or handed to the ordinary way."""
        deadline = asyncio.get_running_loop().time() + self._budget_s
        return Asked(rates, await self._admission.ask(rates, Budget(deadline)))

    def note(self, asked: Asked) -> None:
        """Note that a request was answered so."""
        self._admission.note(asked.checks, asked.verdict)
