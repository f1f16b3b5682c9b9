"""The sample article service that the demo puts the sidecar in front of."""
