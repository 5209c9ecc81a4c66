"""Conversations that are remembered: each has a memory of its own, whose entries are its finished turns.

A turn is on disk before its answer is reported as finished. Conversations belong to the name of the client's key and the `user` of
the request; folders are named by a digest of these and the conversation's id, so that no name of a client becomes a path.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from itertools import zip_longest
from pathlib import Path
from typing import Any

from memgpt_rag.answering.dialogue import Turn
from memgpt_rag.answering.judge import declines
from memgpt_rag.choices import ColumnType
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.io.json_file import read_json, replace_json
from memgpt_rag.memory import Memory, expire
from memgpt_rag.memory.changes import append_entries, compact
from memgpt_rag.passage import Passage
from memgpt_rag.retrieval.retriever import Retrieved, Retriever
from memgpt_rag.serving.access import Access
from memgpt_rag.serving.api_errors import ApiError

TURN = "turn"  # the unit of a turn's place
RECENT_TURNS = 2  # stand before the question as text; older ones are found by search
_MOST_CONVERSATIONS = 100_000
_MOST_OPEN = 32  # memories of conversations; others are opened again when they go on
_MOST_RECORD_BYTES = 2**16
_COMPACT_EVERY = 16  # turns: each is a segment of the memory until then
_RECORD, _MEMORY = "conversation.json", "memory"
_COLUMNS: dict[str, ColumnType] = {"question": "string", "answer": "string", "created_at": "integer", "about": "string"}


class _OpenMemories:
    """The memories that were used last, kept open in their present version; the one that was not used for longest is dropped."""

    def __init__(self) -> None:
        self._memories: OrderedDict[Path, Memory] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, folder: Path) -> Memory:
        with self._lock:
            memory = self._memories.pop(folder, None)
            if memory is None or not memory.is_current():
                memory = Memory.open(folder)
            self._memories[folder] = memory
            if len(self._memories) > _MOST_OPEN:
                self._memories.popitem(last=False)
            return memory

    def drop(self, folder: Path) -> None:
        with self._lock:
            self._memories.pop(folder, None)


@dataclass
class Conversation:
    """A conversation, and the folder of its memory.

    Attributes:
        owner: name of the key that began it.
        user: who speaks, as the requests say; empty where they do not.
        forgotten: whether it was deleted, so that an answer on its way is not kept.
    """

    id: str
    owner: str
    user: str
    created_at: int
    folder: Path = field(repr=False)
    opened: _OpenMemories = field(repr=False)
    metadata: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    forgotten: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the conversation as OpenAI's clients read it."""
        return {
            "id": self.id,
            "object": "conversation",
            "created_at": self.created_at,
            "metadata": self.metadata,
            "user": self.user,
        }

    def memory(self) -> Memory | None:
        """Return the present version of its memory; None before its first turn has ended."""
        return self.opened.get(self.folder / _MEMORY) if (self.folder / _MEMORY).exists() else None

    def turns(self) -> list[Passage]:
        """Return the turns as entries, the first one first."""
        memory = self.memory()
        return [] if memory is None else memory.passages(memory.rows())

    def recent(self) -> list[Turn]:
        """Return the turns that stand before the next question as text."""
        memory = self.memory()
        return [] if memory is None else list(map(stored_turn, memory.passages(memory.rows()[-RECENT_TURNS:])))

    def recalled(self, queries: Sequence[str], encoder: Encoder, known: Sequence[str], most: int) -> list[Retrieved]:
        """Search the turns.

        The best turn of each query comes first, then the second of each, and so on. By score alone, the query that holds the last turns
        would leave no place for a turn of long ago that the question alone finds.

        Args:
            queries: what to search for, the question alone first; the best score of a turn counts.
            encoder: of the memory that the question is asked to.
            known: questions of turns that the language model reads anyway.
            most: number of turns.

        Returns:
            The turns, with rows below 0: they are in no memory that is served.

        Raises:
            MismatchError: an encoder embedded the turns that is not this one.
        """
        memory = self.memory()
        if memory is None or most < 1:
            return []
        found = (
            [entry for entry in entries if stored_turn(entry.passage).question not in known]
            for entries in Retriever(memory, encoder).retrieve(list(queries), most + len(known))
        )
        best: dict[int, Retrieved] = {}
        for entry in (one for place in zip_longest(*found) for one in place if one is not None):
            best[entry.row] = max(best.get(entry.row, entry), entry, key=lambda one: one.normalized_score)
        return [replace(entry, row=-1 - entry.row) for entry in list(best.values())[:most]]

    def add(self, turn: Turn, about: str, encoder: Encoder) -> None:
        """Add a finished turn; it is on disk when this returns.

        Args:
            about: name of the memory that answered.
        """
        with self.lock:
            if self.forgotten:
                return
            memory = self.memory()
            number = 1 if memory is None else memory.passages(memory.rows()[-1:])[0].first + 1
            entry = _entry(self.id, turn, about, number)
            folder = self.folder / _MEMORY
            if memory is None:
                Memory.create(folder, [entry], encoder, metadata=_COLUMNS)
            elif append_entries(folder, [entry], encoder, job=TURN).commit % _COMPACT_EVERY == 0:
                compact(folder)
                expire(folder, 1)


