"""Questions with answers from a file, and the sentence for each line that holds none."""

from __future__ import annotations

import pytest

from memgpt_rag.errors import SourceError
from memgpt_rag.training.questions import read_questions


def test_an_answer_or_the_first_of_several(tmp_path):
    file = tmp_path / "asked.jsonl"
    file.write_text(
        '{"question": " Who? ", "answer": "Ann"}\n\n{"question": "谁？", "answers": ["安", "安娜"], "id": 7}\n'
        '{"question": "When?", "answer": null, "answers": ["now"]}\n',
        encoding="utf-8",
    )
    assert read_questions(file) == [("Who?", "Ann"), ("谁？", "安"), ("When?", "now")]


@pytest.mark.parametrize(
    "content, match",
    [
        (
            b"",
            'asked.jsonl holds no question; expected an object such as {"question": "…", "answer": "…"} in each line',
        ),
        (b'{"question": "Who?", "answer": "Ann"}\n{"question": \n', "asked.jsonl, line 2: broken JSON"),
        (b'["Who?", "Ann"]', "asked.jsonl, line 1: no object; expected an object"),
        (b'{"question": "Who?"}', "asked.jsonl, line 1: its answer is missing; expected an object"),
        (b'{"question": "Who?", "answers": []}', "asked.jsonl, line 1: its answer is missing"),
        (b'{"question": "Who?", "answers": "Ann"}', "asked.jsonl, line 1: its answer is missing"),
        (b'{"question": "  ", "answer": "Ann"}', "asked.jsonl, line 1: its question is '  '; expected"),
        (b'{"question": "How many?", "answer": 7}', "asked.jsonl, line 1: its answer is 7; expected"),
        (b"[" * 200_000, "asked.jsonl, line 1: nested more than 64 levels deep; expected an object"),
        (
            b'{"question": "Who?", "answer": "A", "id": ' + b"1" * 5000 + b"}",
            "line 1: a number of 5,000 digits; expected",
        ),
        (b'{"question": "Who \\ud83d?", "answer": "A"}', "asked.jsonl, line 1: half of a character"),
        (b"\xff\xfe", r"asked.jsonl is not UTF-8 \(byte 0\); save it as UTF-8"),
    ],
)
def test_what_is_no_question_is_named_with_its_line(tmp_path, content, match):
    file = tmp_path / "asked.jsonl"
    file.write_bytes(content)
    with pytest.raises(SourceError, match=match):
        read_questions(file)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match="asked.jsonl cannot be read: No such file or directory; name a file"):
        read_questions(tmp_path / "asked.jsonl")
