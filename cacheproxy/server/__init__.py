"""The edge: connections from clients."""
