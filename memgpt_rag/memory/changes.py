"""Changes the entries of an existing memory without reading a source: appends, deletes, compacts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from jaxtyping import Float, Int

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.io.console import progress_bar
from memgpt_rag.memory.memory import PassageEncoder, require_text_keys, write_keys
from memgpt_rag.memory.storage.manifest import Manifest, read_manifest
from memgpt_rag.memory.writer import MemoryWriter
from memgpt_rag.passage import Passage

_BLOCK = 4096
_PICTURES = 64  # that are copied at once


def append_entries(
    memory: Path, passages: Sequence[Passage], encoder: PassageEncoder, *, job: str = "append"
) -> Manifest:
    """Embed passages and commit them as entries of an existing memory, one entry each; those whose id it holds stay as they are.

    Args:
        encoder: the one that embedded the memory.
        job: name of the change, for the list of versions.

    Returns:
        The manifest of the present version, which has all of the passages as entries.

    Raises:
        MemoryFormatError: the folder holds no memory, or a damaged one.
        MismatchError: another encoder embedded the memory.
        ValueError: metadata that the memory has no column for.
        BusyError: another job is writing there.
    """
    read_manifest(memory)  # a wrong folder is refused before anything is created there
    with MemoryWriter(memory) as writer:
        base = writer.base
        assert base is not None
        base.manifest.encoder.require_match(encoder.fingerprint)
        known = {passage.id for passage in base.passages(base.rows(pc.field("id").isin([one.id for one in passages])))}
        new = [passage for passage in passages if passage.id not in known]
        if not new:
            return base.manifest
        writer.add_values(new)
        write_keys(writer, encoder)
        return writer.commit(
            base.manifest.encoder, splitting=base.manifest.splitting, job={"name": job, "added": len(new)}
        )


def put_entries(
    memory: Path,
    passages: Sequence[Passage],
    encoder: PassageEncoder,
    *,
    keys: Float[np.ndarray, "n dimension"] | None = None,
    job: str = "put",
) -> Manifest:
    """Commit passages as entries of an existing memory in place of those with their ids; entries that are there already stay.

    Args:
        encoder: the one that embedded the memory.
        keys: of the passages, where the encoder has computed them already.
        job: name of the change, for the list of versions.

    Returns:
        The manifest of the present version, which has all of the passages as entries.

    Raises:
        ValueError: two passages with one id, another number of keys, or metadata that the memory has no column for.
        MemoryFormatError, MismatchError, BusyError: as `append_entries`.
    """
    if repeated := [id for id, times in Counter(one.id for one in passages).items() if times > 1]:
        raise ValueError(
            f"{len(repeated)} ids are given more than once, such as {repeated[0]!r}; an id names one entry."
        )
    if keys is not None and len(keys) != len(passages):
        raise ValueError(f"Found {len(passages)} passages and {len(keys)} keys; every passage needs exactly one key.")
    read_manifest(memory)
    with MemoryWriter(memory) as writer:
        base = writer.base
        assert base is not None
        base.manifest.encoder.require_match(encoder.fingerprint)
        require_text_keys(base.manifest.encoder)
        rows = base.rows(pc.field("id").isin([one.id for one in passages]))
        known = {one.id: one for one in base.passages(rows)}
        new = [place for place, passage in enumerate(passages) if known.get(passage.id) != passage]
        if not new:
            return base.manifest
        replaced = {passages[place].id for place in new}
        writer.delete([row for row, one in zip(rows.tolist(), base.passages(rows), strict=True) if one.id in replaced])
        writer.add_values([passages[place] for place in new])
        if keys is None:
            write_keys(writer, encoder)
        else:
            writer.add_keys(keys[new])
        counts = {"added": len(new), "replaced": len(replaced & known.keys())}
        return writer.commit(base.manifest.encoder, splitting=base.manifest.splitting, job={"name": job, **counts})


def delete_entries(
    memory: Path, rows: Int[np.ndarray, " n"], present: Manifest, *, may_empty: bool = False
) -> Manifest:
    """Delete the entries in some rows of a memory, which must still be at the version `present`.

    Args:
        may_empty: whether the version may be left without entries.

    Raises:
        MemoryFormatError: the memory has changed, a row is deleted already, or no entries would be left.
        BusyError: another job is writing there.
    """
    with MemoryWriter(memory) as writer:
        base = writer.base
        if base is None or base.manifest != present:
            raise MemoryFormatError(f"{memory} has changed since the entries were chosen; choose them again.")
        if not np.isin(rows, base.rows()).all():
            raise MemoryFormatError("Some of the rows to delete hold no entry; they may be deleted already.")
        if len(np.unique(rows)) == len(base) and not may_empty:
            raise MemoryFormatError(
                f"All {len(base)} entries of {memory} would be deleted; remove the folder if that is what you want."
            )
        writer.delete(rows)
        return writer.commit(present.encoder, splitting=present.splitting, job={"name": "delete", "deleted": len(rows)})


def compact(memory: Path, *, progress: bool = False) -> Manifest:
    """Merge all entries into one segment without deleted rows; keys, states and sparse vectors are copied, not recomputed."""
    with MemoryWriter(memory) as writer:
        base = writer.base
        if base is None:
            raise MemoryFormatError(f"{memory} is not a memory; name a folder that memgpt-index build wrote.")
        rows = base.rows()
        with progress_bar(total=2 * len(rows), desc="compacting", unit=" rows", shown=progress) as bar:
            for part in parts(rows, _PICTURES if base.manifest.has_pictures else _BLOCK):
                writer.add_values(base.passages(part), base.pictures(part))
                bar.update(len(part))
            for _ in writer.value_blocks(_BLOCK):
                pass
            for part in parts(rows):
                try:
                    writer.add_keys(base.keys(part))
                except ValueError as error:  # invalid data in the memory, which no job of ours wrote
                    raise MemoryFormatError(
                        f"{memory} cannot be compacted: {error} Find out what is wrong with: memgpt-index verify"
                    ) from error
                bar.update(len(part))
        writer.copy_states(rows)
        writer.copy_sparse_vectors(rows)
        manifest = base.manifest
        return writer.commit(
            manifest.encoder, splitting=manifest.splitting, job={"name": "compact", "kept": len(rows)}, compacted=True
        )


def parts(rows: Int[np.ndarray, " n"], size: int = _BLOCK) -> list[Int[np.ndarray, " n"]]:
    """Return rows in blocks."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]
