"""Translations by pairs in a memory: exact hits, what the model reads, terms of a glossary, shares, refusals."""

from __future__ import annotations

import pytest
import torch
from hashing import HashEncoder
from tiny import TinyReader

from memgpt_rag.errors import MismatchError
from memgpt_rag.memory import Memory
from memgpt_rag.tasks.translation import translator as translating
from memgpt_rag.tasks.translation.decoding import _mean_likelihood, place_terms, write
from memgpt_rag.tasks.translation.glossary import Glossary, Term
from memgpt_rag.tasks.translation.pairs import SentencePair, create_memory
from memgpt_rag.tasks.translation.translator import Translator

PAIRS = [
    SentencePair({"en": en, "zh": zh})
    for en, zh in (
        ("the boat is red", "船是红的"),
        ("the lake is wide", "湖很宽"),
        ("a red kite", "红风筝"),
        ("a red kite", "红鸢"),
    )
]
GLOSSARY = Glossary([SentencePair({"en": "lake", "zh": "湖泊"}), SentencePair({"en": "kite", "zh": "风筝"})])


@pytest.fixture(autouse=True)
def short_translations(monkeypatch):
    monkeypatch.setattr(translating, "_TOKENS_PER_TOKEN", 0)


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    return create_memory(tmp_path_factory.mktemp("pairs") / "memory", PAIRS, HashEncoder())


@pytest.fixture(scope="module")
def translator(memory):
    return Translator(memory, HashEncoder(), TinyReader()(), k=2)


def test_a_text_that_is_there_gets_its_translation_and_no_model_runs(translator, monkeypatch):
    monkeypatch.setattr(translating, "write", lambda *_: pytest.fail("the model ran"))
    boat, kite, lake = translator.translate(["the boat  is red\n", "a red kite", "湖很宽"])
    assert [one.translation for one in (boat, kite, lake)] == ["船是红的", "红风筝", "the lake is wide"]
    assert all(one.is_exact for one in (boat, kite, lake))
    assert [(pair.translation, pair.share, pair.found.score) for pair in kite.pairs] == [
        ("红风筝", 1, 1),
        ("红鸢", 0, 1),
    ]
    assert boat.pairs[0].found.passage.place == "pair, pair 1"


def test_a_term_that_the_memory_translates_otherwise_is_reported(translator):
    (lake,) = translator.translate(["the lake is wide"], None, GLOSSARY)
    assert (lake.translation, lake.missing_terms) == ("湖很宽", (Term("lake", ("湖泊",)),))
    assert lake.to_dict()["terms"] == [{"term": "lake", "translations": ["湖泊"], "respected": False}]


def test_one_pair_in_memory_is_read_as_it_would_be_in_the_prompt(memory):
    translator = Translator(memory, HashEncoder(), TinyReader()(), k=1)
    model, text = translator.model, "a red boat"
    (shown,) = translator.translate([text], "zh")
    (pair,) = shown.pairs
    before = [*model.prefix_ids, *translator.pair_ids(pair.found), *translator.text_ids(text, "zh")]
    most = translating.most_tokens([translator.text_ids(text, "zh")])
    ids = torch.tensor([before])
    output = model.generate(ids, max_new_tokens=most, do_sample=False, begin_suppress_tokens=[ord("\n") + 3])
    expected = model.tokenizer.decode(output[0, len(before) :], skip_special_tokens=True)
    assert shown.translation == expected.partition("\n")[0].strip()
    assert pair.share == 1


def test_texts_are_translated_alike_alone_and_with_others(translator):
    texts = ["a wide lake", "红船", "the red boat is on the wide lake", "the boat is red", "宽"]
    together = translator.translate(texts)
    assert [one.text for one in together] == texts
    assert [one.target for one in together] == ["zh", "en", "zh", "zh", "en"]
    for text, one in zip(texts, together, strict=True):
        (alone,) = translator.translate([text])
        assert [pair.found.row for pair in one.pairs] == [pair.found.row for pair in alone.pairs]
        assert {pair.found.passage.metadata["target_language"] for pair in one.pairs} == {one.target}
        assert [pair.share for pair in one.pairs] == pytest.approx([pair.share for pair in alone.pairs], abs=0.05)
        assert sum(pair.share for pair in one.pairs) == pytest.approx(1)


