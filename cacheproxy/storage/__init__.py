"""Stored responses: the entry, its coding, and where it is kept."""
