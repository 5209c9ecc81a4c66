"""Translation over HTTP equals that in Python; what cannot be translated is refused with a sentence."""

from __future__ import annotations

from dataclasses import replace

import openai
import pytest
from hashing import HashEncoder
from served import Served
from tiny import TinyReader

from memgpt_rag.memory import Memory
from memgpt_rag.tasks.translation import translator as translating
from memgpt_rag.tasks.translation.glossary import Glossary
from memgpt_rag.tasks.translation.pairs import SentencePair, create_memory
from memgpt_rag.tasks.translation.translator import Translator

PAIRS = [SentencePair({"en": "the boat is red", "zh": "船是红的"}), SentencePair({"en": "a wide lake", "zh": "宽湖"})]
TEXTS = ["a red boat", "a wide lake", "红船"]
TERMS = {"en": "boat", "zh": "小船"}


@pytest.fixture(autouse=True)
def short_translations(monkeypatch):
    monkeypatch.setattr(translating, "_TOKENS_PER_TOKEN", 0)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder, decoder, encoder = tmp_path_factory.mktemp("served"), TinyReader()(), HashEncoder()
    pairs = create_memory(folder / "pairs", PAIRS, encoder)
    Memory.create(folder / "plain", ["a fact"], encoder)
    memories = {"pairs": folder / "pairs", "plain": folder / "plain"}
    with Served(folder, encoder=encoder, decoder=decoder, memories=memories) as served:
        yield served, Translator(pairs, encoder, decoder)


def translate(server, **body):
    return server.client().post("/translate", body=body, cast_to=dict)


def test_results_are_those_of_the_translator(server):
    served, translator = server
    found = translate(served, model="pairs", input=TEXTS, glossary=[TERMS])
    assert (found["object"], found["model"]) == ("list", "pairs")
    expected = translator.translate(TEXTS, None, Glossary([SentencePair(TERMS)]))
    for number, (one, other) in enumerate(zip(found["data"], expected, strict=True)):
        assert (one["object"], one["index"]) == ("translation", number)
        shown = other.to_dict()
        assert {name: one[name] for name in ("translation", "target_language", "exact", "terms")} == {
            name: shown[name] for name in ("translation", "target_language", "exact", "terms")
        }
        assert [pair["share"] for pair in one["pairs"]] == pytest.approx(
            [pair["share"] for pair in shown["pairs"]], abs=1e-4
        )
    assert found["data"][1]["exact"] and found["data"][0]["terms"][0]["respected"]
    (one,) = translate(served, model="pairs", input=TEXTS[0], to="zh")["data"]
    assert one["terms"] == []


def test_texts_behind_the_deadline_are_left_out(server, monkeypatch):
    served, _ = server
    assert translate(served, model="pairs", input=TEXTS)["complete"] is True
    monkeypatch.setattr(served.service, "settings", replace(served.service.settings, deadline_seconds=1e-3))
    found = translate(served, model="pairs", input=[f"boat {number}" for number in range(9)])
    assert found["complete"] is False and len(found["data"]) < 9


def test_what_cannot_be_translated_is_refused(server):
    served, _ = server
    with pytest.raises(
        openai.BadRequestError, match="memory plain has no column .* so its entries are no sentence pairs"
    ):
        translate(served, model="plain", input="a")
    with pytest.raises(
        openai.BadRequestError, match="The pairs in memory pairs are in en and zh, and 'de' was asked for"
    ):
        translate(served, model="pairs", input="a", to="de")
    with pytest.raises(openai.NotFoundError, match="no model 'books' here"):
        translate(served, model="books", input="a")
    with pytest.raises(openai.BadRequestError, match="a text is empty; give words to translate"):
        translate(served, model="pairs", input=["a", " "])
    with pytest.raises(openai.BadRequestError, match="a term of the glossary is empty; give words in both languages"):
        translate(served, model="pairs", input="a", glossary=[{"en": "boat", "zh": " "}])
    with pytest.raises(openai.BadRequestError, match="glossary"):
        translate(served, model="pairs", input="a", glossary=[{"en": "boat"}])
    with pytest.raises(openai.BadRequestError, match="no parameter 'k' here"):
        translate(served, model="pairs", input="a", k=3)
