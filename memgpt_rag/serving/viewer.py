"""The document viewer: a document's text as it was indexed, with the cited passage marked, as HTML without scripts."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from html import escape

import pyarrow as pa
import pyarrow.compute as pc

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.io.printable import printable_html
from memgpt_rag.memory import Memory
from memgpt_rag.model.prompt import detect_language
from memgpt_rag.passage import Passage
from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.files import shown_name
from memgpt_rag.serving.memories import ServedMemory

_AROUND = 100  # entries before and behind the cited one
_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.6 system-ui, sans-serif; }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.3rem; } h2 { font-size: 0.85rem; font-weight: 600; opacity: 0.7; margin: 1.5rem 0 0.2rem; }
p { white-space: pre-wrap; margin: 0; } .note { opacity: 0.8; } a { color: inherit; }
img { display: block; max-width: 100%; margin-bottom: 0.5rem; }
mark { background: #ffe58a; color: #000; display: block; padding: 0.5rem; border-radius: 0.3rem; }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "private, no-store",
}


def signature(secret: bytes, memory: str, entry: str) -> str:
    """Return what an address must end with where the server has keys: it opens one document, without a key."""
    return hmac.new(secret, f"{memory}\n{entry}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]


def cited_entry(served: ServedMemory, entry: str, version: int | None) -> tuple[Memory, Passage]:
    """Return an entry, and the version of the memory that has it.

    Args:
        version: of the memory that was cited; another one is looked at where the present one has the entry no more.

    Raises:
        ApiError: 404 where no version that is kept has the entry.
    """
    memory: Memory = served.memory
    cited = _entry(memory, entry)
    if cited is None and version is not None and version != served.version:
        try:
            memory = Memory.open(served.folder, version=version)
        except MemoryFormatError:
            raise _gone(entry) from None
        cited = _entry(memory, entry)
    if cited is None:
        raise _gone(entry)
    return memory, cited


def document_page(
    served: ServedMemory,
    memory: Memory,
    cited: Passage,
    file: str = "",
    picture: Callable[[Passage], str] = lambda passage: "",
) -> str:
    """Return the page of the document that holds an entry.

    Args:
        memory: the version that has it.
        file: address of the document's file at the entry's page; empty where there is none.
        picture: returns the address of the picture of an entry that has one.
    """
    same = (pc.field("source") == _text(cited.source)) & (pc.field("record") == _text(cited.record))
    rows = memory.rows(same).tolist()
    passages = memory.passages(rows)
    pictures = {one.id: picture(one) for row, one in zip(rows, passages, strict=True) if memory.has_picture(row)}
    # A picture has no place in the text, but on a page: it stands behind the text that begins there.
    passages.sort(key=lambda one: (one.first, one.id in pictures, one.start) if pictures else (one.start, one.first))
    note = f"{printable_html(shown_name(cited.source))} · {printable_html(served.name)}, {memory.manifest.commit}"
    if file:
        note += f' · <a href="{escape(file)}">{printable_html(f"{cited.unit} {cited.first}")}, PDF</a>'
    return _page(passages, cited, note, pictures)


def _entry(memory: Memory, entry: str) -> Passage | None:
    rows = memory.rows(pc.field("id") == _text(entry))
    return memory.passages(rows[:1])[0] if len(rows) else None


def _text(text: str) -> pa.Scalar:
    try:
        return pa.scalar(text, pa.string())
    except (pa.ArrowException, UnicodeEncodeError):
        raise ApiError(400, "The id of the entry is no text.", param="entry") from None


def _gone(entry: str) -> ApiError:
    return ApiError(404, f"No version that is kept has the entry {entry[:80]!r}.", code="entry_not_found")


def _page(passages: Sequence[Passage], cited: Passage, note: str, pictures: Mapping[str, str]) -> str:
    place = next(number for number, passage in enumerate(passages) if passage.id == cited.id)
    begin, end = max(0, place - _AROUND), place + _AROUND + 1
    parts = [_section(passage, passage.id == cited.id, pictures.get(passage.id)) for passage in passages[begin:end]]
    if begin:
        parts.insert(0, f'<p class="note">{begin:,} passages stand before.</p>')
    if end < len(passages):
        parts.append(f'<p class="note">{len(passages) - end:,} passages follow.</p>')
    title = printable_html(cited.title or shown_name(cited.source))
    language = detect_language(cited.text)
    return (
        f'<!doctype html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
        f'<p class="note">{note}</p>\n' + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    )


def _section(passage: Passage, is_cited: bool, picture: str | None) -> str:
    image = f'<img src="{escape(picture)}" alt="{printable_html(passage.text)}">' if picture else ""
    text = f"{image}<p>{printable_html(passage.text, lines=True)}</p>"
    text = f'<mark id="cited">{text}</mark>' if is_cited else text
    return f"<section>\n<h2>{printable_html(shown_name(passage.place))}</h2>\n{text}\n</section>"
