"""Pruning by use: what answers attend to least is deleted, what they use stays, and the loss is that of answers not counted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from commands import run
from hashing import HashEncoder

from indexing.jobs.prune_memory import plan_pruning, read_uses
from memgpt_rag import Memory, Passage
from memgpt_rag.errors import SourceError

TEXTS = [f"Boat {number} costs {number * 10} yuan." for number in range(10)]


@pytest.fixture()
def memory(tmp_path):
    passages = [Passage(f"b{n}", text, "", "boats", "", "line", n, n, 0, len(text)) for n, text in enumerate(TEXTS)]
    return Memory.create(tmp_path / "boats", passages, HashEncoder())


def test_the_entries_with_the_smallest_share_go_and_the_later_of_equal_ones(memory):
    uses = [{"b7": 0.6, "b2": 0.4}, {"b7": 1.0}, {"b9": 0.3, "b2": 0.7}]
    assert plan_pruning(memory, uses, 0.3).rows.tolist() == [
        0,
        1,
        3,
        4,
        5,
        6,
        8,
    ]  # b9 has less than b2, and more than none
    assert plan_pruning(memory, uses, 0.2).rows.tolist() == [0, 1, 3, 4, 5, 6, 8, 9]
    assert plan_pruning(memory, uses, 0.5).rows.tolist() == [3, 4, 5, 6, 8]
    plan = plan_pruning(memory, uses, 1.0)
    assert (plan.rows.tolist(), plan.used, plan.lost_share, plan.lost_first) == ([], 3, 0.0, 0.0)
    assert plan_pruning(memory, uses, 0.001).rows.tolist() == [0, 1, 2, 3, 4, 5, 6, 8, 9], "one stays at least"


def test_the_loss_is_that_of_answers_that_did_not_choose(memory):
    # The first half (lines 1 and 3) uses b1, the second b1 and b8.
    uses = [{"b1": 1.0}, {"b1": 0.75, "b8": 0.25}, {"b1": 1.0}, {"b8": 1.0}]
    plan = plan_pruning(memory, uses, 0.1)
    # b1 is kept by the first half: the second loses .25 + 1 of 2. b8 (1.25 against .75) is kept by the second: the first loses all.
    assert plan.lost_share == pytest.approx((1.25 / 2 + 1) / 2)
    assert plan.lost_first == pytest.approx((1 / 2 + 1) / 2)
    assert plan_pruning(memory, uses[:1], 0.1).lost_share is None


def test_ids_of_other_versions_are_counted_and_change_nothing(memory):
    uses = [{"b1": 0.5, "gone": 0.5}, {"b1": 1.0}]
    plan = plan_pruning(memory, uses, 0.1)
    assert (plan.used, plan.unknown, plan.lost_share) == (1, 1, 0.0)


@pytest.mark.parametrize("keep", [0, -1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(memory, keep):
    with pytest.raises(ValueError, match=r"keep is .*; expected a share of the entries above 0 and up to 1"):
        plan_pruning(memory, [{"b1": 1.0}], keep)


def line(*citations: tuple[str, float | None]) -> str:
    return json.dumps({"citations": [{"id": id, "share": share} for id, share in citations]})


def test_answers_are_read_as_ask_prints_them(tmp_path):
    file = tmp_path / "answers.jsonl"
    file.write_text("\n".join([line(("b1", 0.9), ("b2", 0.1)), line(), "", line(("b3", None), ("b4", None))]))
    assert read_uses(file) == [{"b1": 0.9, "b2": 0.1}, {"b3": 0.5, "b4": 0.5}]


def test_joined_entries_share_what_they_got(tmp_path):
    file, found = tmp_path / "answers.jsonl", {"id": "b2", "share": 0.6, "joined_ids": ["b1", "b2", "b3"]}
    file.write_text(json.dumps({"citations": [found, {"id": "b3", "share": 0.4}]}))
    assert read_uses(file) == [{"b1": pytest.approx(0.2), "b2": pytest.approx(0.2), "b3": pytest.approx(0.6)}]


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("not JSON", "a.jsonl, line 1: broken JSON .*; expected an answer as memgpt-rag ask --json prints it"),
        (line(("b1", 1.0)) + '\n{"text": "40"}', "a.jsonl, line 2: no 'citations'; expected an answer"),
        ('{"citations": [{"id": 3}]}', "line 1: the id 3 is no text"),
        ('{"citations": [{"id": "b1", "share": 7}]}', "line 1: share is 7, not a number from 0 to 1"),
        ('{"citations": [{"id": "b1", "joined_ids": "b1"}]}', "line 1: joined_ids is 'b1', and no list"),
        ('{"citations": [1]}', "line 1: .*; expected an answer"),
        (line(), "a.jsonl has no answer that cites an entry"),
    ],
)
def test_what_is_no_answer_is_named(tmp_path, text, sentence):
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(SourceError, match=sentence):
        read_uses(tmp_path / "a.jsonl")


def test_the_command_says_what_is_lost_and_keeps_the_earlier_version(memory, tmp_path):
    file = tmp_path / "answers.jsonl"
    file.write_text("\n".join([line(("b7", 0.6), ("b2", 0.4)), line(("b7", 1.0)), line(("b2", 0.7), ("old", 0.3))]))
    said = ["memgpt-index", "prune", "--memory", memory.path, "--answers", file, "--keep", "0.2"]
    tried = run(*said, "--dry-run")
    assert tried.returncode == 0
    assert tried.stdout.splitlines() == [
        "3 answers used 2 of 10 entries; this version has no entry for 1 id of theirs.",
        # Line 2 alone keeps b7 and, of the unused, b0: of lines 1 and 3, b2 is lost with 1.1 of 1.7, and is the first of one.
        "Of answers that were not counted, 32.4% of the attention and 25.0% of the most attended entries would be lost.",
        f"Would delete 8 entries of {memory.path}.",
    ]
    assert len(Memory.open(memory.path)) == 10
    done = run(*said)
    assert done.stdout.splitlines()[-1] == f"Deleted 8 entries of {memory.path}; version 2 holds 2."
    pruned = Memory.open(memory.path)
    assert [one.id for one in pruned.passages(pruned.rows())] == ["b2", "b7"]
    found = pruned.search(HashEncoder().encode_passages([TEXTS[7], TEXTS[2]]), 1)
    assert [passages[0].text for passages in found.passages] == [TEXTS[7], TEXTS[2]]
    np.testing.assert_allclose(found.scores[:, 0], 1, atol=1e-6)
    assert len(Memory.open(memory.path, version=1)) == 10
    missing = run(*said[:-3], tmp_path / "none.jsonl", *said[-2:])
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert "none.jsonl cannot be read" in missing.stderr
