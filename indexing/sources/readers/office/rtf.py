r"""Rich Text Format: paragraphs, headings, tables and notes.

No library is used: striprtf drops footnotes, text boxes and headings, keeps deleted text, and leaves the halves of characters
beyond 16 bits apart. Each token is looked at once.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from indexing.sources.document import BlockBuilder, Document, Note
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.document_titles import own_title
from indexing.sources.readers.office.package import left_out_text
from indexing.sources.readers.office.rtf_encodings import DEFAULT, charset_encoding, joined_surrogates, page_encoding
from indexing.sources.readers.office.table_text import cell_text, row_text, split_table
from indexing.sources.readers.office.word_styles import heading_level, is_title
from memgpt_rag.errors import SourceError

_MOST_BYTES = 64 * 2**20
_DEEPEST_GROUP = 10_000
_LONGEST_NAME = 1000  # of a style or a title
# A control word with its number; a byte; a control symbol; a brace; text.
_TOKEN = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\(.)|([{}])|([^\\{}\r\n]+)|[\r\n]+|\\", re.DOTALL
)
_CHARACTERS = {
    "tab": "\t", "line": "\n", "emdash": "—", "endash": "–", "bullet": "•", "lquote": "‘", "rquote": "’",
    "ldblquote": "“", "rdblquote": "”", "emspace": " ", "enspace": " ", "qmspace": " ", "nestcell": ", ", "nestrow": "; ",
}  # fmt: skip
_SYMBOLS = {"~": "\u00a0", "_": "\u2011", "\\": "\\", "{": "{", "}": "}", "-": "", ":": ":"}
# Groups that hold no text of the document.
_UNSEEN = {
    "colortbl", "objdata", "fldinst", "ftnsep", "ftnsepc", "ftncn", "aftnsep", "aftnsepc", "aftncn", "xe", "tc", "tcn", "rxe",
    "sp", "shprslt", "nonesttables", "pgptbl", "listtable", "listoverridetable", "revtbl", "filetbl", "template", "private",
    "bkmkstart", "bkmkend", "upr", "author", "operator", "company", "subject", "keywords", "comment", "doccomm", "creatim",
    "revtim", "printim", "buptim", "category", "manager", "hlinkbase", "formfield", "datafield",
}  # fmt: skip
_LEFT_OUT = {
    **dict.fromkeys(("header", "headerl", "headerr", "headerf"), "headers and footers"),
    **dict.fromkeys(("footer", "footerl", "footerr", "footerf"), "headers and footers"),
    "pict": "picture", "annotation": "comment", "objdata": "embedded object",
}  # fmt: skip
# Of the groups marked as ones that old readers may pass over, those with text.
_KEPT = {"shpinst", "shptxt", "ud", "fldrslt", "moMath", "moMathPara", "footnote"}
_STORIES = {"footnote", "shptxt", "dptxbxtext"}  # groups of paragraphs that follow the one that they stand in


@dataclass
class _State:
    """What holds inside a group, and ends with it."""

    into: str = ""  # where text goes: "" for the document, a part of the head of the file, or "nowhere"
    encoding: str | None = None
    skipped: int = 1  # characters that stand for one in Unicode, for old readers
    is_hidden: bool = False
    is_deleted: bool = False
    in_table: bool = False
    style: int = 0
    outline: int | None = None
    may_pass: bool = False  # after \*
    begins_story: bool = False


@dataclass
class _Story:
    """Paragraphs of the document, of a note or of a text box: finished ones, and the present one with what follows it."""

    paragraphs: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    following: list[str] = field(default_factory=list)


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read an RTF file; blocks are numbered by paragraph and table. Notes and text boxes follow their paragraph.

    Raises:
        SourceError: no RTF file, or one beyond the bounds.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise SourceError(
            f"{name} cannot be read as RTF: it has more than {_MOST_BYTES >> 20} MB; save it without pictures, or leave "
            "it out with --exclude."
        )
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf").lstrip()
    if not content.startswith(b"{\\rtf"):
        raise SourceError(
            f"{name} cannot be read as RTF: it does not begin with {{\\rtf; give it the suffix of its format, or leave it "
            "out with --exclude."
        )
    reader = _Reader(name)
    reader.read(content)
    blocks, title = reader.builder.blocks(), reader.title or own_title(reader.head["title"])
    if not blocks and reader.title:
        reader.builder.text(reader.title, 1, 1)
        blocks = reader.builder.blocks()
    yield Document(name, "", title, "paragraph", blocks)
    if not blocks:
        yield Note(name, "holds no text")
    if text := left_out_text(reader.left_out):
        yield Note(name, text)


class _Reader:
    """Goes through the tokens of a file."""

    def __init__(self, name: str):
        self.builder, self.left_out, self.title = BlockBuilder(), Counter[str](), ""
        self.head: dict[str, str] = {"title": "", "font": "", "style": ""}
        self._name, self._number = name, 0
        self._state, self._groups = _State(), list[_State]()
        self._page = DEFAULT
        self._fonts: dict[int, str] = {}
        self._font = 0  # of which the font table speaks
        self._styles: dict[int, tuple[int, bool]] = {}  # number → level of heading, whether it is a title
        self._bytes = bytearray()
        self._to_skip = 0
        self._stories = [_Story()]
        self._cells: list[str] = []
        self._rows: list[tuple[bool, list[str]]] = []
        self._is_header_row = False

    def read(self, content: bytes) -> None:
        """Read a whole file."""
        at = 0
        while (match := _TOKEN.match(content, at)) is not None:
            at = match.end()
            word, argument, byte, symbol, brace, text = match.groups()
            if text is not None:
                self._add_bytes(text)
            elif word is not None:
                value = None if argument is None else int(argument)
                if word == b"bin":
                    at += max(0, value or 0)
                else:
                    self._control(word.decode("ascii"), value)
            elif byte is not None:
                self._add_bytes(bytes.fromhex(byte.decode("ascii")))
            elif brace == b"{":
                self._open()
            elif brace == b"}":
                if not self._groups:
                    break
                self._close()
            elif symbol is not None:
                self._symbol(symbol.decode("latin-1"))
        while len(self._stories) > 1:
            self._end_story()
        self._end_paragraph()
        self._end_table()

    def _open(self) -> None:
        self._flush()
        self._to_skip = 0
        self._groups.append(self._state)
        if len(self._groups) > _DEEPEST_GROUP:
            raise SourceError(
                f"{self._name} cannot be read as RTF: its groups are nested more than {_DEEPEST_GROUP:,} deep; mend it, or "
                "leave it out with --exclude."
            )
        self._state = copy.copy(self._state)
        self._state.may_pass = self._state.begins_story = False

    def _close(self) -> None:
        self._flush()
        self._to_skip = 0
        if self._state.begins_story:
            self._end_story()
        if self._state.into == "style" and self.head["style"]:
            name = self.head["style"].split(";")[0].strip()
            outline = self._state.outline
            level = heading_level(name) if outline is None else outline + 1 if 0 <= outline < 9 else 0
            self._styles[self._state.style] = (level, is_title(name))
            self.head["style"] = ""
        self._state = self._groups.pop()

    def _add_bytes(self, content: bytes) -> None:
        if self._to_skip:
            skipped = min(self._to_skip, len(content))
            self._to_skip -= skipped
            content = content[skipped:]
        self._bytes += content

    def _flush(self) -> None:
        """Decode the bytes since the last change of what they mean."""
        if self._bytes:
            encoding = self._state.encoding or self._page
            self._write(self._bytes.decode(encoding, "replace"))
            self._bytes.clear()

    def _write(self, text: str) -> None:
        state = self._state
        if state.into in self.head:
            if len(self.head[state.into]) < _LONGEST_NAME:
                self.head[state.into] += text[:_LONGEST_NAME]
        elif not state.into and not state.is_hidden and not state.is_deleted:
            self._stories[-1].words.append(text)

    def _symbol(self, symbol: str) -> None:
        self._flush()
        self._to_skip = 0
        if symbol == "*":
            self._state.may_pass = True
        elif symbol in "\r\n":
            self._control("par", None)
        else:
            self._write(_SYMBOLS.get(symbol, ""))

    def _control(self, word: str, value: int | None) -> None:
        self._flush()
        self._to_skip = 0
        state = self._state
        if state.may_pass:
            state.may_pass = False
            if word not in _KEPT:
                self._pass(word)
                return
        if word == "ud":
            state.into = self._groups[-2].into if len(self._groups) > 1 else ""
        elif state.into == "nowhere":
            return
        elif word in _UNSEEN or word in _LEFT_OUT:
            self._pass(word)
        elif word == "u" and value is not None:
            self._write(chr(value & 0xFFFF))
            self._to_skip = state.skipped
        elif word in _CHARACTERS:
            self._write(_CHARACTERS[word])
        elif word in _STORIES:
            state.begins_story, state.into, state.in_table, state.outline = True, "", False, None
            self._stories.append(_Story())
        elif not self._head(word, value):
            self._format(word, value)

    def _pass(self, word: str) -> None:
        """Leave out the present group, which holds no text of the document or is of an unknown kind."""
        if word in _LEFT_OUT and not self._state.into:
            self.left_out[_LEFT_OUT[word]] += 1
        self._state.into = "nowhere"

    def _head(self, word: str, value: int | None) -> bool:
        """Handle a control word of the file's header; returns whether it is one."""
        state = self._state
        if word == "ansicpg":
            self._page = page_encoding(value or 0)
        elif word in ("mac", "pc", "pca"):
            self._page = {"mac": "mac_roman", "pc": "cp437", "pca": "cp850"}[word]
        elif word in ("fonttbl", "stylesheet", "info"):
            state.into = {"fonttbl": "font", "stylesheet": "style", "info": "info"}[word]
        elif word == "title" and state.into == "info":
            state.into = "title"
        elif word == "f" and state.into == "font":
            self._font = value or 0
            self.head["font"] = ""
        elif word == "fcharset":
            if encoding := charset_encoding(value or 0):
                self._fonts[self._font] = encoding
        else:
            return False
        return True

    def _format(self, word: str, value: int | None) -> None:
        """Handle a control word that formats text, or that ends a paragraph, a cell or a row."""
        state = self._state
        if word in ("par", "sect"):
            self._end_paragraph()
        elif word == "cell":
            self._end_paragraph(in_cell=True)
        elif word == "row":
            self._rows.append((self._is_header_row, self._cells))
            self._cells = []
        elif word == "trowd":
            self._is_header_row = False
        elif word == "trhdr":
            self._is_header_row = True
        elif word == "pard":
            state.in_table, state.style, state.outline = False, 0, None
        elif word == "intbl":
            state.in_table = True
        elif word == "s" or word == "outlinelevel":
            setattr(state, "style" if word == "s" else "outline", value or 0)
        elif word == "f":
            state.encoding = self._fonts.get(value or 0)
        elif word == "uc":
            state.skipped = min(max(0, 1 if value is None else value), 100)
        elif word == "plain":
            state.is_hidden = state.is_deleted = False
        elif word == "v":
            state.is_hidden = value != 0
            self.left_out["hidden text"] += state.is_hidden and not state.into
        elif word == "deleted":
            state.is_deleted = value != 0

    def _end_story(self) -> None:
        self._end_paragraph()
        story = self._stories.pop()
        self._stories[-1].following += story.paragraphs

    def _end_paragraph(self, in_cell: bool = False) -> None:
        self._flush()
        story = self._stories[-1]
        text = joined_surrogates("".join(story.words)).strip()
        texts = [part for part in (text, *story.following) if part]
        story.words, story.following = [], []
        if len(self._stories) > 1:
            story.paragraphs += texts
        elif in_cell:
            self._cells.append(cell_text([*story.paragraphs, *texts]))
            story.paragraphs = []
        elif self._state.in_table:
            story.paragraphs += texts
        else:
            self._end_table()
            self._deliver([*story.paragraphs, *texts])
            story.paragraphs = []

    def _deliver(self, texts: list[str]) -> None:
        """Add a paragraph with what follows it."""
        self._number += 1
        style = self._styles.get(self._state.style, (0, False))
        outline = self._state.outline
        level = style[0] if outline is None else outline + 1 if 0 <= outline < 9 else 0
        for at, text in enumerate(texts):
            if not at and style[1] and not self.title:
                self.title = " ".join(text.split())
            elif not at and level:
                self.builder.heading(level, " ".join(text.split()), self._number)
            else:
                self.builder.text(text, self._number, self._number)

    def _end_table(self) -> None:
        if self._cells:  # a last row whose end is missing
            self._rows.append((False, self._cells))
        if not self._rows:
            return
        self._number += 1
        cells = [row for _, row in self._rows]
        lines = [row_text(row) for row in cells]
        header, rows = ("", [line for line in lines if line])
        if any(len(row) > 1 for row in cells):
            header, rows = split_table(cells, lines, [is_header for is_header, _ in self._rows])
        self.builder.table(header, [(row, self._number, self._number) for row in rows])
        self._rows, self._cells = [], []
