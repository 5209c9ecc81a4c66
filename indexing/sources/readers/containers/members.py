"""Reads files that lie in other files, such as members of archives and attachments of mails, each with its own reader."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from indexing.job_log import Reject
from indexing.sources.document import Document, Note
from indexing.sources.formats import CONTAINERS, file_format, read_path
from indexing.sources.inflation import MOST_DEPTH, Allowance, InflationLimitError, Readable
from indexing.sources.read_options import ReadOptions
from indexing.sources.reading_errors import reading_error
from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import shortened
from memgpt_rag.io.system_errors import EXHAUSTED

_MOST_NAMED = 20
_BLOCK = 2**20


class MemberReader:
    """Reads the members of one file; one that cannot be read does not keep the others from being read.

    Args:
        options: how the file that holds them is read.
        folder: an empty folder for the member that is being read.
        allowance: what they may inflate to.
    """

    def __init__(self, options: ReadOptions, folder: Path, allowance: Allowance):
        self._folder, self.allowance = folder, allowance
        self._options = dataclasses.replace(options, depth=options.depth + 1)
        self._faults: list[str] = []

    def read(self, name: str, open_member: Callable[[], Readable], inner: str = "") -> Iterator[Document | Note]:
        """Read a member through a temporary file.

        Args:
            name: its name in citations: that of the file that holds it, "/", and its own.
            open_member: opens its content.
            inner: name that tells its format; empty for `name`.

        Raises:
            InflationLimitError: the archive inflates to too much.
            OSError: the machine has no room.
        """
        format, depth = file_format(inner or name), self._options.depth
        if format in CONTAINERS and depth > MOST_DEPTH:
            yield Note(
                name, f"was not opened: it lies in {depth} archives or mails, and those in up to {MOST_DEPTH} are"
            )
            return
        try:
            path = self._extracted(inner or name, open_member)
        except InflationLimitError:
            raise
        except Exception as error:  # each decompressor raises errors of its own
            if isinstance(error, OSError) and error.errno in EXHAUSTED:
                raise
            reason = shortened(str(error) or type(error).__name__).rstrip(". ")
            self.refuse(name, f"{name} is damaged ({reason}); mend it, or leave it out with --exclude.")
            return
        if path is None and format == "plain_text":  # archives of 100,000 empty files are made, too
            yield Document(name, "", "", "line", ())
            return
        begun = False
        try:
            for item in read_path(path or self._empty(inner or name), name, self._options, format=format):
                begun = begun or isinstance(item, Document)
                yield item
        except InflationLimitError:
            raise
        except Exception as error:  # a reader's library raises errors of its own
            if isinstance(error, OSError) and error.errno in EXHAUSTED:
                raise
            self.refuse(name, reading_error(error, name), begun=begun)
        if path is not None and path.stat().st_size > _BLOCK:
            path.unlink()

    def _extracted(self, name: str, open_member: Callable[[], Readable]) -> Path | None:
        """Write a member to the folder, in place of the one before; None if it is empty, and nothing was written."""
        stream = open_member()
        block = stream.read(_BLOCK)
        if not block:
            return None
        path = self._path(name)
        with path.open("wb") as file:
            file.write(block)
            shutil.copyfileobj(stream, file, _BLOCK)
        return path

    def _empty(self, name: str) -> Path:
        path = self._path(name)
        path.write_bytes(b"")
        return path

    def _path(self, name: str) -> Path:
        suffix = PurePosixPath(name).suffix
        return self._folder / f"member{suffix if len(suffix) <= 16 else ''}"

    def refuse(self, name: str, reason: str, *, begun: bool = False) -> None:
        """Reject a member, or keep the error for `finish`.

        Args:
            begun: some of its documents were read already, so that it cannot be rejected.
        """
        if self._options.on_reject is None or begun:
            self._faults.append(reason)
        else:
            self._options.on_reject(Reject(name, "", reason))

    def finish(self) -> None:
        """Raise an error that names all members that could not be read and were not rejected.

        Raises:
            SourceError: there are such members.
        """
        if self._faults:
            more = len(self._faults) - _MOST_NAMED
            raise SourceError(" ".join(self._faults[:_MOST_NAMED] + ([f"And {more:,} more."] if more > 0 else [])))


@contextmanager
def member_reader(path: Path, name: str, options: ReadOptions) -> Iterator[MemberReader]:
    """Provide a reader of members inside the block, at whose end the members that could not be read are an error.

    Args:
        path: the file that holds them.
        name: its name in citations.
        options: how it is read.

    Raises:
        SourceError: at the end, naming all members that could not be read and were not rejected.
    """
    allowance = options.allowance or Allowance(path, name)  # one for all archives in it
    with tempfile.TemporaryDirectory() as folder:
        reader = MemberReader(dataclasses.replace(options, allowance=allowance), Path(folder), allowance)
        yield reader
        reader.finish()
