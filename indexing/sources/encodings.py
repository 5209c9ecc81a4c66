"""Decodes text files: by byte-order mark, by the encoding that the user names or the file declares, else as UTF-8.

Nothing is guessed: a file that is not in its encoding is an error, which says where, and what the file looks like.
"""

from __future__ import annotations

import codecs
import fnmatch
import io
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from indexing.sources.read_options import ReadOptions
from memgpt_rag.errors import SourceError
from memgpt_rag.limits import MOST_RECORD_CHARACTERS

_BLOCK = 2**20
# UTF-32 little-endian begins as UTF-16 does, and so goes first.
_MARKS = [
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]
# Codecs of Python that Python itself counts as text, but in which no file is written.
_NO_CHARACTER_SET = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem"}
# The 3,755 most common Chinese characters are in rows 0xB0 to 0xD7 of GB2312, its punctuation in 0xA1 and 0xA3.
_TWO_BYTES = re.compile(rb"[\x81-\xfe][\x40-\x7e\x80-\xfe]")
_COMMON_GB2312 = re.compile(rb"[\xb0-\xd7\xa1\xa3][\xa1-\xfe]")
_UPPER_GB2312 = re.compile(rb"[\xc9-\xd7][\xa1-\xfe]")


def text_codec(label: str) -> str | None:
    """Return Python's codec for a label of a character set; None for an unknown label.

    Labels are understood as browsers do (https://encoding.spec.whatwg.org): iso-8859-1 and ascii are windows-1252,
    gb2312 is its superset GB18030. Labels that browsers do not know are names of Python's codecs.
    """
    import webencodings

    if (encoding := webencodings.lookup(label)) is not None:
        if encoding.name in ("replacement", "x-user-defined"):  # for browsers' safety; no character sets
            return None
        return "gb18030" if encoding.name == "gbk" else encoding.codec_info.name
    try:
        codec = codecs.lookup(label)
    except (LookupError, ValueError):  # ValueError: a label with a zero byte
        return None
    name = codec.name.replace("-", "_")
    return codec.name if codec._is_text_encoding and name not in _NO_CHARACTER_SET else None


def decoded_lines(path: Path, name: str, options: ReadOptions, newline: str) -> Iterator[str]:
    """Yield the lines of a file with their line ends, one at a time; the whole file is validated before the first one.

    A line longer than `MOST_RECORD_CHARACTERS` comes in pieces of that length, so that no line fills the memory. The share of the
    file that was read is reported to `options.on_progress`, unless it lies in another file.

    Args:
        newline: line end, as for `open`.

    Raises:
        SourceError: as `decode` does.
    """
    with path.open("rb") as file:
        encoding = _marked(file.read(4)) or named_encoding(name, options) or "utf-8"
    if not _is_text(path, encoding):
        decode(path, name, options)  # raises an error with the position
    size = path.stat().st_size
    with path.open("rb") as file, io.TextIOWrapper(file, encoding, newline=newline) as text:
        for number, line in enumerate(iter(partial(text.readline, MOST_RECORD_CHARACTERS), "")):
            if not options.depth:  # else the share of a member, not of the file that holds it
                options.on_progress(file.tell() / size)
            yield line if number else line.removeprefix("\ufeff")


