"""Answers without support, on other topics and on the same one; how they are kept, and what is computed of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.decision_figures import area, area_interval, decided, reliability
from benchmarks.kept_answers import KeptAnswers, known
from benchmarks.news_events import questions_in, read_news
from benchmarks.observed_answers import EASY, SAME_TOPIC, WITH, memory_kinds
from benchmarks.question_sets import Question
from memgpt_rag.answering.signals import Signals
from memgpt_rag.passage import Passage
from memgpt_rag.retrieval.retriever import Retrieved


def entry(record, text, start=0):
    return Retrieved(0, Passage(record, text, "", "x.jsonl", record, "line", 1, 1, start, start + len(text)), 0.5, 3.0)


def test_each_memory_lacks_what_its_name_says():
    question = Question("How much is a boat?", ("40 yuan",), "1.0", ((6, 13),), 1, 0)
    found = [
        entry("1.0", "Boats 40 yuan"),
        entry("1.0", "They are blue.", start=20),  # of its paragraph, without the answer
        entry("1.1", "Kites are free."),
        entry("1.2", "A tour is 40 yuan, too."),  # of its article, with the answer
        entry("10.0", "Another park."),
    ]
    kinds = memory_kinds(question, found)
    assert {kind: [found.index(one) for one in item] for kind, item in kinds.items()} == {
        WITH: [0, 1, 2, 3, 4],
        EASY: [2, 3, 4],
        SAME_TOPIC: [1, 2],
    }
    assert set(memory_kinds(question, found[:1])) == {WITH}


def test_a_run_that_was_killed_goes_on_with_whole_lines(tmp_path):
    file, asked = tmp_path / "answers" / "kept.jsonl", []

    def answer(batch):
        asked.extend(batch)
        return [{"length": len(item)} for item in batch]

    items = [(f"key {item}", item) for item in ("one", "three", "第三")]
    KeptAnswers(file).fill(items[:2], answer, "first", batch_size=1)
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole + '{"key": "key 第三", "len', encoding="utf-8")
    rows = KeptAnswers(file).fill(items, answer, "second")
    assert [row["length"] for row in rows] == [3, 5, 2]
    assert asked == ["one", "three", "第三"]
    assert list(KeptAnswers(file).rows) == [key for key, _ in items]
    assert KeptAnswers(None).fill(items[:1], answer, "third")[0]["length"] == 3


def test_known_signals_give_the_signals_back():
    signals = Signals(score=5.0, share=0.5)
    assert known(signals) == {"score": 5.0, "share": 0.5}
    assert known(Signals(**known(signals))) == known(signals)


def test_the_area_is_that_of_scikit_learn_and_lies_within_its_interval(rng):
    labels = rng.random(200) < 0.4
    values = np.round(labels + rng.normal(size=200), 1)  # with ties
    assert area(values, labels) == pytest.approx(roc_auc_score(labels, values))
    mean, low, high = area_interval(values, labels, np.arange(200) // 2)
    assert low < mean < high
    assert np.isnan(area([0.1, 0.2], [True, True]))


def test_reliability_by_hand():
    curve = reliability([0.05, 0.08, 0.61, 0.69, 1.0], [False, True, True, True, True])
    assert [(one["said"], one["true"], one["answers"]) for one in curve["bins"]] == [
        (0.065, 0.5, 2),
        (0.65, 1, 2),
        (1, 1, 1),
    ]
    assert curve["error"] == pytest.approx((2 * 0.435 + 2 * 0.35) / 5, abs=1e-3)
    assert decided([0.1, 0.2, 0.8], [False, True, True], 0.5) == {"precision": 0.5, "recall": 1.0}


def test_questions_ask_for_a_number_that_no_other_article_holds():
    text = "周六的比赛在新体育馆里举行。这场比赛一共吸引了1200名观众到场观看。票价从20元到90元不等，门票很快售罄。"
    ((asked, answer, (start, end)),) = questions_in(text, ["有30名观众。"])
    assert asked == "这场比赛一共吸引了多少名观众到场观看？"
    assert text[start:end] == answer == "1200"
    assert list(questions_in(text, ["观众1200名。"])) == []


def test_two_articles_on_one_event_share_their_topic(tmp_path):
    lead = "2023-08-16 18:24:57，正文：北岛环湖马拉松周日清晨在月亮湖边的老码头鸣枪开跑，市体育局局长在开幕式上致辞"
    events = [
        f"{lead}。本届比赛共有1200名选手报名参加全程。" + "志愿者在沿线各处为选手服务。" * 14,
        f"{lead}，肯尼亚人获得冠军。" + "医疗队表示天气比往年炎热。" * 14,
    ]
    others = [
        f"2023-08-{day} 10:00:00，正文：{words}" * 20
        for day, words in ((11, "央行宣布下调利率。"), (12, "新款手机今日发售。"), (13, "暴雨导致航班延误。"))
    ]
    (tmp_path / "crud_news").mkdir()
    pq.write_table(pa.table({"text": [others[0], *events, *others[1:]]}), tmp_path / "crud_news" / "docs.parquet")
    records, questions = read_news(tmp_path)
    assert [record["id"] for record in records] == ["0.0", "0.1"]
    assert [(one.text, one.answers, one.record, one.article) for one in questions] == [
        ("本届比赛共有多少名选手报名参加全程？", ("1200",), "0.0", 0)
    ]
