"""Searches for pictures over HTTP find what they find in Python; what is no picture is refused with a sentence."""

from __future__ import annotations

import base64
import urllib.request

import openai
import pytest
from pictures import ColorEncoder, bomb, pairs_file, png
from served import Served

from memgpt_rag.io import pictures
from memgpt_rag.memory.pictures import add_pictures
from memgpt_rag.serving.access import Access, Keys, _digest
from memgpt_rag.tasks.images.pairs import pair_entries, read_pairs
from memgpt_rag.tasks.images.search import PictureSearch

TEXTS = {"red": ["a red thing", "红色"], "green": ["green it is"], "blue": ["the blue one", "blue again"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder, encoder = tmp_path_factory.mktemp("served"), ColorEncoder()
    memory = add_pictures(folder / "colors", pair_entries(read_pairs(pairs_file(folder, **TEXTS))), encoder)
    with Served(folder, encoder=encoder, memories={"colors": folder / "colors"}, files=folder / "files") as served:
        yield served, PictureSearch(memory, encoder)


def search(server, key="none", **body):
    return server.client(key).post("/images/search", body={"model": "colors", **body}, cast_to=dict)


def data_url(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def test_words_find_pictures_whose_addresses_show_them(server):
    served, searches = server
    found = search(served, text="blue again", k=2)
    assert (found["object"], found["model"]) == ("list", "colors")
    assert len(search(served, text="blue", k=1000)["data"]) == len(TEXTS)
    (expected,) = searches.by_texts(["blue again"], 2)
    for number, (one, other) in enumerate(zip(found["data"], expected, strict=True)):
        assert (one["object"], one["index"]) == ("image.result", number)
        shown = other.to_dict()
        assert {name: one[name] for name in shown} == {**shown, "score": pytest.approx(shown["score"], abs=1e-6)}
    with urllib.request.urlopen(found["data"][0]["picture"], timeout=10) as got:
        assert (got.headers["content-type"], got.read()) == (
            "image/png",
            searches.memory.pictures([expected[0].row])[0],
        )


def test_pictures_find_pictures_and_words(server):
    served, searches = server
    green = png("green", (30, 30))
    assert [one["place"] for one in search(served, image=data_url(green), k=1)["data"]] == ["green.png, picture 1"]
    found = search(served, image=data_url(green), find="words", k=5)["data"]
    assert [one["text"] for one in found] == [one.text for one in searches.words([green], 5)[0]]
    file = served.client().files.create(file=("mine.png", png("red")), purpose="vision")
    assert [one["place"] for one in search(served, file_id=file.id, k=1)["data"]] == ["red.png, picture 1"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"image": data_url(b"text")}, "The picture of the request cannot be read as a picture: it is none, or in no format"),
        ({"image": data_url(bomb())}, r"The picture of the request .*10,?000,?000,?000 pixels"),
        ({"image": "https://example.org/a.png"}, "The server fetches no pictures, such as .*; give the picture itself"),
        ({"image": "data:image/png;base64,?"}, "A picture of the request is not in base64"),
        ({}, "give a text, an image, or a file_id to search by, and one of them only"),
        ({"text": "red", "file_id": "file-1"}, "one of them only"),
        ({"text": " "}, "the text is empty"),
        ({"text": "red", "find": "words"}, "words are found by a picture; a text finds pictures"),
        ({"text": "red", "k": 1001}, "k: Input should be less than or equal to 1000"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_by_is_refused(server, body, message):
    with pytest.raises(openai.BadRequestError, match=message):
        search(server[0], **body)


def test_a_memory_of_texts_is_reported_by_its_name(tmp_path):
    with Served(tmp_path) as served, pytest.raises(openai.BadRequestError) as refused:
        search(served, text="red", model="park")
    assert "The keys of memory park are of texts, embedded with" in str(refused.value)


def test_a_picture_of_too_many_bytes_and_a_file_that_is_none_are_refused(server, monkeypatch):
    served, _ = server
    with pytest.raises(openai.APIStatusError, match=r"The body has .* bytes; expected at most 4,194,304") as refused:
        search(served, image=data_url(bytes(2**22)))
    assert refused.value.status_code == 413
    file = served.client().files.create(file=("note.txt", b"no picture"), purpose="vision")
    with pytest.raises(openai.BadRequestError, match="note.txt cannot be read as a picture"):
        search(served, file_id=file.id)
    with pytest.raises(openai.NotFoundError, match="There is no file 'file-1'"):
        search(served, file_id="file-1")
    monkeypatch.setattr(pictures, "MOST_PICTURE_BYTES", 10)
    with pytest.raises(openai.BadRequestError, match="has .* bytes, expected at most 10 of a picture"):
        search(served, image=data_url(png()))


def test_a_key_searches_only_what_it_may_read_and_its_addresses_are_signed(server, tmp_path):
    served, _ = server
    may, may_not = (Access(name, frozenset({name}), frozenset()) for name in ("colors", "others"))
    keys = Keys({_digest("key-to-colors"): may, _digest("key-to-others"): may_not})
    with Served(tmp_path, keys=keys, encoder=served.encoder, memories=served.settings.memories) as locked:
        (one,) = search(locked, "key-to-colors", text="red", k=1)["data"]
        with urllib.request.urlopen(one["picture"], timeout=10) as got:
            assert got.status == 200
        with pytest.raises(openai.NotFoundError, match="no model 'colors' here"):
            search(locked, "key-to-others", text="red")
