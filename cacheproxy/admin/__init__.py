"""Health, metrics and the operator's API, on a port of their own."""
