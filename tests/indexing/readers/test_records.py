"""Records of JSON Lines, JSON, YAML, CSV and Parquet: their fields, ids and errors, and the bounds of their sizes."""

from __future__ import annotations

import json
import tracemalloc
from datetime import datetime
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from indexing.cli.options import reading_options
from indexing.job_log import Reject
from indexing.sources import encodings
from indexing.sources.document import Document, Note
from indexing.sources.formats import read_path
from indexing.sources.read_options import ReadOptions, RecordFields
from indexing.sources.readers.records import csv_table, json_file, jsonl, records
from memgpt_rag.errors import SourceError


def items(path: Path, **options) -> list[Document | Note]:
    return list(read_path(path, path.name, ReadOptions(**options)))


def read(folder: Path, name: str, content: str | bytes, **options) -> list[Document]:
    """The documents of a file with a content."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return [item for item in items(path, **options) if isinstance(item, Document)]


def notes(folder: Path, name: str) -> list[str]:
    return [item.text for item in items(folder / name) if isinstance(item, Note)]


def texts(documents: list[Document]) -> list[tuple[str, str, str]]:
    return [(one.record, one.title, "\n".join(block.text for block in one.blocks)) for one in documents]


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


def test_two_columns_of_parquet_with_one_name_are_an_error(tmp_path):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array([None], pa.string())], names=["text", "text"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"^a.parquet: several columns are called 'text'; rename them"):
        items(tmp_path / "a.parquet")


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


# CSV


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "id;title;text\n1;Pier;Costs 4,50 a day.\n2;Hut;Free, for all.\n", "semicolons"),
        ("a.csv", 'id\ttitle\ttext\n1\tPier\t"Costs 4,50 a day."\n2\tHut\tFree, for all.\n', "tabs"),
        ("a.csv", "id|title|text\n1|Pier|Costs 4,50 a day.\n2|Hut|Free, for all.\n", "vertical bars"),
        ("a.tsv", 'id,title,text\n1,Pier,"Costs 4,50 a day."\n2,Hut,"Free, for all."\n', "commas"),
        ("a.csv", 'id,title,text\n1,Pier,"Costs 4,50 a day."\n2,Hut,"Free, for all."\n', ""),
        ("a.csv", 'sep=;\r\nid;title;text\r\n1;Pier;Costs 4,50 a day.\r\n2;Hut;"Free, for all."\r\n', ""),
        ("a.csv", '"id", "title", "text"\n1, Pier, "Costs 4,50 a day."\n2, Hut, "Free, for all."\n', ""),
    ],
)
def test_the_delimiter_is_detected(tmp_path, name, content, said):
    expected = [("1", "Pier", "Costs 4,50 a day."), ("2", "Hut", "Free, for all.")]
    assert texts(read(tmp_path, name, content)) == expected
    assert [f"divided by {said}," in note for note in notes(tmp_path, name)] == ([True] if said else [])


def test_delimiters_in_texts_do_not_count(tmp_path):
    content = 'id,text\n1,"one; two; three"\n2,"x; y; z | w"\n'
    assert texts(read(tmp_path, "a.csv", content)) == [("1", "", "one; two; three"), ("2", "", "x; y; z | w")]


def test_a_delimiter_can_be_named(tmp_path):
    (tmp_path / "a.csv").write_text("id~text\n1~Costs 4,50; or 5.\n")
    (document,) = items(tmp_path / "a.csv", delimiter="~")
    assert texts([document]) == [("1", "", "Costs 4,50; or 5.")]


@pytest.mark.parametrize(("named", "delimiter"), [(";", ";"), ("tab", "\t"), ("\\t", "\t"), (None, None)])
def test_the_command_names_a_delimiter(named, delimiter):
    @click.command()
    @reading_options
    def command(reading):
        click.echo(repr(reading.options({}).delimiter))

    done = CliRunner().invoke(command, ["--delimiter", named] if named else [])
    assert (done.exit_code, done.output.strip()) == (0, repr(delimiter))


def test_lines_of_a_file_with_a_separator_line_are_numbered(tmp_path):
    (document,) = read(tmp_path, "a.csv", 'sep=;\nid;text\n1;"a\nb"\n')
    assert (document.blocks[0].first, document.blocks[0].last) == (3, 4)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('id,text\n1,fine\n2,"x"y\n3,also\n', "broken CSV (',' expected after '\"'); mend the line's quotation marks."),
        ("id,text\n1,fine\n2,x,y\n3,also\n", "found 3 fields, the header has 2; mend the line or quote its commas."),
    ],
)
def test_a_broken_row_is_an_error_of_its_record(tmp_path, content, reason):
    rejects: list[Reject] = []
    assert [one.record for one in read(tmp_path, "a.csv", content, on_reject=rejects.append)] == ["1", "3"]
    assert rejects == [Reject("a.csv", "line 3", reason)]


def test_an_unclosed_quotation_is_told_with_its_first_line(tmp_path):
    with pytest.raises(
        SourceError, match=r"^a.csv, line 3: broken CSV \(unexpected end of data\); mend the line's quot"
    ):
        read(tmp_path, "a.csv", 'id,text\n1,fine\n2,"open\n3,more\n4,more\n')


def test_quotation_marks_inside_of_fields_are_kept(tmp_path):
    content = 'id,text\n1,a 5" pipe\n2,"say ""yes, now"""\n3,""\n4,"x,""\n""y"\n'
    expected = [("1", "", 'a 5" pipe'), ("2", "", 'say "yes, now"'), ("3", "", ""), ("4", "", 'x,"\n"y')]
    assert texts(read(tmp_path, "a.csv", content)) == expected


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


