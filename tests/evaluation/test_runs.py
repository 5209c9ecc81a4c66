"""Runs in the form of TREC: what is written is the ranking, to trec_eval, too; what contradicts itself is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from memgpt_rag.errors import SourceError
from memgpt_rag.evaluation.data.trec import read_run, write_run

RUN = {"q1": [("b", 0.5), ("a", 0.5), ("c", 0.5), ("d", -1.0)], "q2": [("a", 3e-9)]}


def test_a_run_that_was_written_is_read_back_in_its_order(tmp_path):
    write_run(tmp_path / "r.trec", RUN, "dense")
    tag, back = read_run(tmp_path / "r.trec")
    assert tag == "dense"
    assert {query: [name for name, _ in found] for query, found in back.items()} == {
        "q1": ["b", "a", "c", "d"],
        "q2": ["a"],
    }
    for query, found in RUN.items():
        assert [score for _, score in back[query]] == pytest.approx([score for _, score in found], rel=1e-6)
    lines = (tmp_path / "r.trec").read_text().splitlines()
    assert [line.split()[3] for line in lines] == ["1", "2", "3", "4", "1"]
    assert {(line.split()[1], line.split()[5]) for line in lines} == {("Q0", "dense")}


def test_a_tool_that_sorts_by_score_in_32_bits_finds_the_written_order(tmp_path, rng):
    scores = np.sort(rng.normal(size=200).round(1))[::-1]  # with many ties, also of doubles that are one float
    names = [str(name) for name in rng.permutation(200)]
    run = {"q": [(name, float(score) + 1e-12 * (200 - at)) for at, (name, score) in enumerate(zip(names, scores))]}
    write_run(tmp_path / "r.trec", run, "t")
    _, back = read_run(tmp_path / "r.trec")
    sorted_as_trec_eval = sorted(back["q"], key=lambda found: (np.float32(found[1]), found[0]), reverse=True)
    assert [name for name, _ in sorted_as_trec_eval] == names


@pytest.mark.parametrize(
    "run, tag, sentence",
    [
        ({"q": [("a", 0.1), ("b", 0.2)]}, "t", r"Rank 2 of the query 'q' has the score 0.2 after 0.1; expected finite"),
        ({"q": [("a", float("nan"))]}, "t", r"Rank 1 of the query 'q' has the score nan after inf"),
        ({"q": [("a b", 0.1)]}, "t", r"'a b' holds white space or nothing; a run's columns are parted by white space"),
        ({"q": [("a", 0.1)]}, "my run", r"'my run' holds white space"),
        ({"": [("a", 0.1)]}, "t", r"'' holds white space or nothing"),
    ],
)
def test_what_cannot_be_written_as_a_run_is_refused(tmp_path, run, tag, sentence):
    with pytest.raises(ValueError, match=sentence):
        write_run(tmp_path / "r.trec", run, tag)
    assert not (tmp_path / "r.trec").exists()


@pytest.mark.parametrize(
    "line, sentence",
    [
        ("q Q0 b 2 0.5", "line 2: 5 columns; expected six: query, Q0, document, rank, score, tag"),
        ("q Q0 b two 0.5 t", "line 2: the rank 'two' is no whole number"),
        ("q Q0 b 2 high t", "line 2: the score 'high' is no number"),
        ("q Q0 b 2 nan t", "line 2: the score 'nan' is not finite"),
        ("q Q0 b 1 0.5 t", "line 2: the query 'q' has the rank 1 twice"),
        ("q Q0 a 2 0.5 t", "line 2: the query 'q' has the document 'a' twice; keep the better rank"),
        (
            "q Q0 b 2 0.8 t",
            "line 2: 'b' has the score 0.8 and the rank before it 0.7; ranks and scores of the query 'q'",
        ),
        ("q Q0 b 0 0.5 t", "line 1: 'a' has the score 0.7 and the rank before it 0.5; ranks and scores"),
    ],
)
def test_a_run_that_contradicts_itself_is_refused_with_its_line(tmp_path, line, sentence):
    path = tmp_path / "r.trec"
    path.write_text(f"q Q0 a 1 0.7 t\n{line}\n")
    with pytest.raises(SourceError, match=rf"^r.trec, {re.escape(sentence)}"):
        read_run(path)
    path.write_text("")
    with pytest.raises(SourceError, match=r"r.trec holds no line; expected six columns"):
        read_run(path)


def test_lines_of_a_run_may_stand_in_any_order(tmp_path):
    (tmp_path / "r.trec").write_text("q Q0 b 2 0.5 t\np Q0 a 1 1 t\nq Q0 a 1 0.7 t\n")
    assert read_run(tmp_path / "r.trec") == ("t", {"q": [("a", 0.7), ("b", 0.5)], "p": [("a", 1.0)]})
