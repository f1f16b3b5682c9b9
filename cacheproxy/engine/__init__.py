"""The request's way: the only place where a decision meets I/O."""
