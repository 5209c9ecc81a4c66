"""Datasets of the Hugging Face hub, read as records with the library `datasets` (extra `datasets`), without its cache of files.

An address names a dataset, and behind a question mark what of it: `hf://datasets/OWNER/NAME@REVISION?config=…&split=…&rows=…`. The
address of a file or folder in a dataset is read as that of any other file system.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from memgpt_rag.errors import MemgptRagError, MissingPackageError, SourceError, first_line
from memgpt_rag.io.system_errors import EXHAUSTED, machine_errno

_ADDRESS = re.compile(r"hf://datasets/(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w.-]+))?/?(?:\?(?P<query>.*))?")
_BATCH = 1024  # rows


@dataclass(frozen=True)
class HubDataset:
    """A dataset, or a part of it.

    Attributes:
        name: on the hub, or a folder of files on this machine.
        revision, config, split: None for the default ones, and for all splits.
        rows: the first so many of each split; None for all.
    """

    name: str
    revision: str | None = None
    config: str | None = None
    split: str | None = None
    rows: int | None = None

    def file_name(self, split: str) -> str:
        """Return the name of a split's rows in citations."""
        return "/".join(filter(None, (self.name, self.config, f"{split}.arrow")))

    def splits(self) -> list[str]:
        """Return the names of the splits to read.

        Raises:
            SourceError: the dataset cannot be reached, or there is none.
            MissingPackageError: datasets is not installed.
        """
        if self.split is not None:
            return [self.split]
        with _reading(self):
            return list(self._load(None))

    def write(self, split: str, path: Path) -> None:
        """Write the rows of a split to an Arrow file, as they come from the hub.

        Raises:
            SourceError: the dataset cannot be read, or its rows differ in their columns.
            MissingPackageError: datasets is not installed.
        """
        import pyarrow as pa

        with _reading(self):
            rows = self._load(split)
            rows = rows if self.rows is None else rows.take(self.rows)
            batches = iter(rows.with_format("arrow").iter(_BATCH))
            first = next(batches, None)
            if first is None:
                raise SourceError(f"The split {split!r} of the dataset {self.name} holds no rows; name another one.")
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, first.schema) as table:
                table.write_table(first)
                for batch in batches:
                    table.write_table(batch.cast(first.schema))

    def _load(self, split: str | None) -> Any:
        try:
            import datasets
        except ImportError as error:
            raise MissingPackageError(
                "datasets", "A dataset of the hub", "pip install 'memgpt_rag[datasets]'"
            ) from error
        return datasets.load_dataset(self.name, self.config, split=split, revision=self.revision, streaming=True)


def hub_dataset(address: str) -> HubDataset | None:
    """Return the dataset that an address names; None where it is the address of something else.

    Raises:
        SourceError: it asks for something else than a config, a split and a number of rows.
    """
    if (found := _ADDRESS.fullmatch(address)) is None:
        return None
    asked = dict(parse_qsl(found["query"] or "", keep_blank_values=True))
    rows = asked.pop("rows", None)
    if (
        set(asked) - {"config", "split"}
        or not all(asked.values())
        or not (rows is None or re.fullmatch("[1-9][0-9]{0,17}", rows))
    ):
        raise SourceError(
            f"{address} asks for what there is not; expected config, split and rows behind the question mark, such as "
            "?config=en&split=train&rows=1000."
        )
    return HubDataset(
        found["name"], found["revision"], asked.get("config"), asked.get("split"), None if rows is None else int(rows)
    )


@contextmanager
def _reading(dataset: HubDataset) -> Iterator[None]:
    """Turn errors of the library, and of what it downloads with, into sentences."""
    try:
        yield
    except (MemgptRagError, MemoryError):
        raise
    except Exception as error:  # each format and each client raises errors of its own
        if machine_errno(error) in EXHAUSTED:
            raise
        raise SourceError(
            f"The dataset {dataset.name} cannot be read from the hub ({first_line(error)}); see to its name, config and split, or, "
            "without a connection, save it elsewhere with save_to_disk, and name the folder that this wrote."
        ) from error
