"""Comma-separated values: delimiters, quotation marks, broken rows."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner
from record_files import items, notes, read, texts

from indexing.cli.options import reading_options
from indexing.job_log import Reject
from memgpt_rag.errors import SourceError


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


def test_an_unclosed_quotation_is_reported_with_its_first_line(tmp_path):
    with pytest.raises(
        SourceError, match=r"^a.csv, line 3: broken CSV \(unexpected end of data\); mend the line's quot"
    ):
        read(tmp_path, "a.csv", 'id,text\n1,fine\n2,"open\n3,more\n4,more\n')


def test_quotation_marks_inside_of_fields_are_kept(tmp_path):
    content = 'id,text\n1,a 5" pipe\n2,"say ""yes, now"""\n3,""\n4,"x,""\n""y"\n'
    expected = [("1", "", 'a 5" pipe'), ("2", "", 'say "yes, now"'), ("3", "", ""), ("4", "", 'x,"\n"y')]
    assert texts(read(tmp_path, "a.csv", content)) == expected
