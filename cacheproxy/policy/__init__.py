"""YAML text to checked, compiled routes. No files, no environment."""
