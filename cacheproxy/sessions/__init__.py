"""From the session cookie to an identity."""