def test_texts_that_do_not_fit_together_are_read_apart(translator, monkeypatch):
    texts = ["a wide lake", "a red boat"]
    together = [one.translation for one in translator.translate(texts)]
    sizes = []
    monkeypatch.setattr(translating, "MOST_MEMORY_TOKENS", 150)
    monkeypatch.setattr(translating, "write", lambda *given: sizes.append(len(given[1])) or write(*given))
    assert [one.translation for one in translator.translate(texts)] == together
    assert sizes == [1, 1]
    monkeypatch.setattr(translating, "MOST_MEMORY_TOKENS", 50)
    with pytest.raises(
        ValueError, match=r"2 pairs and 'a red boat' have more tokens than can be read at once; take fewer"
    ):
        translator.translate(texts)


def test_worked_pairs_are_of_both_directions_and_none_is_of_both(translator):
    worked = translator._worked_pairs()
    assert [one.metadata["target_language"] for one in worked] == ["en", "zh"] * 2
    assert len({one.id.rpartition("-")[0] for one in worked}) == 4
    expected = [
        translator.model.tokenizer.bos_token_id,
        *(t for one in worked for t in translator._words.passage_ids(one)),
    ]
    assert list(translator.model.prefix_ids) == [one for one in expected if one is not None]


def test_terms_of_the_glossary_are_placed_where_the_model_left_them_out(translator):
    texts = ["the lake is red", "a wide kite on a lake", "a boat"]
    free = translator.translate(texts, "zh")
    lake, both, boat = translator.translate(texts, "zh", GLOSSARY)
    assert "湖泊" not in free[0].translation and "湖泊" in lake.translation and not lake.missing_terms
    assert "风筝" in both.translation and "湖泊" in both.translation
    assert [term.term for term in both.terms] == ["kite", "lake"]
    assert sum(pair.share for pair in both.pairs) < 1  # terms are attended to, too
    assert boat.translation == free[2].translation and boat.terms == ()


def test_a_term_is_placed_at_the_likeliest_of_the_places(translator):
    """The best of the candidates is that with the highest mean likelihood, computed token by token."""
    model, asked = translator.model, translator.text_ids("a boat", "zh")
    memory = lambda rows: model.make_memory([[]] * rows)  # noqa: E731
    (free,) = write(model, [asked], memory(1), 12)
    placed = place_terms(model, asked, free, [Term("boat", ("船",))], memory, 12)
    assert "船" in placed and "船" not in free
    found = _mean_likelihood(model, asked, placed, memory(1))
    row, total = [*model.prefix_ids, *asked], 0.0
    line = model.prompt.token_ids(f" {placed}\n\n")
    for token in line:
        with torch.no_grad():
            logits = model(torch.tensor([row])).logits[0, -1]
        total += float(logits.log_softmax(-1)[token])
        row.append(token)
    assert found == pytest.approx(total / len(line), abs=1e-3)
    assert place_terms(model, asked, placed, [Term("boat", ("船",))], memory, 12) == placed


def test_words_are_not_placed_within_words(translator):
    model, asked = translator.model, translator.text_ids("船", "en")
    placed = place_terms(
        model, asked, "abc def", [Term("船", ("boat",))], lambda rows: model.make_memory([[]] * rows), 12
    )
    assert placed.partition("boat")[0].strip() in ("", "abc", "abc def")


def test_what_cannot_be_translated_is_refused(translator, tmp_path):
    with pytest.raises(ValueError, match=r"A text has 0 characters; expected 1 to 1,000: give a sentence"):
        translator.translate(["a", " \n"])
    with pytest.raises(ValueError, match=r"A text has 1,001 characters"):
        translator.translate(["a" * 1001])
    with pytest.raises(MismatchError, match=r"are in en and zh, and 'de' was asked for; name one of these\."):
        translator.translate(["a"], "de")
    with pytest.raises(ValueError, match=r"k is 0; expected 1 to 1,000\."):
        Translator(translator.memory, HashEncoder(), translator.model, k=0)
    Memory.create(tmp_path / "other", ["a"], HashEncoder())
    with pytest.raises(
        MismatchError,
        match=r"its entries are no sentence pairs; build a memory of some with: memgpt-rag translate build",
    ):
        Translator.open(tmp_path / "other")
    assert translator.translate([]) == []
