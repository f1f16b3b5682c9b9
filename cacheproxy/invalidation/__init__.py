"""Purges: the tag clock, the bus between replicas, and what an event means."""
