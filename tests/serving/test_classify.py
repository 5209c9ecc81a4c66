"""Classification over HTTP equals that in Python; what cannot be classified is refused with a sentence."""

from __future__ import annotations

from dataclasses import replace

import openai
import pytest
from hashing import HashEncoder
from served import Served
from tiny import TinyReader

from memgpt_rag.tasks.classification.classifier import MemoryClassifier
from memgpt_rag.tasks.classification.saved import save_classifier

TEXTS = ["a good film", "a very good movie", "bad film", "a very bad movie"]
LABELS = ["good", "good", "bad", "bad"]
ASKED = ["good fun", "bad bad bad", "so so", "a film", "fun"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder, decoder, encoder = tmp_path_factory.mktemp("served"), TinyReader()(), HashEncoder()
    films, _ = (
        MemoryClassifier(decoder, encoder, folder / name, k=2, fit_on=4).fit(TEXTS, LABELS)
        for name in ("films", "plain")
    )
    save_classifier(films)
    with Served(
        folder, encoder=encoder, decoder=decoder, memories={"films": folder / "films", "plain": folder / "plain"}
    ) as served:
        yield served, films


def classify(server, **body):
    return server.client().post("/classify", body=body, cast_to=dict)


def test_results_are_those_of_the_classifier(server):
    served, films = server
    found = classify(served, model="films", input=ASKED)
    assert (found["object"], found["model"]) == ("list", "films")
    for number, (one, expected) in enumerate(zip(found["data"], films.classify(ASKED), strict=True)):
        assert (one["object"], one["index"], one["choice"]) == ("classification", number, expected.choice)
        assert one["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
        assert [near["id"] for near in one["neighbors"]] == [near.found.passage.id for near in expected.neighbors]
    assert len(classify(served, model="films", input=ASKED[0])["data"]) == 1


def test_a_classifier_that_was_fitted_again_and_new_examples_count_at_once(server):
    served, films = server
    before = classify(served, model="films", input="awful")["data"][0]
    films.partial_fit(["awful", "awful!"], ["bad", "bad"])
    save_classifier(films)
    for _ in range(200):
        after = classify(served, model="films", input="awful")["data"][0]
        if after["neighbors"] != before["neighbors"]:
            break
    assert after["probabilities"] == pytest.approx(films.classify(["awful"])[0].probabilities, abs=1e-4)


def test_texts_behind_the_deadline_are_left_out(server, monkeypatch):
    served, _ = server
    assert classify(served, model="films", input=ASKED)["complete"] is True
    monkeypatch.setattr(served.service, "settings", replace(served.service.settings, deadline_seconds=1e-3))
    found = classify(served, model="films", input=ASKED * 20)
    assert found["complete"] is False and len(found["data"]) < 100


def test_what_cannot_be_classified_is_refused(server):
    served, _ = server
    with pytest.raises(
        openai.NotFoundError, match="No classifier was fitted to the memory 'plain'; memgpt-rag classify fit makes one"
    ):
        classify(served, model="plain", input="good")
    with pytest.raises(openai.NotFoundError, match="no model 'books' here"):
        classify(served, model="books", input="good")
    with pytest.raises(openai.BadRequestError, match="a text is empty; give words to classify"):
        classify(served, model="films", input=["good", " "])
    with pytest.raises(openai.BadRequestError, match=r"input: List should have at least 1 item"):
        classify(served, model="films", input=[])
    with pytest.raises(openai.BadRequestError, match="no parameter 'k' here"):
        classify(served, model="films", input="good", k=3)
