"""Addresses of sources as they may be shown: without users, passwords, keys and signatures, whatever form they have.

An address need not be well-formed: who forgets to escape a "/" in a password must not find it in a log. What could be a
secret is left out, even where that leaves little.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

# File systems on this machine, or in a file of another one: their addresses hold no keys, and another may follow after "::".
_HERE = "blockcache|cached|dir|file|filecache|libarchive|local|memory|reference|simplecache|tar|zip"
_CHAINED = re.compile(rf"(?:{_HERE})(?:://.*?)?::")
_LOCAL = re.compile(rf"(?:{_HERE})://")
_SHORTEST_SECRET = 3
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"<>()]+")
_QUERY = re.compile(r"\?[^\s'\"<>()]*=[^\s'\"<>()]*")


def shown_address(address: str) -> str:
    """Show an address without what may be a secret."""
    before = ""
    while link := _CHAINED.match(address):
        before, address = before + link[0], address[link.end() :]
    scheme, separator, rest = address.partition("://")
    if not separator or _LOCAL.match(address):
        return before + address
    return f"{before}{scheme}://{_place(rest)}"


def without_secrets(text: str, address: str) -> str:
    """Show what somebody says about an address without any part of it that `shown_address` leaves out."""
    shown = shown_address(address)
    hidden = _words(address) - _words(shown)
    # Other addresses in it, too: where a server leads to another one, it often signs that one's address.
    text = _QUERY.sub("", _ADDRESS.sub(lambda found: shown_address(found[0]), text.replace(address, shown)))
    for word in sorted({form(word) for word in hidden for form in (str, quote, unquote)}, key=len, reverse=True):
        text = text.replace(word, "…")
    return text


def _place(rest: str) -> str:
    """Host and path."""
    before, at, after = rest.rpartition("@")
    if at and re.search("[?#]", before):
        return "…"  # an unescaped password, or a signature with an @ in it: nobody can tell which
    place = re.split("[?#]", after)[0]
    host, _, _ = place.partition("/")
    name, colon, port = host.rpartition(":")
    if colon and not port.isdigit() and not host.endswith("]"):
        place = f"{name}:…"  # no port: a password whose host was forgotten
    return f"…@{place}" if "/" in before else place


def _words(address: str) -> set[str]:
    return {word for word in re.split("[:/@?&=#;]+", address) if len(word) >= _SHORTEST_SECRET}
