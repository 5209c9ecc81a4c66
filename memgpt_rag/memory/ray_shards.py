"""A memory that lies with an actor of a Ray cluster, searched from here: one shard of `memgpt_rag.memory.Shards`."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from jaxtyping import Float, Int

from memgpt_rag.errors import ClusterError, MemgptRagError, MissingPackageError
from memgpt_rag.memory import Candidates, Manifest, Memory, SearchResult, Shards, TermStatistics
from memgpt_rag.memory.storage.states import Codes
from memgpt_rag.passage import Passage

_PATIENCE_SECONDS = 10


class RayShard:
    """A memory's folder, opened by an actor where Ray puts it; errors are those of `Memory`, as `ClusterError`.

    Args:
        folder: of the memory, on the machine of the actor.
        resources: that its machine must have, such as {"shard-3": 1}, so that the actor is where the folder is.
    """

    def __init__(self, folder: str | Path, *, resources: dict[str, float] | None = None):
        import ray

        self._actor = ray.remote(_Shard).options(num_cpus=0, resources=resources).remote(str(folder))
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
        return self._ask("search", vectors, k, where, exact)  # type: ignore[no-any-return]

    def term_statistics(self, questions: Sequence[str]) -> TermStatistics:
        return self._ask("term_statistics", questions)  # type: ignore[no-any-return]

    def candidates(
        self,
        vectors: Float[np.ndarray, "questions dimension"] | None,
        questions: Sequence[str],
        k: int,
        *,
        where: str | pc.Expression | None = None,
        exact: bool = False,
        statistics: TermStatistics | None = None,
    ) -> list[Candidates]:
        return self._ask("candidates", vectors, questions, k, where, exact, statistics)  # type: ignore[no-any-return]

    def passages(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> list[Passage]:
        return self._ask("passages", rows)  # type: ignore[no-any-return]

    def rows(self, where: str | pc.Expression | None = None) -> Int[np.ndarray, " n"]:
        return self._ask("rows", where)  # type: ignore[no-any-return]

    def keys(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> Float[np.ndarray, "n dimension"]:
        return self._ask("keys", rows)  # type: ignore[no-any-return]

    def states(self, row: int) -> Codes | None:
        return self._ask("entry", row)  # type: ignore[no-any-return]

    def _ask(self, method: str, *arguments: Any) -> Any:
        import ray
        from ray.exceptions import RayError

        try:
            told, answer = ray.get(getattr(self._actor, method).remote(*arguments))
        except RayError as error:
            reason = first_line(error).rstrip(".")
            raise ClusterError(f"A shard's actor was lost: {reason}; open the shards again.") from error
        if told is not None:
            raise ClusterError(told)
        return answer


class _Shard:
    """The actor; what goes wrong comes back as a sentence."""

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

    def candidates(self, vectors: np.ndarray | None, questions: Any, k: int, *settings: Any) -> tuple[str | None, Any]:
        where, exact, statistics = settings
        return self._answer(
            lambda memory: memory.candidates(vectors, questions, k, where=where, exact=exact, statistics=statistics)
        )

    def passages(self, rows: Any) -> tuple[str | None, Any]:
        return self._answer(lambda memory: memory.passages(rows))

    def rows(self, where: Any) -> tuple[str | None, Any]:
        return self._answer(lambda memory: memory.rows(where))

    def keys(self, rows: Any) -> tuple[str | None, Any]:
        return self._answer(lambda memory: memory.keys(rows))

    def states(self, row: int) -> tuple[str | None, Any]:
        return self._answer(lambda memory: memory.states(row))


def ray_shards(folders: Sequence[str | Path]) -> Shards:
    """Memories searched together, each by an actor of its own; inside `cluster`."""
    return Shards([RayShard(folder) for folder in folders])


@contextmanager
def cluster(address: str | None = None) -> Iterator[None]:
    """A connection to a Ray cluster, or the one that there is already.

    Args:
        address: such as "head:6379"; None for the one that RAY_ADDRESS names, or else this machine.

    Raises:
        MissingPackageError: Ray is not installed.
        ClusterError: no cluster answers there.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MissingPackageError("ray", "A Ray cluster", "pip install 'memgpt_rag[cluster]'") from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    if ray.is_initialized():
        yield
        return
    where = address or os.environ.get("RAY_ADDRESS", "this machine")
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


def first_line(error: BaseException) -> str:
    """What an error says, without its traceback."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