class Conversations:
    """The conversations in a folder.

    Args:
        folder: it is created.

    Raises:
        OSError: it cannot be.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock, self._opened = threading.Lock(), _OpenMemories()
        self._known: dict[str, Conversation] = {}
        for left in folder.glob("deleted-*"):  # of a server that ended meanwhile
            shutil.rmtree(left, ignore_errors=True)
        for record in sorted(folder.glob(f"*/{_RECORD}")):
            value = read_json(record, max_bytes=_MOST_RECORD_BYTES)
            self._known[record.parent.name] = Conversation(**value, folder=record.parent, opened=self._opened)

    def all(self, access: Access, user: str) -> list[Conversation]:
        """Return the conversations of a client and a user, the newest first."""
        own = [one for one in list(self._known.values()) if (one.owner, one.user) == (access.name, user)]
        return sorted(own, key=lambda one: (one.created_at, one.id), reverse=True)

    def get(self, id: str, access: Access, user: str) -> Conversation:
        """Return a conversation.

        Raises:
            ApiError: 404 where this client and user have none of this id.
        """
        found = self._known.get(_digest(access.name, user, id))
        if found is None:
            raise ApiError(404, f"There is no conversation {id[:80]!r} of yours.", code="conversation_not_found")
        return found

    def begun(self, id: str, access: Access, user: str, metadata: dict[str, str] | None = None) -> Conversation:
        """Return a conversation, a new one where there is none of this id.

        Raises:
            ApiError: 403 where the server keeps as many as it may.
        """
        name = _digest(access.name, user, id)
        with self._lock:
            if name not in self._known:
                if len(self._known) >= _MOST_CONVERSATIONS:
                    raise ApiError(
                        403,
                        f"The server keeps {len(self._known):,} conversations already; delete some.",
                        code="too_many",
                    )
                begun = int(time.time())
                new = Conversation(id, access.name, user, begun, self._folder / name, self._opened, metadata or {})
                record = {
                    "id": id,
                    "owner": new.owner,
                    "user": user,
                    "created_at": new.created_at,
                    "metadata": new.metadata,
                }
                replace_json(new.folder / _RECORD, record)
                self._known[name] = new
            return self._known[name]

    def forget(self, conversation: Conversation) -> None:
        """Remove a conversation with all of its turns."""
        with self._lock, conversation.lock:
            if conversation.forgotten:
                return
            self._known.pop(conversation.folder.name, None)
            conversation.forgotten = True
            self._opened.drop(conversation.folder / _MEMORY)
            gone = self._folder / f"deleted-{secrets.token_hex(8)}"
            conversation.folder.rename(gone)  # in one step: after a crash it is gone, too
            shutil.rmtree(gone, ignore_errors=True)


def stored_turn(passage: Passage) -> Turn:
    """Return the turn that an entry of a conversation is."""
    return Turn(str(passage.metadata["question"]), str(passage.metadata["answer"]))


def joined(found: Sequence[Retrieved], recalled: Sequence[Retrieved], k: int) -> list[Retrieved]:
    """Return entries of a memory and turns of a conversation as one ranking, with at most so many turns that half of k is left.

    A turn is read where it scores better than the last of the k entries. Scores of different memories are compared by
    `normalized_score`.
    """
    turns = list(recalled)[: max(1, k // 2)]
    return sorted([*found, *turns], key=lambda entry: -entry.normalized_score)


def _entry(id: str, turn: Turn, about: str, number: int) -> Passage:
    """Return a turn as an entry. An answer that says nothing is left out of its text: it would speak for the next one."""
    says = turn.answer.strip() and not declines(turn.answer)
    text, now = f"{turn.question} — {turn.answer}" if says else turn.question, time.time()
    metadata = {"question": turn.question, "answer": turn.answer, "created_at": int(now), "about": about}
    title = datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return Passage(
        f"{TURN}-{number}-{digest}", text, title, f"conversation/{id}", "", TURN, number, number, 0, len(text), metadata
    )


def _digest(owner: str, user: str, id: str) -> str:
    return hashlib.sha256(json.dumps([owner, user, id]).encode()).hexdigest()[:40]
