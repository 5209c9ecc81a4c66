"""Documents of frameworks as entries: what they are cited by. No framework is needed."""

from __future__ import annotations

import pytest

from memgpt_rag.integrations.documents import WHOLE, Document, to_document, to_passage

COLUMNS = {WHOLE: "string", "file_path": "string"}


@pytest.mark.parametrize(
    ("metadata", "source", "place"),
    [
        ({"source": "boats.txt", "file_path": "x/boats.txt"}, "ignored", "boats.txt, b-1, document 1"),
        ({"file_path": "docs/boats.md"}, "ignored", "docs/boats.md, b-1, document 1"),
        ({"source": 7, "file_path": ""}, "boats", "boats, b-1, document 1"),
        ({}, "", "b-1, document 1"),
    ],
)
def test_a_document_is_cited_by_its_file_its_source_or_its_id(metadata, source, place):
    passage = to_passage(Document("b-1", "A boat costs 40 yuan.", metadata, source=source), COLUMNS)
    assert passage.place == place
    assert to_document(passage) == Document("b-1", "A boat costs 40 yuan.", metadata)
