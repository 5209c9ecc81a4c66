"""Settings of a server: which memories it serves, where, to whom, and how much at once."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from memgpt_rag.limits import MOST_BODY_BYTES, MOST_NEW_TOKENS, MOST_UPLOAD_BYTES, require_between

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class ServerSettings:
    """How a server works.

    Attributes:
        memories: name → folder, the default one first.
        host, port: where it listens.
        public_url: what stands before "/view/…" in citations; empty for the address that a request came to.
        files: folder of uploaded files and of the memories made from them; None to take no uploads.
        conversations: folder of the conversations that are remembered; None to remember none.
        max_rows: answers that are generated at once.
        max_waiting: requests that wait for their turn; more of them get status 429.
        deadline_seconds: longest time that a request may take, waiting included.
        max_new_tokens: longest answer that may be asked for.
        max_body_bytes, max_upload_bytes: of a request's JSON, and of an uploaded file.
        body_seconds: longest time that the body of a request may take to arrive.
        page: whether the page for people is served at "/".
        refresh_seconds: how often to look for new versions of the memories.

    Raises:
        ValueError: a number out of bounds.
    """

    memories: Mapping[str, Path]
    host: str = "127.0.0.1"
    port: int = 8000
    public_url: str = ""
    files: Path | None = None
    conversations: Path | None = None
    max_rows: int = 8
    max_waiting: int = 64
    deadline_seconds: float = 120.0
    max_new_tokens: int = MOST_NEW_TOKENS
    max_body_bytes: int = MOST_BODY_BYTES
    max_upload_bytes: int = MOST_UPLOAD_BYTES
    body_seconds: float = 60.0
    page: bool = True
    refresh_seconds: float = 1.0
    index_arguments: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        require_between("max_rows", self.max_rows, 1, 256)
        require_between("max_waiting", self.max_waiting, 1, 100_000)
        require_between("max_new_tokens", self.max_new_tokens, 1, MOST_NEW_TOKENS)

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine can reach the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine itself."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def named_memories(given: Sequence[str]) -> dict[str, Path]:
    """Return the folders of memories by their names, from arguments such as DIR and NAME=DIR.

    Raises:
        ValueError: a name that cannot stand in an address, or two memories of one name.
    """
    named: dict[str, Path] = {}
    for one in given:
        name, equals, folder = one.partition("=")
        if not equals or "/" in name:
            name, folder = Path(one).resolve().name, one
        if not NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} cannot be the name of a memory: letters, digits, '.', '_' and '-' can; name it as NAME={folder}."
            )
        if name in named:
            raise ValueError(f"Two memories are called {name!r}; give each a name: --memory NAME=DIR.")
        named[name] = Path(folder)
    return named
