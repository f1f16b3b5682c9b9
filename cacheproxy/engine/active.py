"""The policy in force, compiled."""

from functools import lru_cache

from cacheproxy.policy.route import Policy
from cacheproxy.policy.router import Router


class Active:
    """The policy in force. A reload replaces it whole; a request keeps the one it began with."""

    __slots__ = ("match", "policy", "router")

    def __init__(self, policy: Policy, router: Router) -> None:
        """Route by ``router``, remembering the latest."""
        self.policy = policy
        self.router = router
        self.match = lru_cache(maxsize=2048)(router.match)
        """``Router.match``: a pure function, and most requests are for few targets."""
