"""Who may read and write which memory: bearer keys from a file or the environment, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memgpt_rag.io.json_file import read_json
from memgpt_rag.serving.api_errors import ApiError

ENVIRONMENT = "MEMGPT_RAG_API_KEY"
_ALL = "*"
_MOST_BYTES = 2**20
_LEAST_CHARACTERS = 16


@dataclass(frozen=True)
class Access:
    """What one client may do.

    Attributes:
        name: of its key, for logs; never the key itself.
        read, write: names of memories; "*" stands for all of them.
    """

    name: str
    read: frozenset[str]
    write: frozenset[str]

    def reads(self, memory: str) -> bool:
        """Return whether it may search a memory, ask it, and see its documents."""
        return bool({_ALL, memory} & (self.read | self.write))

    def writes(self, memory: str) -> bool:
        """Return whether it may change a memory."""
        return bool({_ALL, memory} & self.write)

    @property
    def creates(self) -> bool:
        """Whether it may create memories and upload files."""
        return _ALL in self.write


EVERYTHING = Access("nobody", frozenset({_ALL}), frozenset({_ALL}))
NOTHING = Access("nobody", frozenset(), frozenset())


class Keys:
    """The bearer keys of a server; without any, every client may do everything.

    Args:
        access: what the holder of each key may do, by the SHA-256 of the key.
    """

    def __init__(self, access: Mapping[bytes, Access]):
        self._access = dict(access)

    def __bool__(self) -> bool:
        return bool(self._access)

    @property
    def secret(self) -> bytes | None:
        """Return what signs addresses: the same wherever the keys are the same; None without keys."""
        if not self._access:
            return None
        return hashlib.sha256(b"addresses" + b"".join(sorted(self._access))).digest()

    def access(self, authorization: str | None) -> Access:
        """Return what the client with this header may do.

        Raises:
            ApiError: 401 without a key, or with an unknown one.
        """
        if not self._access:
            return EVERYTHING
        kind, _, key = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not key.strip():
            raise ApiError(401, "No key was given; send the header Authorization: Bearer KEY.", code="missing_api_key")
        digest = _digest(key.strip())
        found = None
        for known, access in self._access.items():  # all of them, so that the time tells nothing
            if hmac.compare_digest(known, digest):
                found = access
        if found is None:
            raise ApiError(401, "The key is not one of this server's; see to your key.", code="invalid_api_key")
        return found


def load_keys(file: Path | None) -> Keys:
    """Load the keys of a file, and the one that the environment names, which may do everything.

    The file is a JSON list such as [{"key": "…", "name": "reader", "read": ["manuals"], "write": []}].

    Raises:
        ValueError: the file is not of this form, or a key is too short or occurs twice.
        OSError: it cannot be read.
    """
    access: dict[bytes, Access] = {}
    if (alone := os.environ.get(ENVIRONMENT)) is not None:
        access[_digest(_checked(alone, ENVIRONMENT))] = Access("environment", frozenset({_ALL}), frozenset({_ALL}))
    if file is not None:
        try:
            entries = read_json(file, max_bytes=_MOST_BYTES)
        except ValueError as error:
            raise ValueError(f"{file} is no file of keys ({error}).") from None
        if not isinstance(entries, list) or not entries:
            raise ValueError(f"{file} holds no list of keys; see memgpt-rag serve --help.")
        for number, entry in enumerate(entries, 1):
            digest, one = _entry(entry, number, file)
            if digest in access:
                raise ValueError(f"Key {number} in {file} occurs twice; give each client a key of its own.")
            access[digest] = one
    return Keys(access)


def _entry(entry: Any, number: int, file: Path) -> tuple[bytes, Access]:
    where = f"Key {number} in {file}"
    if not isinstance(entry, dict) or (unknown := entry.keys() - {"key", "name", "read", "write"}):
        found = f"has the field {min(unknown)!r}" if isinstance(entry, dict) else "is no object"
        raise ValueError(f'{where} {found}; expected "key", "name", "read" and "write".')
    name = entry.get("name", f"key {number}")
    if not isinstance(name, str):
        raise ValueError(f"{where} has a name that is no text.")
    names = {}
    for right in ("read", "write"):
        listed = entry.get(right, [])
        if not _is_names(listed):
            raise ValueError(
                f'{where} has no list of memories in {right!r}; expected one such as ["manuals"] or ["*"].'
            )
        names[right] = frozenset(listed)
    return _digest(_checked(entry.get("key"), where)), Access(name, names["read"], names["write"])


def _is_names(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(one, str) for one in value)


def _checked(key: Any, where: str) -> str:
    """Return a key. No message quotes it."""
    if not isinstance(key, str) or len(key.strip()) < _LEAST_CHARACTERS:
        raise ValueError(f"{where} is no key of at least {_LEAST_CHARACTERS} characters; make a longer one.")
    return key.strip()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
