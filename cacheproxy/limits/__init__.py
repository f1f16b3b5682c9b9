"""Rate limits: the arithmetic, and where it counts."""
