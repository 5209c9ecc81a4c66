"""Reads sentence pairs from TMX (Translation Memory eXchange 1.4b), within bounds and without fetching anything.

Units are read one by one. Of a segment, its text and that of highlighted parts is read; codes of other programs' formatting are left
out. A document type may be named, as is usual, and is never loaded; one that declares entities is refused.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from memgpt_rag.errors import SourceError, first_line
from memgpt_rag.evaluation.data.text_source import place
from memgpt_rag.io.printable import shortened

if TYPE_CHECKING:
    from lxml.etree import _Element

MOST_TMX_BYTES = 2**28
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_CODES = {"bpt", "ept", "it", "ph", "ut"}  # what stands in them is code
_MARKED = "hi"  # what stands in it is text


def read_tmx(path: Path, languages: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the units of a file as records, language → text, each after the number of its line.

    Args:
        languages: those that every unit must have a segment in; "zh" stands for "zh-CN", too. Others are not read.

    Raises:
        SourceError: the file cannot be read or is too large, is broken XML or no TMX, or a unit lacks a segment or has two of one
            language.
    """
    from lxml import etree

    with _opened(path) as file:
        events = etree.iterparse(
            file, ("start", "end"), resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False,
            remove_comments=True, remove_pis=True,
        )  # fmt: skip
        root = None
        try:
            for event, element in events:
                if root is None:
                    root = element
                    _require_tmx(element, path)
                elif event == "end" and element.tag == "tu":
                    yield element.sourceline, _unit(element, place(path, element.sourceline), languages)
                    element.clear()
                    while element.getprevious() is not None:  # what was read is let go
                        del element.getparent()[0]
        except etree.XMLSyntaxError as error:
            if root is None and path.stat().st_size == 0:
                raise SourceError(f"{path.name} is empty; export the pairs again, as TMX.") from error
            reason = (error.msg or "it ends too early").split(", line ")[0]
            raise SourceError(
                f"{place(path, error.lineno or 1)}: broken XML ({first_line(reason)}); mend the file, or export it again."
            ) from error


def _opened(path: Path) -> IO[bytes]:
    """Return a plain file of a bounded size, opened."""
    try:
        # Non-blocking: opening a named pipe would wait for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}; name a file that is there.") from error
    file, found = os.fdopen(handle, "rb"), os.fstat(handle)
    if stat.S_ISREG(found.st_mode) and found.st_size <= MOST_TMX_BYTES:
        return file
    file.close()
    if not stat.S_ISREG(found.st_mode):
        raise SourceError(f"{path} is no plain file; name a file of TMX.")
    raise SourceError(f"{path} has {found.st_size:,} bytes; expected at most {MOST_TMX_BYTES:,}: divide it.")


def _require_tmx(root: _Element, path: Path) -> None:
    declared = root.getroottree().docinfo.internalDTD
    if declared is not None and any(True for _ in (*declared.iterentities(), *declared.iterelements())):
        raise SourceError(f"{path.name} declares entities or elements of its own, which no TMX needs; export it again.")
    if root.tag != "tmx":
        raise SourceError(f"{path.name} is no TMX: its first element is <{shortened(str(root.tag), 40)}>, not <tmx>.")


def _unit(unit: _Element, where: str, languages: Sequence[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for variant in unit.iter("tuv"):
        said = variant.get(_LANG) or variant.get("lang") or ""
        language = next((one for one in languages if _is_language(said, one)), None)
        if language is None:
            continue
        if language in texts:
            raise SourceError(
                f"{where}: this unit has two segments in {language}; name the one to read, such as {said}, with --languages."
            )
        segment = variant.find("seg")
        texts[language] = "" if segment is None else "".join(_text(segment, where)).strip()
    for language in languages:
        if not texts.get(language):
            raise SourceError(
                f"{where}: this unit has no segment in {language}; expected one in {' and one in '.join(languages)}. Complete it, or "
                "take it out."
            )
    return texts


def _is_language(said: str, wanted: str) -> bool:
    said, wanted = said.lower().replace("_", "-"), wanted.lower()
    return said == wanted or said.partition("-")[0] == wanted


def _text(element: _Element, where: str) -> Iterator[str]:
    """Yield the text of a segment, without codes."""
    yield element.text or ""
    for inner in element:
        if inner.tag == _MARKED:
            yield from _text(inner, where)
        elif inner.tag not in _CODES:
            name = f"<{inner.tag}>" if isinstance(inner.tag, str) else str(inner.text)
            raise SourceError(
                f"{where}: a segment holds {shortened(name, 40)}; expected text, <hi>, and the codes {', '.join(sorted(_CODES))}."
            )
        yield inner.tail or ""