def decode(path: Path, name: str, options: ReadOptions, declared: str | None = None) -> str:
    """Read and decode the text of a file.

    Its encoding is that of its byte-order mark, else the one that the user names for it, else the one that it declares,
    else UTF-8. A file that is not in the encoding that it declares, but is in UTF-8, is read as UTF-8; so is one that
    declares windows-1252 (in which any bytes are text) and whose every other byte is UTF-8.

    Args:
        name: its name in citations, which the user's patterns for encodings are compared with.
        declared: label of the encoding that the file declares; an unknown label counts as none.

    Raises:
        SourceError: a binary file, or text in another encoding, with the offset of the first bad byte.
    """
    content = path.read_bytes()
    marked, named = _marked(content[:4]), named_encoding(name, options)
    by_label = _declared(declared) if marked is None and named is None else None
    encoding = marked or named or by_label or "utf-8"
    if by_label is not None and _is_utf8_instead(content, by_label):
        encoding = "utf-8"
    if b"\0" in content and not _is_wide(encoding):
        raise SourceError(
            f"{name} is a binary file (byte 0 at offset {content.index(0)}) in no format that is read here; "
            f"{_advice(name, _wide_guess(content))}."
        )
    try:
        return _with_controls(content, encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        guess = _guess(content)
        raise SourceError(
            f"{name} is not {encoding}: byte 0x{content[error.start]:02X} at offset {error.start}"
            f"{f'; it looks like {guess}' if guess else ''}; {_advice(name, guess or 'NAME')}."
        ) from error


def _with_controls(content: bytes, encoding: str) -> str:
    """Decode; the five bytes that windows-1252 leaves open are control characters, as in browsers."""
    if encoding != "cp1252":
        return content.decode(encoding)
    try:
        return content.decode("cp1252")
    except UnicodeDecodeError:
        return "".join(
            piece.decode("latin-1" if at % 2 else "cp1252")
            for at, piece in enumerate(re.split(rb"([\x81\x8d\x8f\x90\x9d]+)", content))
        )


def _marked(start: bytes) -> str | None:
    """Return the encoding that a file's byte-order mark names."""
    return next((encoding for mark, encoding in _MARKS if start.startswith(mark)), None)


def named_encoding(name: str, options: ReadOptions) -> str | None:
    """Return the encoding that the user names for a file: the first pattern that fits, else the one for all files."""
    base = PurePosixPath(name).name
    for pattern, encoding in options.encodings:
        if fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(base, pattern):
            return encoding
    return options.encoding


def _declared(label: str | None) -> str | None:
    codec = None if label is None else text_codec(label)
    # Browsers do the same: a label that can be read byte by byte is not in UTF-16, whatever it says.
    return "utf-8" if codec is not None and _is_wide(codec) else codec


def _is_utf8_instead(content: bytes, declared: str) -> bool:
    """Return whether a file that declares another encoding is in UTF-8: beyond doubt, or as nothing else fits."""
    if declared != "cp1252":
        try:
            content.decode(declared)
            return False
        except UnicodeDecodeError:
            pass
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not content.isascii()


def _is_text(path: Path, encoding: str) -> bool:
    """Return whether a whole file is text in an encoding."""
    decoder, wide = codecs.getincrementaldecoder(encoding)(), _is_wide(encoding)
    with path.open("rb") as file:
        try:
            while block := file.read(_BLOCK):
                decoder.decode(block)
                if b"\0" in block and not wide:
                    return False
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _is_wide(encoding: str) -> bool:
    """Return whether an encoding uses zero bytes in characters."""
    return encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32"))


def _advice(name: str, encoding: str | None) -> str:
    """Return what to do about a file that is not text in its encoding."""
    path = PurePosixPath(name)
    pattern = f"*{path.suffix}" if path.suffix else path.name
    naming = "" if encoding is None else f"name its encoding with --encoding '{pattern}={encoding}', or "
    return f"{naming}leave it out with --exclude '{pattern if encoding is None else path.name}'"


def _wide_guess(content: bytes) -> str | None:
    """Return whether text with zero bytes looks like UTF-16 without a byte-order mark."""
    sample = content[:65_536]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    for zeros, others, encoding in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if zeros >= len(sample) / 5 and others * 10 <= zeros:
            return encoding
    return None


def _guess(content: bytes) -> str | None:
    """Return the encoding that a text looks like; among equals, the one in most use."""
    from charset_normalizer import from_bytes

    sample = content[:65_536]
    if _looks_chinese(sample):
        return "gb18030"
    # Text in UTF-16 and UTF-32 has zero bytes, and is another error.
    matches = from_bytes(sample, cp_exclusion=["utf_7", "utf_16", "utf_16_be", "utf_16_le", "utf_32"])
    best = matches.best()
    if best is None:
        return None
    equals = [match for match in matches if (match.chaos, match.coherence) == (best.chaos, best.coherence)]
    equals += [match for match in matches if best.encoding in match.could_be_from_charset]
    names = {name for match in equals for name in (match.encoding, *match.could_be_from_charset)}
    usual = next((name for name in ("cp1252", "euc_jp") if name in names), best.encoding)
    return text_codec(usual) or usual


def _looks_chinese(sample: bytes) -> bool:
    """Return whether most characters beyond ASCII are common Chinese ones in GB2312 (Korean has none above 0xC8)."""
    pairs = _TWO_BYTES.findall(sample)
    common = sum(_COMMON_GB2312.match(pair) is not None for pair in pairs)
    upper = sum(_UPPER_GB2312.match(pair) is not None for pair in pairs)
    beyond_ascii = sum(byte >= 0x80 for byte in sample)
    return len(pairs) >= 2 and 2 * common >= 0.8 * beyond_ascii and upper * 10 >= len(pairs)
