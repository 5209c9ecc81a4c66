"""Records: their fields, ids and errors, and the bounds of their sizes."""

from __future__ import annotations

import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from record_files import items, read, texts

from indexing.job_log import Reject
from indexing.sources import encodings
from indexing.sources.read_options import RecordFields
from indexing.sources.readers.records import csv_table, jsonl, records
from memgpt_rag.errors import SourceError

# Half of a character


@pytest.mark.parametrize(
    ("line", "options", "what"),
    [
        ({"text": "Low tide \ud83d at six."}, {}, "text"),
        ({"id": "7\udc00", "text": "Low tide."}, {}, "id"),
        ({"title": "\ude00Tides", "text": "Low tide."}, {}, "title"),
        ({"place": "pier \ud83d", "text": "Low tide."}, {"metadata": {"place": "string"}}, "place"),
        ({"paragraphs": ["Low tide.", "\udfff"]}, {}, "paragraphs"),
    ],
)
def test_half_of_a_character_is_an_error_of_its_record(tmp_path, line, options, what):
    rejects: list[Reject] = []
    content = '{"text": "High tide."}\n' + json.dumps(line) + "\n"
    with pytest.raises(SourceError, match=rf"^a.jsonl, line 2: its {what} holds half of a character \(\\ud"):
        read(tmp_path, "a.jsonl", content, **options)
    assert texts(read(tmp_path, "a.jsonl", content, on_reject=rejects.append, **options)) == [
        ("line-1", "", "High tide.")
    ]
    assert [(one.source, one.position) for one in rejects] == [("a.jsonl", "line 2")]


def test_a_pair_of_halves_is_a_character(tmp_path):
    (document,) = read(tmp_path, "a.jsonl", json.dumps({"text": "Boats 🛶!"}))
    assert document.blocks[0].text == "Boats 🛶!"


def test_half_of_a_character_in_a_field_that_nobody_reads_does_no_harm(tmp_path):
    assert texts(read(tmp_path, "a.jsonl", json.dumps({"text": "Open.", "note": "\ud83d"}))) == [
        ("line-1", "", "Open.")
    ]


# Names of fields


@pytest.mark.parametrize("names", ["ID,Title,Text", " id, title, text", "Id,TITLE ,Content", "_ID,Headline,BODY"])
def test_names_of_fields_are_found_in_any_case_and_with_spaces(tmp_path, names):
    assert texts(read(tmp_path, "a.csv", f"{names}\n1,Kiosk,Open till nine.\n")) == [("1", "Kiosk", "Open till nine.")]


def test_a_field_named_exactly_goes_before_one_in_other_case(tmp_path):
    (document,) = read(tmp_path, "a.jsonl", json.dumps({"Text": "other", "text": "this"}))
    assert document.blocks[0].text == "this"
    (document,) = read(tmp_path, "a.jsonl", json.dumps({"Reply ": "so"}), fields=RecordFields(text="reply"))
    assert document.blocks[0].text == "so"
    with pytest.raises(SourceError, match="a.jsonl, line 1: the fields TEXT, Text have the same name but for case"):
        read(tmp_path, "a.jsonl", json.dumps({"TEXT": "other", "Text": "this"}))


def test_metadata_is_found_in_any_case(tmp_path):
    (document,) = read(tmp_path, "a.csv", "Text,Year\nOpen.,2021\n", metadata={"year": "integer"})
    assert document.metadata == {"year": 2021}


def test_a_name_that_is_an_object_is_no_title(tmp_path):
    record = {"name": {"first": "Ann"}, "heading": "Opening", "text": "Nine."}
    assert read(tmp_path, "a.jsonl", json.dumps(record))[0].title == "Opening"
    with pytest.raises(SourceError, match=r"its name is object, expected text or a number\."):
        read(tmp_path, "a.jsonl", json.dumps(record), fields=RecordFields(title="name"))


def test_a_long_title_is_whole(tmp_path):
    question = "If I lose the key of my locker on a Sunday evening, when nobody is at the desk, " * 3
    (document,) = read(tmp_path, "a.jsonl", json.dumps({"title": question, "text": "Call the porter."}))
    assert document.title == question.strip()


# Names that occur twice


@pytest.mark.parametrize(
    ("name", "content", "column"),
    [
        ("a.csv", "id,text,text\n1,Kept.,\n", "text"),
        ("a.csv", "note;text;note\na;b;c\n", "note"),
        ("a.tsv", "text\tid \tid\nx\t1\t2\n", "id"),
    ],
)
def test_two_columns_with_one_name_are_an_error(tmp_path, name, content, column):
    with pytest.raises(SourceError, match=f"^{name}: several columns are called '{column}'; rename them"):
        read(tmp_path, name, content)


def test_columns_without_a_name_may_be_many(tmp_path):
    assert texts(read(tmp_path, "a.csv", "id,text,,\n1,Open.,,\n")) == [("1", "", "Open.")]


