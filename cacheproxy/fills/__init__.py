"""One fill per key: in this process (flight) and among all replicas (lease)."""