# Parquet


def test_columns_that_are_not_needed_are_not_converted(tmp_path):
    columns = {
        "text": ["Open."],
        "far": pa.array([2**60], pa.timestamp("us")),
        "zone": pa.array([0], pa.timestamp("us", "Mars/Olympus")),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert texts(items(tmp_path / "a.parquet")) == [("row-1", "", "Open.")]


def test_a_cell_that_cannot_be_converted_is_told_with_its_row(tmp_path):
    columns = {"text": ["Open.", "Shut."], "day": pa.array([datetime(2024, 5, 1), None], pa.timestamp("us"))}
    table = pa.table(columns)
    far = pa.array([None, 2**60], pa.timestamp("us"))
    pq.write_table(pa.concat_tables([table, table.set_column(1, "day", far)]), tmp_path / "a.parquet")
    rejects: list[Reject] = []
    documents = items(tmp_path / "a.parquet", on_reject=rejects.append, metadata={"day": "date"})
    assert [(one.record, str(one.metadata.get("day"))) for one in documents] == [
        ("row-1", "2024-05-01"),
        ("row-2", "None"),
        ("row-3", "None"),
    ]
    assert [one.position for one in rejects] == ["row 4"]
    assert rejects[0].reason.startswith("its day cannot be converted (")


def test_invalid_utf8_in_parquet_is_told_with_its_row(tmp_path):
    buffer = pa.array([b"fine", b"caf\xe9"], pa.binary())
    broken = pa.StringArray.from_buffers(2, buffer.buffers()[1], buffer.buffers()[2])
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    with pytest.raises(
        SourceError, match=r"a.parquet, row 2: its text cannot be converted \('utf-8' codec can't decode"
    ):
        items(tmp_path / "a.parquet")


def test_lists_of_texts_in_parquet_are_paragraphs_and_other_types_are_named(tmp_path):
    pq.write_table(pa.table({"text": [["One.", "Two."]]}), tmp_path / "a.parquet")
    assert texts(items(tmp_path / "a.parquet")) == [("row-1", "", "One.\nTwo.")]
    for values, kind in (([{"a": "x"}], "object"), ([b"x"], "binary data"), ([3], "number"), ([[{"a": 1}]], "object")):
        pq.write_table(pa.table({"text": values}), tmp_path / "a.parquet")
        with pytest.raises(
            SourceError, match=f"a.parquet, row 1: its text is {kind}, expected text or a list of texts"
        ):
            items(tmp_path / "a.parquet")


def test_a_value_of_many_rows_is_in_memory_once(tmp_path):
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 120, pa.int32()), pa.array(["x" * 2**20]))
    pq.write_table(pa.table({"text": values.cast(pa.string())}), tmp_path / "a.parquet", use_dictionary=True)
    before = pa.total_allocated_bytes()
    peak = 0
    for number, document in enumerate(read_path(tmp_path / "a.parquet", "a.parquet", ReadOptions()), 1):
        peak = max(peak, pa.total_allocated_bytes() - before)
        assert document.blocks[0].last == number
    assert number == 120
    assert peak < 40 * 2**20


# JSON


def test_a_list_of_objects_with_a_text_is_records(tmp_path):
    content = '[{"id": "a", "title": "\\u6e21\\u8239", "text": "\\u4e03\\u70b9\\u5f00\\u3002"},\n\n {"Body": "Two."}]\n'
    documents = read(tmp_path, "a.json", content)
    assert texts(documents) == [("a", "渡船", "七点开。"), ("item-2", "", "Two.")]
    assert [(one.unit, one.blocks[0].first) for one in documents] == [("item", 1), ("item", 2)]


def test_items_that_are_no_records_are_told(tmp_path):
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
def test_json_that_cannot_be_read_is_told_with_its_line(tmp_path, content, sentence):
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


# YAML


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


def test_several_yaml_documents_are_told_apart(tmp_path):
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


def test_a_record_of_yaml_with_a_key_twice_is_told(tmp_path):
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
