"""Pictures of documents become entries of a memory: read, named by their captions, embedded, committed in place of earlier ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import pyarrow.compute as pc

from indexing.job_log import JobLog
from indexing.sources.document import DocumentPicture, Note
from indexing.sources.find_files import SourceFile
from indexing.sources.read_documents import read_pictures
from indexing.sources.read_options import ReadOptions
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.errors import SourceError
from memgpt_rag.io.pictures import require_pillow
from memgpt_rag.memory import Memory
from memgpt_rag.memory.pictures import EncodesPictures, add_pictures
from memgpt_rag.memory.storage.layout import MANIFEST
from memgpt_rag.passage import Passage


@dataclass
class PictureReport:
    """What a job did.

    Attributes:
        pictures: how many were found and kept.
        repeated: how many were left out, since their document shows them before.
        notes: what else was left out, and why.
    """

    pictures: int = 0
    repeated: int = 0
    notes: list[Note] = field(default_factory=list)


def add_document_pictures(
    files: Sequence[SourceFile], memory: Path, encoder: Encoder, *, options: ReadOptions, log: JobLog
) -> tuple[Memory, PictureReport]:
    """Add the pictures of files to a memory, or make one of them; earlier pictures of these files that are gone go.

    Args:
        encoder: that of the memory. Keys are of the pictures if it embeds pictures, else of their titles and captions.
        options: how to read the files.

    Raises:
        SourceError: a file or a picture cannot be read, and there are no rejects; or the files hold no picture.
        MismatchError: another encoder embedded the memory.
        BusyError: another job is writing there.
    """
    require_pillow()
    report = PictureReport()

    reject = log.reject if log.keeps_rejects else None
    found = read_pictures(files, options.for_pictures(report.notes.append, reject))
    entries = _entries(found, report, named=not isinstance(encoder, EncodesPictures))
    first = next(entries, None)
    if first is None and not _holds_pictures(memory, files):
        raise SourceError(_no_picture(files, report))
    entries = chain([] if first is None else [first], entries)
    opened = add_pictures(memory, entries, encoder, instead_of=[file.name for file in files])
    log.count("pictures", report.pictures)
    return opened, report


def _holds_pictures(memory: Path, files: Sequence[SourceFile]) -> bool:
    """Return whether a memory holds pictures of these files, which may have to go."""
    if not (memory / MANIFEST).exists():
        return False
    opened = Memory.open(memory)
    rows = opened.rows(pc.field("source").isin([file.name for file in files]))
    return any(map(opened.has_picture, rows.tolist()))


def _no_picture(files: Sequence[SourceFile], report: PictureReport) -> str:
    """Return a sentence on why files gave no picture."""
    names = f"{files[0].name} holds" if len(files) == 1 else f"{len(files):,} files, {files[0].name} first, hold"
    if report.notes:
        return f"{names} no picture that can be kept: {report.notes[0].text}."
    return f"{names} no picture that can be kept; give PDF, Word or Markdown files with pictures, or picture files."


def _entries(
    pictures: Iterator[DocumentPicture], report: PictureReport, *, named: bool
) -> Iterator[tuple[Passage, bytes]]:
    """Yield the entries of pictures.

    Args:
        named: leave out pictures without words, since words are what they will be found by.
    """
    seen: set[str] = set()
    for picture in pictures:
        passage = picture_passage(picture)
        if passage.id in seen:
            report.repeated += 1
        elif named and not picture.caption:
            place = f"{picture.unit} {picture.number}"
            report.notes.append(
                Note(picture.source, f"the picture in {place} has no caption to find it by, and is left out")
            )
        else:
            seen.add(passage.id)
            report.pictures += 1
            yield passage, picture.data


def picture_passage(picture: DocumentPicture) -> Passage:
    """Return the words and the place of a picture; its file's name where it has no words."""
    words = picture.caption or Path(picture.source).stem
    headings = (one for one in (picture.title, *picture.headings) if one)
    digest = hashlib.sha256(picture.data + words.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Passage(
        f"{picture.source}#picture-{digest}",
        words,
        " › ".join(headings),
        picture.source,
        "",
        picture.unit,
        picture.number,
        picture.number,
        0,
        len(words),
    )
