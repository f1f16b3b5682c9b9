"""What an upstream service imports: publish, purge, tag, lock, sessions."""