@pytest.mark.parametrize("line", ['{"text": "one", "text": "two"}', '{"text": "x", "more": {"a": 1, "a": 2}}'])
def test_a_key_that_occurs_twice_is_an_error(tmp_path, line):
    with pytest.raises(SourceError, match=r"a.jsonl, line 1: broken JSON \(the key '\w+' occurs twice in one object\)"):
        read(tmp_path, "a.jsonl", line)


# Ids


def test_a_record_without_an_id_never_has_that_of_another_one(tmp_path):
    content = '{"id": "2", "text": "a"}\n{"text": "b"}\n{"id": 3, "text": "c"}\n{"text": "d"}\n{"id": "line-6", "text": "e"}\n{"text": "f"}\n'
    documents = read(tmp_path, "a.jsonl", content)
    assert [one.record for one in documents] == ["2", "line-2", "3", "line-4", "line-6", "line-6-2"]
    with pytest.raises(SourceError, match="a.jsonl, line 2: its id 'line-1' is that of line 1 already"):
        read(tmp_path, "a.jsonl", '{"text": "a"}\n{"id": "line-1", "text": "b"}\n')


def test_an_integer_of_many_digits_is_an_error_of_its_record(tmp_path):
    with pytest.raises(SourceError, match=r"a.jsonl, line 1: broken JSON \(a number that is too long\)"):
        read(tmp_path, "a.jsonl", '{"text": "x", "n": ' + "9" * 5000 + "}")
    with pytest.raises(SourceError, match=r"a.csv, line 2: its n is '999.*, expected an integer\."):
        read(tmp_path, "a.csv", "text,n\nx," + "9" * 5000 + "\n", metadata={"n": "integer"})


# Bounds


@pytest.fixture
def small_bound(monkeypatch):
    for module in (encodings, records, jsonl, csv_table):
        monkeypatch.setattr(module, "MOST_RECORD_CHARACTERS", 1000)


HUGE = 16 * 2**20


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("a.jsonl", b'{"id": 1, "text": "fine"}\n{"id": 2, "text": "', b'"}\n{"id": 3, "text": "also"}'),
        ("a.csv", b'id,text\n1,fine\n2,"', b'"\n3,also\n'),
    ],
)
def test_a_huge_record_is_rejected_in_little_memory(tmp_path, small_bound, name, before, after):
    filler = b'x,""y\n' + b"z" * 4090 if name == "a.csv" else b"xyzv" * 1024
    path = tmp_path / name
    path.write_bytes(before + filler * (HUGE // 4096) + after)
    rejects: list[Reject] = []
    tracemalloc.start()
    try:
        documents = items(path, on_reject=rejects.append)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [one.record for one in documents] == ["1", "3"]
    assert [one.position for one in rejects] == ["line 3" if name == "a.csv" else "line 2"]
    assert "more than 1,000 characters" in rejects[0].reason
    assert peak < HUGE / 3


@pytest.mark.parametrize("tail", ['"', '""', '"""', ""])
def test_the_end_of_a_huge_field_is_found_wherever_its_pieces_are_cut(tmp_path, small_bound, tail):
    for length in range(990, 1012):
        field = '"' + "x" * length + '""' * 600 + "\n" + "y" * 1000 + tail.replace('"', '""') + '"'
        rejects: list[Reject] = []
        documents = read(tmp_path, "a.csv", f"id,text\n1,{field}\n2,also\n", on_reject=rejects.append)
        assert ([one.record for one in documents], len(rejects)) == (["2"], 1)


def test_a_text_that_is_too_long_is_an_error_of_its_record(tmp_path, small_bound):
    pq.write_table(pa.table({"text": ["fine", "x" * 1001, "é" * 1000]}), tmp_path / "a.parquet")
    rejects: list[Reject] = []
    documents = items(tmp_path / "a.parquet", on_reject=rejects.append)
    assert [one.record for one in documents] == ["row-1", "row-3"]
    assert rejects == [
        Reject("a.parquet", "row 2", "its text has 1,001 characters, more than 1,000; divide it into several records.")
    ]


@pytest.mark.parametrize(
    "name, line", [("a.jsonl", '{"text": "Kayaks are free."}\n'), ("a.csv", "Kayaks are free.,1\n")]
)
def test_the_share_of_a_long_file_that_was_read_is_reported(tmp_path, name, line):
    shares: list[float] = []
    header = "text,number\n" if name == "a.csv" else ""
    read(tmp_path, name, header + line * 2000, on_progress=shares.append)
    assert shares == sorted(shares) and len(set(shares)) > 2 and shares[-1] == 1
    inside: list[float] = []
    read(tmp_path, name, header + line * 3, on_progress=inside.append, depth=1)
    assert inside == [], "a file in another one says nothing about that one"
