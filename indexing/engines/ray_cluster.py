"""What jobs need of Ray Data: datasets that come back in the order in which they went, and errors as sentences."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from memgpt_rag.errors import ClusterError, MemgptRagError
from memgpt_rag.memory.ray_shards import first_line

T = TypeVar("T")
Row = dict[str, Any]

# Bytes after which a stage hands on what it has, so that one large file keeps many cores busy.
_HANDED_ON = 2**20
# Blocks that are in the cluster at a time: half a million passages, as texts.
WINDOW = 2048
# A worker that is lost is replaced, but not for ever: one that its machine kills for its memory would be killed again.
_RESTARTS = {"max_restarts": 3, "max_task_retries": 3}


@contextmanager
def context() -> Iterator[None]:
    """Settings of the datasets that are made inside."""
    from ray.data import DataContext

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its import has set another level
    with warnings.catch_warnings():
        # Of settings that are copied though nobody has set them, and of restarts, for which there is no other way yet.
        warnings.simplefilter("ignore")
        settings = DataContext.get_current().copy()
        settings.execution_options.preserve_order = True
        settings.target_max_block_size = _HANDED_ON
        settings.enable_progress_bars = settings.print_on_execution_start = False
        with DataContext.current(settings):
            yield


def in_windows(
    given: Iterable[T], worker: type[Any], made_of: tuple[Any, ...], workers: int | None
) -> Iterator[tuple[T, Row]]:
    """One thing after another, each with what a pool of workers makes of it; a part of them is in the cluster at a time."""
    import ray
    from ray.data import ActorPoolStrategy

    resources, given = ray.cluster_resources(), iter(given)
    gpus = int(resources.get("GPU", 0))
    most = workers or gpus or int(resources["CPU"])
    while window := list(islice(given, WINDOW)):
        with context():
            rows = dataset(window).flat_map(
                worker,
                fn_constructor_args=made_of,
                compute=ActorPoolStrategy(min_size=1, max_size=min(most, len(window))),
                num_cpus=1,
                num_gpus=1 if gpus else 0,
                **_RESTARTS,
            )
        for row in in_order(rows, len(window)):
            yield window[row["number"]], row


def dataset(items: Sequence[Any]) -> Any:
    """A dataset of one item a task, as tasks take long."""
    import ray.data

    rows = [{"number": number, "of": item} for number, item in enumerate(items)]
    return ray.data.from_items(rows, override_num_blocks=max(1, len(rows)))


def in_order(rows: Any, numbers: int) -> Iterator[Row]:
    """Rows of a dataset as they come.

    Raises:
        ClusterError: what a worker says, that one was lost, or that a part is missing.
    """
    from ray.exceptions import RayError

    expected = (0, 0)
    try:
        for row in rows.iter_rows():
            _require_place((row["number"], row["part"]), expected)
            yield row
            expected = (row["number"] + 1, 0) if row["last"] else (row["number"], row["part"] + 1)
    except RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, ClusterError):
            raise ClusterError(first_line(cause)) from None  # without the advice that Ray has added
        told = (str(cause or error).strip().splitlines() or [type(error).__name__])[-1].partition(". ")[0].rstrip(".")
        raise ClusterError(
            f"A worker of the Ray cluster failed: {told}; see to it, and start the job again: it goes on where it was."
        ) from error
    _require_place((numbers, 0), expected)


def _require_place(found: tuple[int, int], expected: tuple[int, int]) -> None:
    if found != expected:
        raise ClusterError(f"Ray handed on part {found} where part {expected} was due; start the job again.")


def packed(array: np.ndarray | None) -> Row:
    """An array as plain fields, which no layer between two processes reads as anything else."""
    if array is None:
        return {"bytes": b"", "dtype": "", "shape": ""}
    shape = ",".join(map(str, array.shape))
    return {"bytes": np.ascontiguousarray(array).tobytes(), "dtype": array.dtype.str, "shape": shape}


def unpacked(fields: Row) -> np.ndarray:
    return np.frombuffer(fields["bytes"], dtype=fields["dtype"]).reshape([int(n) for n in fields["shape"].split(",")])


@contextmanager
def as_sentence() -> Iterator[None]:
    """Errors that users can mend travel as what they say."""
    try:
        yield
    except (MemgptRagError, ValueError) as error:
        raise ClusterError(str(error)) from None
