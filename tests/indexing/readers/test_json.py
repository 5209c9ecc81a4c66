"""JSON: lists of records, and any other value as text by its keys."""

from __future__ import annotations

import json

import pytest
from record_files import notes, read, texts

from indexing.job_log import Reject
from indexing.sources.readers.records import json_file
from memgpt_rag.errors import SourceError


def test_a_list_of_objects_with_a_text_is_records(tmp_path):
    content = '[{"id": "a", "title": "\\u6e21\\u8239", "text": "\\u4e03\\u70b9\\u5f00\\u3002"},\n\n {"Body": "Two."}]\n'
    documents = read(tmp_path, "a.json", content)
    assert texts(documents) == [("a", "渡船", "七点开。"), ("item-2", "", "Two.")]
    assert [(one.unit, one.blocks[0].first) for one in documents] == [("item", 1), ("item", 2)]


def test_items_that_are_no_records_are_reported(tmp_path):
    rejects: list[Reject] = []
    content = '[{"id": 1, "text": "One."}, 7, {"id": 1, "text": "Two."}, {"text": "Three."}]'
    assert [one.record for one in read(tmp_path, "a.json", content, on_reject=rejects.append)] == ["1", "item-4"]
    assert rejects == [
        Reject("a.json", "item 2", 'found a JSON number, expected an object such as {"text": "…"}.'),
        Reject("a.json", "item 3", "its id '1' is that of item 1 already; ids must differ."),
    ]


def test_one_list_of_records_in_an_object_is_records_with_a_note(tmp_path):
    content = json.dumps({"version": 3, "licence": "free", "items": [{"text": "One."}, {"text": "Two."}]})
    assert texts(read(tmp_path, "a.json", content)) == [("item-1", "", "One."), ("item-2", "", "Two.")]
    assert notes(tmp_path, "a.json") == [
        "its records are the 2 items of 'items'; its other fields are left out (version, licence)"
    ]


def test_objects_one_after_the_other_are_records(tmp_path):
    documents = read(tmp_path, "a.json", '{"text": "One."}{\n"text": "Two."\n}\n{"text": "Three."}')
    assert [(one.record, one.unit, one.blocks[0].first, one.blocks[0].last) for one in documents] == [
        ("line-1", "line", 1, 1),
        ("line-1-2", "line", 1, 3),
        ("line-4", "line", 4, 4),
    ]


def test_other_json_is_text_by_its_keys(tmp_path):
    opening = {
        "monday": "9–17",
        "tuesday": "9–17",
        "wednesday": "9–17",
        "thursday": "9–20",
        "friday": None,
        "sunday": False,
    }
    value = {"title": "Hut \u6e56", "opening": opening, "tags": ["lake", "boats"], "size": {"beds": 4}}
    (document,) = read(tmp_path, "a.json", json.dumps(value, indent=1))
    assert (document.title, document.record, document.unit) == ("Hut 湖", "", "line")
    assert [(block.headings, block.text, block.kind) for block in document.blocks] == [
        ((), "title: Hut 湖\ntags: lake, boats\nsize:\n  beds: 4", "code"),
        (
            ("opening",),
            "monday: 9–17\ntuesday: 9–17\nwednesday: 9–17\nthursday: 9–20\nfriday: null\nsunday: false",
            "code",
        ),
    ]
    assert (document.blocks[0].first, document.blocks[0].last) == (1, 18)


def test_named_items_of_a_list_are_headings(tmp_path):
    places = [
        {"name": name, "geometry": {"type": "Point", "coordinates": [1.5, number]}, "a": 1, "b": 2, "c": 3, "d": 4}
        for number, name in enumerate(["Pier", "Mole"])
    ]
    (document,) = read(tmp_path, "a.json", json.dumps({"type": "FeatureCollection", "features": places}))
    assert [block.headings for block in document.blocks] == [(), ("features", "Pier"), ("features", "Mole")]
    assert document.blocks[2].text == (
        "name: Mole\ngeometry:\n  type: Point\n  coordinates: 1.5, 1\na: 1\nb: 2\nc: 3\nd: 4"
    )


def test_questions_in_nested_json_keep_their_answers(tmp_path):
    nested = {
        "data": [{"title": "Lake", "paragraphs": [{"context": "It is deep.", "qas": [{"question": "How?", "id": 5}]}]}]
    }
    (document,) = read(tmp_path, "a.json", json.dumps(nested))
    text = "\n".join(block.text for block in document.blocks)
    assert [line.strip() for line in text.split("\n")] == [
        "data:", "- title: Lake", "paragraphs:", "- context: It is deep.", "qas:", "- question: How?", "id: 5"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ('"\\u6e21"', "渡"),
        ("[1, 2.50, true]", "1, 2.5, true"),
        ('{"a": "x\\ny"}', "a: x\n  y"),
        ('{"a": [[1, 2], [3]]}', "a:\n  - 1, 2\n  - 3"),
    ],
)
def test_small_values(tmp_path, content, value):
    (document,) = read(tmp_path, "a.json", content)
    assert [block.text for block in document.blocks] == [value]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[" * 100_000, r"line 1: broken JSON \(too deep\)"),
        ('{"a":' * 100_000, r"line 1: broken JSON \(too deep\)"),
        ("[" * 300 + "]" * 300, "line 1: nested more than 100 levels deep"),
        ('[{"text": "x"},\n{"text": "y"}', r"line 2: broken JSON \(a comma or \] is missing at column 14\)"),
        ('[{"text": "x"},]', r"line 1: broken JSON \(a value is missing after the last comma at column 16\)"),
        ('{"text": \n oops}', r"line 2: broken JSON \(Expecting value at column 2\)"),
        ("[1] 2", r"line 1: broken JSON \(there is more after the end of the list at column 5\)"),
        ('{"a": 1, "a": 2}', r"line 1: broken JSON \(the key 'a' occurs twice in one object\)"),
        ('{"a": "\\ud83d"}', "line 1: its text holds half of a character"),
    ],
)
def test_json_that_cannot_be_read_is_reported_with_its_line(tmp_path, content, sentence):
    with pytest.raises(SourceError, match=f"^a.json, {sentence}"):
        read(tmp_path, "a.json", content)


def test_json_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(json_file, "MOST_JSON_CHARACTERS", 100)
    assert len(read(tmp_path, "a.json", json.dumps([{"text": "x" * 200}] * 2))) == 2
    with pytest.raises(SourceError, match="^a.json holds no list of records with a text and has 202 characters, more"):
        read(tmp_path, "a.json", json.dumps("x" * 200))
    monkeypatch.setattr(json_file, "MOST_JSON_BYTES", 100)
    with pytest.raises(SourceError, match=r"^a.json has 202 bytes, more than 100; make it JSON Lines, as with jq"):
        read(tmp_path, "a.json", json.dumps("x" * 200))


def test_an_empty_json_file_has_no_documents(tmp_path):
    assert read(tmp_path, "a.json", " \n") == []
    assert [document.blocks for document in read(tmp_path, "a.json", "[]")] in ([], [()])
