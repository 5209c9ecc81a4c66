"""Archives (zip, tar) and compressed files (gzip, bzip2, xz): their members are read as files of their own.

Names of members are only names: nothing is written but one temporary file at a time, whatever a name says.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, cast

from indexing.sources.document import Document, Note
from indexing.sources.find_files import is_excluded
from indexing.sources.formats import CONTAINERS, file_format
from indexing.sources.inflation import Allowance, Counted, Readable
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.containers.members import MemberReader, member_reader
from indexing.sources.readers.note_text import first_names
from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import counted, shortened

if TYPE_CHECKING:
    from tarfile import TarFile, TarInfo
    from zipfile import ZipInfo

_TAR = (".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")
_MOST_NAMED = 5
_UTF8_NAME = 0x800  # a flag in the header of a zip member


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read the members of an archive, each named "archive.zip/folder/member.md"; hidden ones are left out.

    A compressed single file is named as it is: "a.md.gz" is read as Markdown.

    Raises:
        SourceError: it is no archive of its suffix, is damaged, or inflates to too much; or, at the end, members cannot be
            read, which are named, unless they are rejected.
    """
    try:
        with member_reader(path, name, options) as members:
            archive = _Archive(name, options, members)
            if name.lower().endswith(".zip"):
                yield from archive.zip_members(path)
            elif name.lower().endswith(_TAR):
                yield from archive.tar_members(path)
            else:
                yield from _compressed_file(path, name, members)
    except SourceError:
        raise
    except Exception as error:  # zipfile, tarfile and the decompressors raise many kinds
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = shortened(str(error) or type(error).__name__).rstrip(".")
        raise SourceError(
            f"{name} is damaged, or no {PurePosixPath(name).suffix} file ({reason}); mend it, or leave it out with "
            "--exclude."
        ) from error


class _Archive:
    """The members of a zip or tar archive; of what is left out, a note is yielded at the end."""

    def __init__(self, name: str, options: ReadOptions, members: MemberReader):
        self._name, self._exclude = name, options.exclude
        self._allowance, self._members = members.allowance, members
        self._seen: set[str] = set()
        self._links: list[str] = []

    def zip_members(self, path: Path) -> Iterator[Document | Note]:
        import zipfile

        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                self._allowance.take_member()
                special = stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG)
                if info.is_dir() or (name := self._named(_zip_name(info), special=special)) is None:
                    continue
                if info.flag_bits & 1:
                    self._members.refuse(name, f"{name} is encrypted; unpack the archive, and name the folder.")
                else:
                    yield from self._members.read(name, _opener(archive.open, info, self._allowance))
        yield from self._notes()

    def tar_members(self, path: Path) -> Iterator[Document | Note]:
        import tarfile

        with ExitStack() as opened:
            stream = cast(IO[bytes], Counted(opened.enter_context(_decompressed(path, self._name)), self._allowance))
            # A stream is read once from front to back; an archive that is opened for seeking would be read again for each member.
            archive = opened.enter_context(tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape"))
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # it keeps all of them
                self._allowance.take_member()
                if info.isdir() or (name := self._named(_text(info.name), special=not info.isreg())) is None:
                    continue
                yield from self._members.read(name, self._tar_opener(archive, info))
        yield from self._notes()

    def _tar_opener(self, archive: TarFile, info: TarInfo) -> Callable[[], Readable]:
        def open_member() -> Readable:
            content = cast(IO[bytes], archive.extractfile(info))
            # The gaps of a sparse file are not in the stream, whose bytes are counted.
            return Counted(content, self._allowance) if info.issparse() else content

        return open_member

    def _named(self, path: str, *, special: bool) -> str | None:
        """Return a member's name in citations; None if it is left out.

        Args:
            special: it is no file and no folder but a link, a device or a pipe.
        """
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        if not parts or any(part.startswith(".") or part == "__MACOSX" for part in parts):
            return None
        name = "/".join([self._name, *parts])
        if is_excluded(name, self._exclude):
            return None
        if special:
            self._links.append("/".join(parts))
            return None
        if name in self._seen:
            self._members.refuse(
                name,
                f"{name} is there twice: {self._name} holds several files of this name; unpack it, and name the folder.",
            )
            return None
        self._seen.add(name)
        return name

    def _notes(self) -> Iterator[Note]:
        if self._links:
            count = counted(len(self._links), "link or device", "links or devices")
            yield Note(self._name, f"{count} left out: {first_names(self._links, _MOST_NAMED)}")


def _compressed_file(path: Path, name: str, members: MemberReader) -> Iterator[Document | Note]:
    inner = PurePosixPath(name).stem
    with ExitStack() as opened:
        stream = opened.enter_context(_decompressed(path, name))
        if file_format(inner) in CONTAINERS:
            yield from members.read(f"{name}/{inner}", lambda: Counted(stream, members.allowance))
        else:
            yield from members.read(name, lambda: Counted(stream, members.allowance), inner)


def _opener(open_info: Callable[[ZipInfo], IO[bytes]], info: ZipInfo, allowance: Allowance) -> Callable[[], Readable]:
    return lambda: Counted(open_info(info), allowance)


def _decompressed(path: Path, name: str) -> IO[bytes]:
    import bz2
    import gzip
    import lzma

    suffix = PurePosixPath(name).suffix.lower()
    if suffix in (".gz", ".tgz"):
        return cast(IO[bytes], gzip.open(path))
    if suffix in (".bz2", ".tbz2"):
        return bz2.open(path)
    return lzma.open(path) if suffix in (".xz", ".txz") else path.open("rb")


def _zip_name(info: ZipInfo) -> str:
    """Return the path of a member. Programs that do not mark names as UTF-8 wrote them in the character set of their machine."""
    name = info.filename
    if not info.flag_bits & _UTF8_NAME:
        name = _text(name.encode("cp437").decode("utf-8", "surrogateescape"), otherwise=name)
    return name if "/" in name else name.replace("\\", "/")


def _text(name: str, otherwise: str = "") -> str:
    """Return a name that was decoded as UTF-8 with "surrogateescape"; one that is none is GB 2312, or has its bytes escaped.

    Args:
        otherwise: the name in the place of escaped bytes.
    """
    content = name.encode("utf-8", "surrogateescape")
    with suppress(UnicodeDecodeError):
        return content.decode()
    with suppress(UnicodeDecodeError):
        return content.decode("gb2312")
    return otherwise or content.decode("utf-8", "backslashreplace")
