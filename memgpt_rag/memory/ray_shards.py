"""A memory opened by an actor of a Ray cluster: one shard of `memgpt_rag.memory.Shards`."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from jaxtyping import Float, Int

from memgpt_rag.errors import ClusterError, MemgptRagError, MissingPackageError
from memgpt_rag.memory import Candidates, Manifest, Memory, SearchResult, Shards, SparseQueries, TermStatistics
from memgpt_rag.passage import Passage
from memgpt_rag.state_codes import Codes

_PATIENCE_SECONDS = 10
_HERE = "this machine"


class RayShard:
    """A memory opened by a Ray actor, with the methods of `Memory`, whose errors become `ClusterError`.

    Args:
        folder: of the memory, on the machine of the actor.
        resources: that its machine must have, such as {"shard-3": 1}, so that the actor is where the folder is.
    """

    def __init__(self, folder: str | Path, *, resources: dict[str, float] | None = None):
        import ray

        self._actor = ray.remote(_Shard).options(num_cpus=0, resources=resources).remote(str(folder))
        self.path = Path(folder)
        self.manifest: Manifest
        self.manifest, self.num_rows = self._ask("described")

    def __len__(self) -> int:
        return int(self.manifest.entries)

    def search(
        self,
        vectors: Float[np.ndarray, "queries dimension"],
        k: int,
        *,
        where: str | pc.Expression | None = None,
        exact: bool = False,
    ) -> SearchResult:
        """Return the k nearest entries of each vector, as `Memory.search`."""
        return self._ask("search", vectors, k, where, exact)  # type: ignore[no-any-return]

    def term_statistics(self, questions: Sequence[str]) -> TermStatistics:
        """Return the BM25 statistics of the questions' terms, as `Memory.term_statistics`."""
        return self._ask("term_statistics", questions)  # type: ignore[no-any-return]

    def candidates(
        self,
        vectors: Float[np.ndarray, "questions dimension"] | None,
        questions: Sequence[str] | None,
        k: int,
        *,
        where: str | pc.Expression | None = None,
        exact: bool = False,
        statistics: TermStatistics | None = None,
        sparse: SparseQueries | None = None,
    ) -> list[Candidates]:
        """Return the candidates of each question, as `Memory.candidates`."""
        settings = {"where": where, "exact": exact, "statistics": statistics, "sparse": sparse}
        return self._ask("candidates", vectors, questions, k, settings)  # type: ignore[no-any-return]

    def passages(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> list[Passage]:
        """Return the passages in the given rows, in the order given."""
        return self._ask("passages", rows)  # type: ignore[no-any-return]

    def rows(self, where: str | pc.Expression | None = None) -> Int[np.ndarray, " n"]:
        """Return the rows of the live entries that a filter matches, or of all, in order."""
        return self._ask("rows", where)  # type: ignore[no-any-return]

    def keys(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> Float[np.ndarray, "n dimension"]:
        """Return the keys of the given rows, in the order given."""
        return self._ask("keys", rows)  # type: ignore[no-any-return]

    def states(self, row: int) -> Codes | None:
        """Return the codes and scales of an entry's states; None where none are stored."""
        return self._ask("states", row)  # type: ignore[no-any-return]

    def _ask(self, method: str, *arguments: Any) -> Any:
        import ray
        from ray.exceptions import RayError

        try:
            fault, answer = ray.get(getattr(self._actor, method).remote(*arguments))
        except RayError as error:
            reason = first_line(error).rstrip(".")
            raise ClusterError(f"A shard's actor was lost: {reason}; open the shards again.") from error
        if fault is not None:
            raise ClusterError(fault)
        return answer


class _Shard:
    """The actor; errors are returned as messages."""

    def __init__(self, folder: str):
        self._folder = folder
        self._memory: Memory | None = None

    def _answer(self, ask: Callable[[Memory], Any]) -> tuple[str | None, Any]:
        try:
            self._memory = self._memory or Memory.open(self._folder)
            return None, ask(self._memory)
        except (MemgptRagError, ValueError, IndexError) as error:
            return str(error), None

    def described(self) -> tuple[str | None, Any]:
        return self._answer(lambda memory: (memory.manifest, memory.num_rows))

    def search(self, vectors: np.ndarray, k: int, where: Any, exact: bool) -> tuple[str | None, Any]:
        return self._answer(lambda memory: memory.search(vectors, k, where=where, exact=exact))

    def term_statistics(self, questions: Sequence[str]) -> tuple[str | None, Any]:
        return self._answer(lambda memory: memory.term_statistics(questions))

    def candidates(
        self, vectors: np.ndarray | None, questions: Any, k: int, settings: dict[str, Any]
    ) -> tuple[str | None, Any]:
        return self._answer(lambda memory: memory.candidates(vectors, questions, k, **settings))

    def passages(self, rows: Any) -> tuple[str | None, Any]:
        return self._answer(lambda memory: memory.passages(rows))

    def rows(self, where: Any) -> tuple[str | None, Any]:
        return self._answer(lambda memory: memory.rows(where))

    def keys(self, rows: Any) -> tuple[str | None, Any]:
        return self._answer(lambda memory: memory.keys(rows))

    def states(self, row: int) -> tuple[str | None, Any]:
        return self._answer(lambda memory: memory.states(row))


def ray_shards(folders: Sequence[str | Path]) -> Shards:
    """Open memories as shards that are searched together, each by an actor of its own; call it inside `cluster`."""
    return Shards([RayShard(folder) for folder in folders])


@contextmanager
def cluster(address: str | None = None) -> Iterator[None]:
    """Connect to a Ray cluster inside the block, or use the connection that is already open.

    Ray listens on all interfaces and runs what it is sent, so a cluster that this starts is open only to those who know its token.

    Args:
        address: address such as "head:6379"; None for the one that RAY_ADDRESS names, or else this machine.

    Raises:
        MissingPackageError: Ray is not installed.
        ClusterError: no cluster answers at the address.
    """
    where = address or os.environ.get("RAY_ADDRESS", _HERE)
    if where != _HERE:  # each attempt to connect would be logged; the setting itself is, too
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    elif "ray" not in sys.modules:  # Ray decides while it is imported whether it asks for a token
        os.environ.update(_token())
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MissingPackageError("ray", "A Ray cluster", "pip install 'memgpt_rag[cluster]'") from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    if ray.is_initialized():
        yield
        return
    try:
        host, _, port = where.rpartition(":")
        if host and port.isdigit():  # Ray itself would try for minutes
            socket.create_connection(
                (host.rpartition("/")[2].strip("[]"), int(port)), timeout=_PATIENCE_SECONDS
            ).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"No Ray cluster at {where} ({first_line(error)}); start one with: ray start --head, and set RAY_AUTH_MODE=token if it wants a token"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _token() -> dict[str, str]:
    """Return the variables that have Ray ask for a token; none where its user has chosen how it asks."""
    chosen = any(name.startswith("RAY_AUTH") for name in os.environ)
    return {} if chosen else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without its traceback."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
