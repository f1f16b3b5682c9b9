"""Lua scripts, which live in ``.lua`` files beside the code that runs them."""

import hashlib
from importlib import resources

from cacheproxy.redis_link.contract import Script


def load_script(package: str, name: str) -> Script:
    """The script ``name.lua`` of ``package``."""
    return script(name, resources.files(package).joinpath(f"{name}.lua").read_text("utf-8"))


def script(name: str, source: str) -> Script:
    """A script from its source text, with the SHA-1 that EVALSHA knows it by."""
    sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(name, source, sha)
