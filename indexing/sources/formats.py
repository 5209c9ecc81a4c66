"""The formats of files: which suffix names which, and the reader of each."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import ModuleType

from indexing.sources.document import Document, DocumentPicture, Note
from indexing.sources.read_options import ReadOptions

_CODE_SUFFIXES = """
.py .pyi .pyw .js .mjs .cjs .jsx .ts .mts .cts .tsx .java .c .h .cpp .cc .cxx .hpp .hh .hxx .ino .go .rs .rb .php
.cs .sh .bash .zsh .fish .ps1 .bat .cmd .kt .kts .swift .scala .groovy .gradle .dart .lua .r .sql .pl .pm .jl .m .mm
.hs .ex .exs .erl .clj .lisp .el .ml .fs .vb .pas .f90 .f .asm .s .nim .zig .vue .svelte .css .scss .less .proto
.graphql .tf .cmake .mk .toml .ini .cfg .conf .properties .env .xml .xsd .xsl .tex .bib .diff .patch .log
"""
# Name of a format → its suffixes. Its reader is the function `read` of the module of its name, in a folder of `readers`.
FORMATS = {
    "plain_text": (".txt",),
    "markdown": (".md", ".markdown", ".mdown", ".mkd", ".mdx", ".qmd", ".rmd"),
    "restructuredtext": (".rst", ".rest"),
    "source_code": tuple(_CODE_SUFFIXES.split()),
    "html": (".html", ".htm", ".xhtml"),
    "pdf": (".pdf",),
    "word": (".docx", ".docm", ".dotx", ".dotm"),
    "powerpoint": (".pptx", ".pptm", ".ppsx", ".potx"),
    "excel": (".xlsx", ".xlsm", ".xltx", ".xls"),
    "opendocument": (".odt", ".ott", ".odp", ".otp", ".ods", ".ots"),
    "rtf": (".rtf",),
    "image": (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp"),
    "jsonl": (".jsonl", ".ndjson"),
    "json_file": (".json",),
    "yaml_file": (".yaml", ".yml"),
    "csv_table": (".csv", ".tsv"),
    "parquet": (".parquet",),
    "arrow": (".arrow",),
    "mail": (".eml",),
    "mailbox": (".mbox",),
    "notebook": (".ipynb",),
    "epub": (".epub",),
    "archive": (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz"),  # .tar.gz and the like end in these
}
_FOLDERS = {
    "text": ("plain_text",),
    "markup": ("markdown", "restructuredtext", "notebook"),
    "code": ("source_code",),
    "web": ("html", "epub"),
    "pages": ("pdf", "image"),
    "office": ("word", "powerpoint", "excel", "opendocument", "rtf"),
    "records": ("jsonl", "json_file", "yaml_file", "csv_table", "parquet", "arrow"),
    "containers": ("mail", "mailbox", "archive"),
}
# Formats whose pictures are read: by `read` of the module FORMAT_pictures in the folder `pictures`.
PICTURED = ("image", "markdown", "pdf", "word")
_FOLDER = {name: folder for folder, names in _FOLDERS.items() for name in names}
# Formats whose files hold other files, which are read as files of their own and named "archive.zip/member.md".
CONTAINERS = _FOLDERS["containers"]
_BY_SUFFIX = {suffix: name for name, suffixes in FORMATS.items() for suffix in suffixes}


def file_format(name: str) -> str:
    """Return the name of a file's format, by its suffix; "plain_text" for an unknown suffix."""
    return _BY_SUFFIX.get(PurePosixPath(name).suffix.lower(), "plain_text")


def is_known(name: str) -> bool:
    """Return whether a file has the suffix of a format; plain text files may have any other."""
    return PurePosixPath(name).suffix.lower() in _BY_SUFFIX


def read_path(path: Path, name: str, options: ReadOptions, *, format: str = "") -> Iterator[Document | Note]:
    """Read a file with the reader of its format.

    Args:
        path: where it lies.
        name: its name in citations.
        format: name of its format; empty for the one that its name tells.

    Raises:
        SourceError: it cannot be read.
    """
    yield from reader(format or file_format(name)).read(path, name, options)


def read_pictures(path: Path, name: str, options: ReadOptions) -> Iterator[DocumentPicture | Note]:
    """Read the pictures of a file instead of its text; a note says that its format has none that are read.

    Args:
        path, name: as for `read_path`.

    Raises:
        SourceError: the file, or one of its pictures, cannot be read.
    """
    format = file_format(name)
    if format in PICTURED:
        module = importlib.import_module(f"indexing.sources.readers.pictures.{format}_pictures")
        yield from module.read(path, name, options)
    else:
        yield Note(name, f"no pictures are read from {format.replace('_', ' ')}; only from {', '.join(PICTURED)}")


def reader(format: str) -> ModuleType:
    """Return the module with the reader of a format."""
    return importlib.import_module(f"indexing.sources.readers.{_FOLDER[format]}.{format}")
