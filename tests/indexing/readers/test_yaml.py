"""YAML: configuration by its keys, lists of records, and nothing that is expanded or executed."""

from __future__ import annotations

import pytest
from record_files import read, texts

from memgpt_rag.errors import SourceError


def test_yaml_keeps_its_lines_by_its_keys(tmp_path):
    content = (
        "# Settings of the kiosk\nname: kiosk\nport: 80\n\n# what is sold\nwares:\n  - ice   # cold\n  - tea\n\n"
        '"opening hours":\n  mon: 9\n  note: |\n    closed: when it rains\nlast: x\n'
    )
    (document,) = read(tmp_path, "a.yaml", content)
    assert [(block.headings, block.text, block.first, block.last, block.kind) for block in document.blocks] == [
        ((), "# Settings of the kiosk\nname: kiosk\nport: 80", 1, 3, "code"),
        (("wares",), "# what is sold\nwares:\n  - ice   # cold\n  - tea", 5, 8, "code"),
        (("opening hours",), '"opening hours":\n  mon: 9\n  note: |\n    closed: when it rains', 10, 13, "code"),
        ((), "last: x", 14, 14, "code"),
    ]


def test_several_yaml_documents_are_kept_apart(tmp_path):
    (document,) = read(tmp_path, "a.yml", "---\nkind: A\nspec:\n  x: 1\n---\nkind: B\nspec:\n  y: 2\n...\n")
    assert [(block.headings, block.text) for block in document.blocks] == [
        (("document 1",), "kind: A"),
        (("document 1", "spec"), "spec:\n  x: 1"),
        (("document 2",), "kind: B"),
        (("document 2", "spec"), "spec:\n  y: 2"),
    ]


def test_a_list_of_mappings_with_a_text_is_records(tmp_path):
    content = "# notes\n- id: 007\n  title: Tea\n  text: >\n    Green and\n    black.\n  price: 3\n- {id: b, text: 'Ice.', price: 4}\n"
    documents = read(tmp_path, "a.yaml", content, metadata={"price": "integer"})
    assert texts(documents) == [("007", "Tea", "Green and black.\n"), ("b", "", "Ice.")]
    assert [(one.metadata["price"], one.blocks[0].first, one.blocks[0].last) for one in documents] == [
        (3, 2, 7),
        (4, 8, 8),
    ]


def test_a_record_of_yaml_with_a_key_twice_is_reported(tmp_path):
    with pytest.raises(SourceError, match="a.yaml, line 2: the key 'text' occurs twice in one mapping"):
        read(tmp_path, "a.yaml", "- text: fine\n- text: a\n  text: b\n")


@pytest.mark.parametrize(
    "content",
    [
        "- &a [x, x]\n- &b [*a, *a, *a]\n- text: *b\n",
        "- text: !!python/object/apply:os.system ['true']\n- *unknown\n",
        "- {{ broken }\n- text: : :\n",
        "- " + "[" * 100_000,
        "- text: x\n  more: *gone\n",
    ],
)
def test_yaml_is_never_expanded_nor_executed(tmp_path, content):
    (document,) = read(tmp_path, "a.yaml", content)
    assert [block.text for block in document.blocks] == [content.strip()]


def test_yaml_tags_make_no_objects(tmp_path):
    documents = read(tmp_path, "a.yaml", "- text: !!python/name:os.system x\n- text: !!int 7\n")
    assert [text for _, _, text in texts(documents)] == ["x", "7"]
