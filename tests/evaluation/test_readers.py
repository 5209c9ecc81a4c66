"""Sets in the layouts of BEIR, TREC and SQuAD: what is read, and what is refused with its file and line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from memgpt_rag.errors import SourceError
from memgpt_rag.evaluation.data.answered_questions import AnsweredQuestion, read_answered
from memgpt_rag.evaluation.data.beir import read_beir
from memgpt_rag.evaluation.data.dataset import Document
from memgpt_rag.evaluation.data.layouts import guess_layout, read_dataset
from memgpt_rag.evaluation.data.squad import read_squad
from memgpt_rag.evaluation.data.trec import read_topics, read_trec

CORPUS = (
    '{"_id": "d1", "title": "Park", "text": "The park is open."}\n{"_id": "d2", "text": "公园里有船。", "url": "x"}\n'
)
QUERIES = '{"_id": "q1", "text": "When is it open?"}\n{"_id": "q2", "text": "有船吗？"}\n'
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td2\t1\n"
TOPICS = (
    "<top>\n<num> Number: q1\n<title> Topic: When is it\n open &amp; free?\n<desc> Description:\nmore\n</top>\n"
    "<top><num>q2</num><title>有船吗？</title></top>\n"
)


def beir(folder: Path, corpus: str = CORPUS, queries: str = QUERIES, qrels: str = QRELS) -> Path:
    (folder / "qrels").mkdir()
    for name, text in {"corpus.jsonl": corpus, "queries.jsonl": queries, "qrels/test.tsv": qrels}.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder


def trec(folder: Path, topics: str = TOPICS, qrels: str = "q1 0 d1 2\nq2 0 d2 1\n") -> Path:
    for name, text in {"corpus.jsonl": CORPUS, "topics.xml": topics, "qrels.txt": qrels}.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def squad(*qas: dict[str, object], context: str = "公园里有船。") -> str:
    return json.dumps({"data": [{"title": "t", "paragraphs": [{"context": context, "qas": list(qas)}]}]})


ASKED = {"id": "q1", "question": "有船吗？", "answers": [{"text": "有船", "answer_start": 3}]}


def test_a_beir_folder_is_read_with_titles_grades_and_windows_line_ends(tmp_path):
    judged = read_beir(beir(tmp_path, qrels=QRELS.replace("\n", "\r\n"), corpus="\ufeff" + CORPUS))
    assert judged.name == tmp_path.name
    assert judged.documents == {"d1": Document("Park", "The park is open."), "d2": Document("", "公园里有船。")}
    assert judged.queries == {"q1": "When is it open?", "q2": "有船吗？"}
    assert judged.judgements == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}
    assert read_dataset(tmp_path) == judged


def test_ids_that_are_numbers_are_taken_as_text(tmp_path):
    corpus = '{"_id": 7, "text": "The park is open."}\n{"_id": -2, "text": "公园里有船。"}\n{"_id": 2.5, "text": "x"}\n'
    queries = '{"_id": 1, "text": "When is it open?"}\n{"_id": "2", "text": "有船吗？"}\n'
    judged = read_beir(beir(tmp_path, corpus, queries, "query-id\tcorpus-id\tscore\n1\t7\t1\n2\t-2\t1\n"))
    assert list(judged.documents) == ["7", "-2", "2.5"]
    assert judged.judgements == {"1": {"7": 1}, "2": {"-2": 1}}
    (tmp_path / "corpus.jsonl").write_text(corpus.replace("2.5", '"7"'), encoding="utf-8")
    with pytest.raises(SourceError, match="corpus.jsonl, line 3: the id '7' was used before"):
        read_beir(tmp_path)


def test_a_document_may_be_empty_but_not_without_text(tmp_path):
    judged = read_beir(beir(tmp_path, corpus=CORPUS + '{"_id": "d3", "text": ""}\n'))
    assert judged.documents["d3"] == Document("", "")


@pytest.mark.parametrize(
    "changed, sentence",
    [
        ({"corpus": CORPUS + '{"_id": "d1", "text": "again"}\n'}, r"corpus.jsonl, line 3: the id 'd1' was used before"),
        ({"corpus": CORPUS + '{"_id": "d3"\n'}, r"corpus.jsonl, line 3: broken JSON .*expected an object such as"),
        ({"corpus": CORPUS + "[]\n"}, r"corpus.jsonl, line 3: no object; expected an object such as"),
        ({"corpus": CORPUS + '{"_id": "d3"}\n'}, r"corpus.jsonl, line 3: its text is missing"),
        (
            {"corpus": CORPUS + '{"_id": true, "text": "x"}\n'},
            r"corpus.jsonl, line 3: its _id is True; expected an object",
        ),
        ({"corpus": CORPUS + '{"_id": null, "text": "x"}\n'}, r"corpus.jsonl, line 3: its _id is missing; expected"),
        ({"corpus": "\n"}, r"corpus.jsonl holds no document"),
        ({"corpus": CORPUS + '{"_id": "d3", "text": "x\\ud83d"}\n'}, r"line 3: half of a character \('"),
        ({"qrels": QRELS + "q1\td1\t１\n"}, r"test.tsv, line 5: the grade '１' is no whole number"),
        ({"queries": QUERIES + '{"_id": "q3", "text": " "}\n'}, r"queries.jsonl, line 3: its text is empty"),
        ({"queries": QUERIES + '{"_id": "q1", "text": "x"}\n'}, r"queries.jsonl, line 3: the id 'q1' was used before"),
        ({"qrels": QRELS.split("\n", 1)[1]}, r"test.tsv, line 1: no header but 'q1\\td1\\t2'; expected query-id"),
        ({"qrels": QRELS + "q1 d1 1\n"}, r"test.tsv, line 5: 1 columns; expected three columns with tabs"),
        ({"qrels": QRELS + "q1\td1\t1.5\n"}, r"test.tsv, line 5: the grade '1.5' is no whole number"),
        ({"qrels": QRELS + "q1\td1\t1\n"}, r"test.tsv, line 5: 'd1' has grade 1 for 'q1', and had 2 before"),
        ({"qrels": QRELS + "q9\td1\t1\n"}, r"test.tsv, line 5: judges the query 'q9', which is none of the query ids"),
        (
            {"qrels": QRELS + "q1\td9\t1\n"},
            r"test.tsv, line 5: judges the document 'd9', which is none of the document",
        ),
        ({"qrels": "query-id\tcorpus-id\tscore\nq1\td1\t0\nq2\td2\t-1\n"}, r"test.tsv judges no document as relevant"),
        ({"qrels": ""}, r"test.tsv judges no document as relevant"),
    ],
)
def test_a_broken_beir_folder_is_refused_with_file_and_line(tmp_path, changed, sentence):
    with pytest.raises(SourceError, match=sentence):
        read_beir(beir(tmp_path, **changed))


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path):
    beir(tmp_path)
    (tmp_path / "queries.jsonl").write_bytes(QUERIES.encode() + '{"_id": "q3", "text": "船"}'.encode("gb18030"))
    with pytest.raises(SourceError, match=r"queries.jsonl, line 3: not UTF-8 \(byte \d+\); save the file as UTF-8"):
        read_beir(tmp_path)


def test_a_split_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    beir(tmp_path).joinpath("qrels", "dev.tsv").write_text(QRELS, encoding="utf-8")
    assert read_beir(tmp_path, "dev").judgements
    with pytest.raises(SourceError, match=r"has no file train.tsv; its splits are: dev, test. Name one of them with"):
        read_beir(tmp_path, "train")
    (tmp_path / "queries.jsonl").unlink()
    with pytest.raises(SourceError, match=r"queries.jsonl cannot be read: No such file or directory; name a file"):
        read_beir(tmp_path)


def test_a_trec_folder_is_read_with_old_topics_and_new_ones(tmp_path):
    judged = read_trec(trec(tmp_path))
    assert judged.queries == {"q1": "When is it open & free?", "q2": "有船吗？"}
    assert judged.judgements == {"q1": {"d1": 2}, "q2": {"d2": 1}}
    assert read_dataset(tmp_path) == judged


@pytest.mark.parametrize(
    "changed, sentence",
    [
        ({"topics": "no topic"}, r"topics.xml holds no topic; expected <top> <num> Number: 301"),
        ({"topics": TOPICS + "<top><title>x</title></top>"}, r"topics.xml, line 9: a topic without a number"),
        (
            {"topics": TOPICS + "<top><num>q3</num><title> </title></top>"},
            r"topics.xml, line 9: a topic without a title",
        ),
        ({"topics": TOPICS * 2}, r"topics.xml, line 9: the number 'q1' was used before"),
        ({"qrels": "q1 0 d1 2\nq1 d1 2\n"}, r"qrels.txt, line 2: 3 columns; expected four: query, 0, document, grade"),
        ({"qrels": "q1 0 d1 yes\n"}, r"qrels.txt, line 1: the grade 'yes' is no whole number"),
        (
            {"qrels": "q1 0 d1 2\n\n1 0 d1 2\n"},
            r"qrels.txt, line 3: judges the query '1', which is none of the query ids",
        ),
        ({"qrels": "q1 0 d1 0\n"}, r"qrels.txt judges no document as relevant"),
    ],
)
def test_a_broken_trec_folder_is_refused_with_file_and_line(tmp_path, changed, sentence):
    with pytest.raises(SourceError, match=sentence):
        read_trec(trec(tmp_path, **changed))


def test_a_trec_folder_with_several_judgements_or_none_is_refused(tmp_path):
    trec(tmp_path).joinpath("qrels.dev.txt").write_text("q1 0 d1 1\n")
    with pytest.raises(SourceError, match=r"should hold one file qrels.\*; found: qrels.dev.txt, qrels.txt"):
        read_trec(tmp_path)
    for path in tmp_path.glob("qrels*"):
        path.unlink()
    with pytest.raises(SourceError, match=r"should hold one file qrels.\*; found: none"):
        read_trec(tmp_path)


def test_topics_of_cranfield_keep_the_numbers_that_are_written_there(tmp_path):
    (tmp_path / "t.xml").write_text("<xml>\n<top>\n<num> 4</num> \n<title>\nheat in\nslabs .\n</title>\n</top>\n</xml>")
    assert read_topics(tmp_path / "t.xml") == {"4": "heat in slabs ."}


def test_squad_paragraphs_that_are_equal_are_one_document(tmp_path):
    paragraphs = [{"context": "one", "qas": [ASKED]}, {"context": "one", "qas": [{**ASKED, "id": "q2"}]}]
    other = {"context": "two", "qas": [{**ASKED, "id": "q3", "answers": [], "is_impossible": True}]}
    path = tmp_path / "set.json"
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}, {"paragraphs": [other]}]}), encoding="utf-8")
    judged = read_squad(path)
    assert judged.documents == {"0.0": Document("", "one"), "1.0": Document("", "two")}
    assert judged.judgements == {"q1": {"0.0": 1}, "q2": {"0.0": 1}}, "what is impossible is not asked"
    assert judged.answers["q2"] == ("有船",)
    assert read_dataset(path) == judged


@pytest.mark.parametrize(
    "text, sentence",
    [
        ('{"data": [\n', r"set.json: broken JSON \(.* at line 2, column 1\); expected the layout of SQuAD"),
        ("[]", r"set.json: no list 'data'; expected the layout of SQuAD"),
        ('{"data": [{"context": "x"}]}', r"set.json, data\[0\]: no list 'paragraphs'"),
        ('{"data": []}', r"set.json holds no paragraph"),
        (squad(), r"set.json holds no question that its paragraphs answer"),
        (
            squad({**ASKED, "question": "\udc00"}),
            r"set.json: half of a character \('.udc00' after .*question.*; expected the layout",
        ),
        (squad(ASKED, ASKED), r"data\[0\].paragraphs\[0\].qas\[1\]: the id 'q1' was used before"),
        (squad({**ASKED, "question": ""}), r"paragraphs\[0\].qas\[0\]: its question is empty"),
        (squad({**ASKED, "answers": None}), r"qas\[0\]: no list 'answers'"),
        (squad({**ASKED, "answers": [{"text": 3}]}), r"qas\[0\].answers: its text is 3"),
        (squad(ASKED, context=" "), r"data\[0\].paragraphs\[0\]: its context is ' '"),
    ],
)
def test_a_broken_squad_file_is_refused_with_its_place(tmp_path, text, sentence):
    (tmp_path / "set.json").write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=sentence):
        read_squad(tmp_path / "set.json")


def test_questions_with_answers_are_read_from_lines_and_from_squad(tmp_path):
    lines = tmp_path / "asked.jsonl"
    lines.write_text(
        '{"id": "q1", "question": "有船吗？", "golden_answers": ["有船", "有船", "有"]}\n'
        '{"question": "Why?", "answer": "So."}\n\n{"question": "How?", "answers": ["Thus."]}\n',
        encoding="utf-8",
    )
    first, second, third = read_answered(lines)
    assert first == AnsweredQuestion("q1", "有船吗？", ("有船", "有"))
    assert (second.id, second.answers, third.id, third.answers) == ("2", ("So.",), "3", ("Thus.",))
    (tmp_path / "set.json").write_text(squad(ASKED), encoding="utf-8")
    assert read_answered(tmp_path / "set.json") == [AnsweredQuestion("q1", "有船吗？", ("有船",))]


@pytest.mark.parametrize(
    "line, sentence",
    [
        (
            '{"id": "q1", "golden_answers": ["x"]}',
            r"asked.jsonl, line 2: its question is missing; expected an object such",
        ),
        ('{"id": "q1", "question": "Why?"}', r"asked.jsonl, line 2: its golden_answers is missing"),
        ('{"id": "q1", "question": "Why?", "golden_answers": []}', r"line 2: its golden_answers is \[\]"),
        ('{"id": "q1", "question": "Why?", "golden_answers": [3]}', r"line 2: its golden_answers is \[3\]"),
        ('{"id": "q0", "question": "Why?", "golden_answers": ["x"]}', r"line 2: the id 'q0' was used before"),
        ('{"id": 7, "question": "Why?", "golden_answers": ["x"]}', r"line 2: its id is 7"),
    ],
)
def test_a_broken_question_is_refused_with_file_and_line(tmp_path, line, sentence):
    path = tmp_path / "asked.jsonl"
    path.write_text(f'{{"id": "q0", "question": "Why?", "golden_answers": ["x"]}}\n{line}\n', encoding="utf-8")
    with pytest.raises(SourceError, match=sentence):
        read_answered(path)
    path.write_text("\n")
    with pytest.raises(SourceError, match=r"asked.jsonl holds no question"):
        read_answered(path)


def test_the_layout_is_guessed_by_the_names_of_files(tmp_path):
    for name in ("beir", "trec", "documents", "nothing"):
        (tmp_path / name).mkdir()
    beir(tmp_path / "beir")
    trec(tmp_path / "trec")
    (tmp_path / "documents" / "corpus.jsonl").write_text(CORPUS, encoding="utf-8")
    for name in ("set.json", "asked.jsonl", "run.txt"):
        (tmp_path / name).touch()
    guessed = [guess_layout(tmp_path / name) for name in ("beir", "trec", "set.json", "asked.jsonl")]
    assert guessed == ["beir", "trec", "squad", "questions"]
    for name, sentence in {
        "gone": "gone does not exist; expected a folder with corpus.jsonl",
        "run.txt": "run.txt has a name that tells no layout",
        "documents": "has neither queries.jsonl nor topics.*, and has documents only",
        "nothing": "has neither queries.jsonl nor topics.*, and has no corpus.jsonl either",
    }.items():
        with pytest.raises(SourceError, match=re.escape(sentence)):
            guess_layout(tmp_path / name)
    with pytest.raises(SourceError, match=r"asked.jsonl tells answers and no documents.*memgpt-rag eval answers"):
        read_dataset(tmp_path / "asked.jsonl")
