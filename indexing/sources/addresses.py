"""Addresses of sources for display: without users, passwords, keys and signatures in any form.

An address may be malformed: a password with an unescaped "/" must not appear in a log. Everything that could be a secret is
left out, even if little remains.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

# File systems on this machine, or inside a file of another one: their addresses contain no keys, but others may follow "::".
_HERE = "blockcache|cached|dir|file|filecache|libarchive|local|memory|reference|simplecache|tar|zip"
_CHAINED = re.compile(rf"(?:{_HERE})(?:://.*?)?::")
_LOCAL = re.compile(rf"(?:{_HERE})://")
_SHORTEST_SECRET = 3
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"<>()]+")
_QUERY = re.compile(r"\?[^\s'\"<>()]*=[^\s'\"<>()]*")


def shown_address(address: str) -> str:
    """Return an address without anything that may be a secret."""
    before = ""
    while link := _CHAINED.match(address):
        before, address = before + link[0], address[link.end() :]
    scheme, separator, rest = address.partition("://")
    if not separator or _LOCAL.match(address):
        return before + address
    return f"{before}{scheme}://{_place(rest)}"


def without_secrets(text: str, address: str) -> str:
    """Return a message about an address without the parts of the address that `shown_address` leaves out."""
    shown = shown_address(address)
    hidden = _words(address) - _words(shown)
    # Other addresses in the message, too: a redirect often has a signed address.
    text = _QUERY.sub("", _ADDRESS.sub(lambda found: shown_address(found[0]), text.replace(address, shown)))
    for word in sorted({form(word) for word in hidden for form in (str, quote, unquote)}, key=len, reverse=True):
        text = text.replace(word, "…")
    return text


def _place(rest: str) -> str:
    """Return host and path."""
    before, at, after = rest.rpartition("@")
    if at and re.search("[?#]", before):
        return "…"  # either an unescaped password, or a signature that contains an @
    place = re.split("[?#]", after)[0]
    host, _, _ = place.partition("/")
    name, colon, port = host.rpartition(":")
    if colon and not port.isdigit() and not host.endswith("]"):
        place = f"{name}:…"  # not a port, so a password without a host
    return f"…@{place}" if "/" in before else place


def _words(address: str) -> set[str]:
    return {word for word in re.split("[:/@?&=#;]+", address) if len(word) >= _SHORTEST_SECRET}
