"""Connections to the origin."""
