"""``python -m cacheproxy`` is ``cacheproxy``."""

from cacheproxy.cli import main

if __name__ == "__main__":
    main()
