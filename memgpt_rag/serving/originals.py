"""The PDF file that an entry was read from, where it was uploaded and is kept: a browser shows it at the entry's page."""

from __future__ import annotations

from pathlib import Path

from memgpt_rag.passage import Passage
from memgpt_rag.serving.stores import VectorStores

_MAGIC = b"%PDF-"
# A browser shows the file as a PDF and as nothing else, whatever is in it, apart from this server's pages; none can frame it.
HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "cache-control": "private, no-store",
}


def original_pdf(stores: VectorStores, memory: str, passage: Passage) -> Path | None:
    """Return the uploaded PDF file that an entry comes from; None for an entry that comes from elsewhere.

    A file that only calls itself a PDF is none.
    """
    store = stores.known(memory)
    file = None if store is None else store.files.get(passage.source.partition("/")[0])
    if file is None or passage.source != file.source or passage.unit != "page":
        return None
    path = stores.path(file)
    try:
        with path.open("rb") as content:
            return path if content.read(len(_MAGIC)) == _MAGIC else None
    except OSError:
        return None
