"""The memories that a server serves: opened once, exchanged for their new versions, each with the models that read it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from memgpt_rag.encoders.base import Encoder
from memgpt_rag.errors import MemgptRagError, MemoryFormatError, MismatchError
from memgpt_rag.memory import Memory, list_versions
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Retrieved, Retriever, Search
from memgpt_rag.serving.access import Access
from memgpt_rag.serving.api_errors import ApiError, api_error
from memgpt_rag.serving.log import log_event


@dataclass(frozen=True)
class ServedMemory:
    """A version of a memory, opened, with the models that search and read it.

    Attributes:
        search: how it is searched unless a request says otherwise.
    """

    name: str
    folder: Path
    memory: Memory
    rag: RAG
    search: Search

    @property
    def version(self) -> int:
        """Return the number of its version."""
        return self.memory.manifest.commit

    @contextmanager
    def named(self) -> Iterator[None]:
        """Report what the library refuses inside the block with the name of the memory, not with its folder.

        Raises:
            ApiError: it refuses something.
        """
        try:
            yield
        except (MemgptRagError, ValueError) as error:
            fault = api_error(error)
            raise ApiError(fault.status, _with_name(fault.message, self.name, self.folder)) from error


@dataclass(frozen=True)
class Models:
    """The models of a server, shared by its memories.

    Attributes:
        decoder: the language model; used by the engine's thread only.
        open_encoder: loads the encoder of a memory, or returns it where it is loaded.
        search: how entries are searched unless a request says otherwise.
        states_folder: where states are kept that were computed; None to keep none.
    """

    decoder: MemoryDecoder
    open_encoder: Callable[[Memory], Encoder]
    search: Search = Search()
    states_folder: Path | None = None

    def rag(self, memory: Memory) -> RAG:
        """Return what answers from a memory."""
        rag = RAG(memory, self.open_encoder(memory), self.decoder, states_folder=self.states_folder)
        # A search is checked where it is asked for: one memory without an index or sparse vectors is no reason not to serve it.
        for search in (self.search, replace(self.search, sparse_encoder=None)):
            with suppress(MemoryFormatError, MismatchError):
                rag.retriever.search = search
                break
        return rag


class Memories:
    """The memories by name.

    A memory that is damaged or gone is reported with the sentence about it until it can be opened again; the others go on.

    Attributes:
        lock: held while an encoder embeds; tokenizers do not serve two threads at once.
    """

    def __init__(self, models: Models, folders: Mapping[str, Path]):
        self.models = models
        self.lock = threading.Lock()
        self._folders = dict(folders)
        self._opened: dict[str, ServedMemory] = {}
        self._faults: dict[str, Exception] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._folders))

    @property
    def default(self) -> str | None:
        """Return the name of the memory that answers where none is named."""
        return next(iter(self._folders), None)

    @property
    def faults(self) -> dict[str, Exception]:
        """Return the memories that cannot be opened, with the reason."""
        return dict(self._faults)

    def folder(self, name: str) -> Path:
        """Return the folder of a memory."""
        return self._folders[name]

    def get(self, name: str, access: Access) -> ServedMemory:
        """Return a memory as it is now.

        Raises:
            ApiError: 404 where there is none that this client may read, 503 where it cannot be opened.
        """
        if name not in self._folders or not access.reads(name):
            raise ApiError(404, f"There is no memory {name[:80]!r} here that you may read.", code="memory_not_found")
        if name in self._faults:
            sentence = _with_name(str(self._faults[name]), name, self._folders[name])
            raise ApiError(503, sentence, code="memory_unavailable", retry_after=5)
        if name not in self._opened:
            raise ApiError(503, f"The memory {name!r} has no entries yet.", code="memory_empty", retry_after=5)
        return self._opened[name]

    def opened(self, name: str) -> ServedMemory | None:
        """Return a memory if it is open."""
        return self._opened.get(name)

    def add(self, name: str, folder: Path) -> None:
        """Serve another memory from now on; it is opened when it is looked at."""
        self._folders[name] = folder

    def remove(self, name: str) -> None:
        """Serve a memory no more; requests that have begun keep it open."""
        for kept in (self._folders, self._opened, self._faults):
            kept.pop(name, None)

    def folder_bytes(self, name: str) -> int:
        """Return how many bytes a memory takes on disk; 0 where it holds nothing."""
        opened = self._opened.get(name)
        segments = () if opened is None else opened.memory.manifest.segments
        return sum(file.bytes for segment in segments for file in segment.files.values())

    def empty(self, name: str) -> None:
        """Note that a memory holds nothing now."""
        self._opened.pop(name, None)
        self._faults.pop(name, None)

    def is_stale(self, name: str) -> bool:
        """Whether the folder of a memory holds another version than the one that is open, or cannot be read any more."""
        folder, opened = self._folders.get(name), self._opened.get(name)
        if folder is None or name in self._faults:
            return folder is not None
        try:
            if opened is None:
                return bool(list_versions(folder))
            return not opened.memory.is_current()
        except (MemgptRagError, OSError):
            return opened is not None  # what was never open may be on its way

    def open(self, name: str) -> None:
        """Open the present version of a memory. The engine's thread calls this, since it uses the language model."""
        folder = self._folders.get(name)
        if folder is None:
            return
        try:
            memory = Memory.open(folder)
            rag = self.models.rag(memory)
            opened = ServedMemory(name, folder, memory, rag, rag.retriever.search)
        except Exception as error:
            if name not in self._opened and not folder.exists():  # it was emptied in the meantime
                self._faults.pop(name, None)
                return
            if str(self._faults.get(name)) != str(error):
                log_event("memory_unavailable", memory=name, reason=type(error).__name__)
            self._faults[name] = error
            return
        if name in self._folders:
            self._opened[name] = opened
            self._faults.pop(name, None)
            log_event("memory_opened", memory=name, version=opened.version, entries=len(memory))

    def memory_search(self, served: ServedMemory, kind: str | None) -> Search:
        """Return the search settings for a request.

        Args:
            kind: of the search; None for the server's own.

        Raises:
            ApiError: 400 where the memory has no index for it, or no sparse vectors of the server's sparse encoder.
        """
        search = served.search if kind is None else search_with(self.models.search, kind)
        if search.kind in ("bm25", "hybrid") and served.memory.manifest.words is None:
            raise ApiError(
                400,
                f"The memory {served.name!r} has no lexical index, which the search {search.kind!r} needs; "
                "memgpt-index lexical adds one.",
                param="memory.search",
            )
        try:
            return search.resolved(served.memory)
        except MemgptRagError as error:
            sentence = str(error).replace(str(served.folder), served.name).rstrip(".")
            raise ApiError(400, f"{sentence}.", param="memory.search") from error

    def retrieve(self, served: ServedMemory, query: str, k: int, where: str | None, search: Search) -> list[Retrieved]:
        """Search a memory, in the calling thread."""
        encoder = served.rag.retriever.encoder
        with self.lock:
            return Retriever(served.memory, encoder, search).retrieve([query], k, where=where)[0]


def _with_name(sentence: str, name: str, folder: Path) -> str:
    """A sentence about a memory for clients, who know it by its name."""
    return sentence.replace(str(folder), f"memory {name}")


def search_with(search: Search, kind: str) -> Search:
    """Return search settings of another kind."""
    return replace(search, kind=kind)  # type: ignore[arg-type]  # the request was checked
