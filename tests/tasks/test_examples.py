"""Files of labelled examples: what is read, and where reading stops."""

from __future__ import annotations

import pytest

from memgpt_rag.errors import SourceError
from memgpt_rag.tasks.classification.examples import LabelledText, read_examples

READ = [LabelledText("A good film.", "good", "", 0), LabelledText("No, thanks", "bad", "", 0)]


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("e.csv", 'label,text\ngood,A good film.\n\nbad,"No, thanks"\n', (2, 4)),
        ("e.tsv", "text\tlabel\tmore\nA good film.\tgood\t1\nNo, thanks\tbad\t2\n", (2, 3)),
        ("e.jsonl", '{"text": "A good film.", "label": "good"}\n\n{"text": "No, thanks", "label": "bad"}\n', (1, 3)),
    ],
)
def test_three_kinds_of_files_give_the_same_examples_with_their_lines(tmp_path, name, content, lines):
    (tmp_path / name).write_text(content, encoding="utf-8-sig")
    expected = [LabelledText(one.text, one.label, name, line) for one, line in zip(READ, lines, strict=True)]
    assert read_examples(tmp_path / name) == expected


def test_columns_have_the_users_names_and_cells_may_have_lines(tmp_path):
    (tmp_path / "e.csv").write_text('review,stars\n"Two\nlines.",5\nNever again.,1\n')
    found = read_examples(tmp_path / "e.csv", text="review", label="stars")
    assert [(one.text, one.label, one.line) for one in found] == [("Two\nlines.", "5", 2), ("Never again.", "1", 4)]
    (tmp_path / "e.jsonl").write_text('{"text": "Yes.", "label": true}\n{"text": "One.", "label": 1}\n')
    assert [one.label for one in read_examples(tmp_path / "e.jsonl")] == ["true", "1"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("e.csv", "text,mood\na,b\n", r"e\.csv, line 1: it names the columns text, mood; expected one 'label'\. Name your own"),
        ("e.csv", "text,label\na,good\nb\n", r"e\.csv, line 3: 1 cells; expected 2, as the first line names\."),
        ("e.csv", "text,label\na,good\n ,bad\n", r"e\.csv, line 3: its text is empty; expected a text in 'text' and a label"),
        ("e.csv", "text,label\na,\n", r"e\.csv, line 2: its label is empty"),
        ("e.csv", 'text,label\n"a"b,good\n', r"e\.csv, line 2: no table of cells \(.*\); mend the line\."),
        ("e.csv", "text,label\n", r"e\.csv holds no example; expected a text in 'text' and a label in 'label' in each line\."),
        ("e.jsonl", '{"text": "a"}\n', r"e\.jsonl, line 1: its label is missing"),
        ("e.jsonl", '{"text": "a", "label": 1.5}\n', r"e\.jsonl, line 1: its label is 1\.5"),
        ("e.jsonl", "text\n", r"e\.jsonl, line 1: broken JSON"),
        ("e.txt", "", r"e\.txt holds no example"),
    ],
)  # fmt: skip
def test_what_is_no_example_stops_the_reading_at_its_line(tmp_path, name, content, sentence):
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=sentence):
        read_examples(tmp_path / name)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"e\.csv cannot be read: No such file"):
        read_examples(tmp_path / "e.csv")
