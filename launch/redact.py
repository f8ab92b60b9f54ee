"""Texts without the passwords and tokens of the addresses in them: the one place that knows how these look.

Standard error passes through here in every command (`launch.command`); whoever writes a config or a result asks for it.
"""

import re

#: scheme and slashes, of which a path keeps one; user:password@, where a port is no password; the rest; ?token=...
ADDRESS = re.compile(
    r"(?P<scheme>\w:/+)(?:[^/?#\s'\"]*@|[^/?#\s'\":]+:(?!\d+[/?#])[^\s'\"?#]*@)?(?P<rest>[^?\s'\"#]*)"
    r"(?:\?[^\s'\"#]*?(?=[:,;.]?(?:[\s'\"#]|$)))?"
)


def redacted(text: str) -> str:
    return ADDRESS.sub(r"\g<scheme>\g<rest>", text) if ":/" in text else text
