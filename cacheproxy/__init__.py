"""A caching reverse-proxy sidecar: one YAML file beside any HTTP service."""

__version__ = "0.1.0"
