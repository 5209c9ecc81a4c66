"""Folders that `save_to_disk` of the library `datasets` wrote: which of their files hold the rows, without that library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from memgpt_rag.errors import SourceError
from memgpt_rag.io.json_file import read_json

_STATE, _ABOUT, _SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"
_MOST_BYTES = 2**24


def rows_only(files: Iterable[tuple[Path, str]], leave_out: Callable[[str, str], object]) -> Iterator[tuple[Path, str]]:
    """Yield files, of saved datasets only those with their rows; other files beside these are what the library keeps for itself.

    Args:
        files: path and name of each.
        leave_out: called with the name of what is left out, and a clause that says why.

    Raises:
        SourceError: a saved dataset does not say which files hold its rows, or one of them is missing.
    """
    files = list(files)
    there: dict[Path, set[str]] = {}
    for path, _ in files:
        there.setdefault(path.parent, set()).add(path.name)
    saved = {folder: _data_files(folder, names) for folder, names in there.items() if names >= {_STATE, _ABOUT}}
    for path, name in files:
        if path.parent in saved and path.name not in saved[path.parent]:
            leave_out(name, "left out, since a saved dataset keeps no rows there")
        elif path.name == _SPLITS and any(folder.parent == path.parent for folder in saved):
            leave_out(name, "left out, since it only lists the splits of a saved dataset")
        else:
            yield path, name


def _data_files(folder: Path, there: set[str]) -> set[str]:
    """Return the names of the files with a dataset's rows."""
    state = folder / _STATE
    try:
        value = read_json(state, max_bytes=_MOST_BYTES)
        names = {str(file["filename"]) for file in value["_data_files"]}
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{state} does not say which files hold the rows of the dataset; save it again.") from error
    if missing := sorted(names - there):
        raise SourceError(
            f"{folder} lacks {missing[0]!r}, which holds rows of the saved dataset; copy the whole folder."
        )
    return names
