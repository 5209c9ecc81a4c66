"""Helpers for Ray Data: datasets that keep their order, and errors as sentences."""

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

# Size in bytes of the blocks that a stage emits, so that one large file keeps many cores busy.
_HANDED_ON = 2**20
# Number of blocks of texts in the cluster at a time: half a million passages.
WINDOW = 2048
# A lost worker is replaced a few times only: one that was killed for its memory use would be killed again.
RESTARTS = {"max_restarts": 3, "max_task_retries": 3}


@contextmanager
def context() -> Iterator[None]:
    """Set the Ray Data context of datasets created inside the block."""
    from ray.data import DataContext

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its import has set another level
    with warnings.catch_warnings():
        # Ray warns of copied default settings, and of restart options, which have no other interface yet.
        warnings.simplefilter("ignore")
        settings = DataContext.get_current().copy()
        settings.execution_options.preserve_order = True
        settings.target_max_block_size = _HANDED_ON
        settings.enable_progress_bars = settings.print_on_execution_start = False
        with DataContext.current(settings):
            yield


def in_windows(
    given: Iterable[T], worker: type[Any], constructor_args: tuple[Any, ...], workers: int | None
) -> Iterator[tuple[T, Row]]:
    """Yield each item with the result of a pool of workers, in order; a window of items is in the cluster at a time."""
    import ray
    from ray.data import ActorPoolStrategy

    resources, given = ray.cluster_resources(), iter(given)
    gpus = int(resources.get("GPU", 0))
    most = workers or gpus or int(resources["CPU"])
    while window := list(islice(given, WINDOW)):
        with context():
            rows = dataset(window).flat_map(
                worker,
                fn_constructor_args=constructor_args,
                compute=ActorPoolStrategy(min_size=1, max_size=min(most, len(window))),
                num_cpus=1,
                num_gpus=1 if gpus else 0,
                **RESTARTS,
            )
        for row in in_order(rows, len(window)):
            yield window[row["number"]], row


def dataset(items: Sequence[Any]) -> Any:
    """Create a dataset with one item a task, since tasks take long."""
    import ray.data

    rows = [{"number": number, "of": item} for number, item in enumerate(items)]
    return ray.data.from_items(rows, override_num_blocks=max(1, len(rows)))


def in_order(rows: Any, numbers: int) -> Iterator[Row]:
    """Yield the rows of a dataset, and check their order.

    Raises:
        ClusterError: a worker failed or was lost, or rows are missing.
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
            raise ClusterError(first_line(cause)) from None  # without Ray's advice
        reason = (str(cause or error).strip().splitlines() or [type(error).__name__])[-1].partition(". ")[0].rstrip(".")
        raise ClusterError(
            f"A worker of the Ray cluster failed: {reason}; see to it, and start the job again: it goes on where it was."
        ) from error
    _require_place((numbers, 0), expected)


def _require_place(found: tuple[int, int], expected: tuple[int, int]) -> None:
    if found != expected:
        raise ClusterError(f"Ray handed on part {found} where part {expected} was due; start the job again.")


def packed(array: np.ndarray | None) -> Row:
    """Pack an array into plain fields: bytes, type and shape, which Ray Data passes on unchanged."""
    if array is None:
        return {"bytes": b"", "dtype": "", "shape": ""}
    shape = ",".join(map(str, array.shape))
    return {"bytes": np.ascontiguousarray(array).tobytes(), "dtype": array.dtype.str, "shape": shape}


def unpacked(fields: Row) -> np.ndarray:
    """Unpack an array from the fields of `packed`."""
    return np.frombuffer(fields["bytes"], dtype=fields["dtype"]).reshape([int(n) for n in fields["shape"].split(",")])


@contextmanager
def as_sentence() -> Iterator[None]:
    """Turn errors that users can fix into their message inside the block, so that it passes between processes."""
    try:
        yield
    except (MemgptRagError, ValueError) as error:
        raise ClusterError(str(error)) from None
