"""Questions with pictures from end to end: in Python, on the command line and over HTTP, with a checkpoint of Gemma 3's kind."""

from __future__ import annotations

import base64
import json

import openai
import pytest
import torch
from click.testing import CliRunner
from hashing import HashEncoder
from picture_decoders import saved_picture_decoder
from pictures import bomb, png
from served import Served
from tiny import TinyReader

from memgpt_rag.answering.options import AskOptions
from memgpt_rag.cli.main import main
from memgpt_rag.errors import ModelError, SourceError
from memgpt_rag.io.pictures import kept_picture
from memgpt_rag.memory import Memory
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.rag import RAG

TEXTS = ["A boat costs 40 yuan.", "The park opens at six.", "Dogs must be kept on a lead."]
QUESTION = "What is shown here?"
RED, BLUE = png("red", (60, 40)), png("blue", (40, 70))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = saved_picture_decoder(tmp_path_factory.mktemp("gemma3") / "model")
    return MemoryDecoder.from_pretrained(folder, config=MemoryAttentionConfig(), dtype=torch.float32)


@pytest.fixture(scope="module")
def park(tmp_path_factory):
    folder = tmp_path_factory.mktemp("memory") / "park"
    Memory.create(folder, TEXTS, HashEncoder())
    return folder


@pytest.fixture(scope="module")
def memory(park):
    return Memory.open(park)


@pytest.fixture
def rag(memory, model):
    return RAG(memory, HashEncoder(), model)


def prompt_answer(rag, entries, pictures, tokens=6):
    """What the decoder itself writes after prefix, entries as text, and question with pictures."""
    seen = rag.model.picture_reader.read([kept_picture(one, "it") for one in pictures])
    before = [*rag.prompt.prefix_ids, *(token for text in entries for token in rag.prompt.token_ids(f"{text}\n\n"))]
    ids = [*before, *seen.ids, *rag.prompt.question_ids(QUESTION)]
    asked = len(ids)
    for _ in range(tokens):
        with torch.no_grad():
            inputs = seen.inputs(len(before), len(ids))
            ids.append(int(rag.model.decoder(input_ids=torch.tensor([ids]), **inputs).logits[0, -1].argmax()))
    return rag.prompt.answer_text(ids[asked:])


_slowly = [pytest.param(mode, marks=pytest.mark.slow) for mode in ("prompt", "closed_book")]


@pytest.mark.parametrize("mode", ["memory", *_slowly])
def test_each_mode_answers_as_the_decoder_itself_does(mode, rag):
    answer = rag.answer(QUESTION, AskOptions(mode=mode, k=1, max_new_tokens=6), pictures=[BLUE, RED])
    entries = [citation.passage.text for citation in answer.citations]
    assert len(entries) == (mode != "closed_book")
    assert answer.text == prompt_answer(rag, entries, [BLUE, RED])


def test_the_words_are_searched_for_and_a_file_is_what_it_holds(rag, tmp_path):
    (tmp_path / "red.png").write_bytes(RED)
    options = AskOptions(k=2, max_new_tokens=6)
    answers = [
        rag.answer(QUESTION, options, pictures=[given])
        for given in (RED, tmp_path / "red.png", str(tmp_path / "red.png"))
    ]
    assert len({answer.text for answer in answers}) == 1
    shares = [citation.share for citation in answers[0].citations]
    without = rag.answer(QUESTION, options)
    assert [one.passage.text for one in without.citations] == [one.passage.text for one in answers[0].citations]
    assert sum(shares) == pytest.approx(1)
    assert shares != [citation.share for citation in without.citations]


@pytest.mark.slow
def test_questions_with_and_without_pictures_are_answered_in_one_call(rag):
    options = AskOptions(k=1, max_new_tokens=6)
    given = [(), (RED,), (BLUE, RED)]
    together = rag.answer_from(rag.drafts([QUESTION] * 3, options, pictures=given), options)
    assert [one.text for one in together] == [rag.answer(QUESTION, options, pictures=one).text for one in given]


def test_what_cannot_be_read_is_a_sentence(rag, memory, tmp_path):
    with pytest.raises(
        SourceError, match=r"none\.png cannot be read: No such file or directory; name a picture that is"
    ):
        rag.answer(QUESTION, pictures=[tmp_path / "none.png"])
    with pytest.raises(SourceError, match="A picture of the question is too large a picture"):
        rag.answer(QUESTION, pictures=[bomb(10_000, 10_000)])
    with pytest.raises(ValueError, match="The number of pictures is 17; expected 1 to 16"):
        rag.answer(QUESTION, pictures=[RED] * 17)
    with pytest.raises(ValueError, match="reads text only; ask without pictures"):
        RAG(memory, HashEncoder(), TinyReader()()).answer(QUESTION, pictures=[RED])


def test_a_checkpoint_without_a_processor_is_a_sentence(tmp_path, memory):
    folder = saved_picture_decoder(tmp_path / "model")
    (folder / "processor_config.json").unlink()
    model = MemoryDecoder.from_pretrained(folder, config=MemoryAttentionConfig(), dtype=torch.float32)
    with pytest.raises(ModelError, match="The language model .* cannot be loaded .*Can't load image processor"):
        RAG(memory, HashEncoder(), model).answer(QUESTION, pictures=[RED])


def test_the_command_takes_files(rag, park, monkeypatch, tmp_path):
    monkeypatch.setattr(RAG, "open", classmethod(lambda cls, *arguments, **settings: rag))
    (tmp_path / "red.png").write_bytes(RED)
    words = ["ask", QUESTION, "--memory", str(park), "-k", "1", "--max-new-tokens", "6", "--json"]
    done = CliRunner().invoke(main, [*words, "--picture", str(tmp_path / "red.png")])
    assert done.exit_code == 0, done.output
    expected = rag.answer(QUESTION, AskOptions(k=1, max_new_tokens=6), pictures=[RED])
    assert json.loads(done.stdout)["text"] == expected.text
    (tmp_path / "none.png").write_bytes(b"no picture")
    done = CliRunner().invoke(main, [*words, "--picture", str(tmp_path / "none.png")])
    assert done.exit_code == 1
    assert "none.png cannot be read as a picture: it is none" in done.stderr


def data_url(picture):
    return "data:image/png;base64," + base64.b64encode(picture).decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory, model):
    with Served(tmp_path_factory.mktemp("served"), decoder=model) as served:
        yield served


def chat(client, *parts, **settings):
    content = [{"type": "text", "text": QUESTION}, *parts]
    memory = {"memory": {"k": 1}}
    return client.chat.completions.create(
        model="park", messages=[{"role": "user", "content": content}], max_tokens=6, extra_body=memory, **settings
    )


def image(url):
    return {"type": "image_url", "image_url": {"url": url}}


def test_the_official_parts_are_taken(server, model):
    rag = RAG(Memory.open(server.folder / "park"), HashEncoder(), model)
    client, options = server.client(), AskOptions(k=1, max_new_tokens=6)
    plain, shown = chat(client), chat(client, image(data_url(BLUE)), image(data_url(RED)))
    expected = rag.answer(QUESTION, options, pictures=[BLUE, RED]).text
    assert shown.choices[0].message.content == expected
    soft = len(model.picture_reader.read([kept_picture(one, "it") for one in (BLUE, RED)]).ids)
    assert shown.usage.prompt_tokens == plain.usage.prompt_tokens + soft
    part = {"type": "input_image", "image_url": data_url(BLUE)}
    first = {"type": "input_text", "text": QUESTION}
    second = {"type": "input_image", "image_url": data_url(RED), "detail": "auto"}
    response = client.responses.create(
        model="park",
        input=[{"role": "user", "content": [first, part, second]}],
        max_output_tokens=6,
        extra_body={"memory": {"k": 1}},
    )
    assert response.output_text == expected


@pytest.mark.slow
def test_sampled_answers_with_pictures_are_repeatable(server):
    settings = {"temperature": 1.0, "seed": 3, "n": 2}
    first, again = (chat(server.client(), image(data_url(RED)), **settings) for _ in range(2))
    assert [one.message.content for one in first.choices] == [one.message.content for one in again.choices]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            [image("http://127.0.0.1/red.png")],
            r"The server fetches no pictures, such as 'http://127\.0\.0\.1/red\.png'; give the picture itself",
        ),
        ([image("file:///etc/passwd")], "The server fetches no pictures"),
        ([image("data:text/html;base64,AAAA")], "The server fetches no pictures"),
        ([image("data:image/png;base64,A!")], "A picture of the request is not in base64"),
        ([image(data_url(b"no picture"))], "A picture of the question cannot be read as a picture: it is none"),
        ([image(data_url(bomb(10_000, 10_000)))], "A picture of the question is too large a picture"),
    ],
)
def test_a_picture_that_is_not_in_the_request_is_refused(content, said, server):
    with pytest.raises(openai.BadRequestError, match=said):
        chat(server.client(), *content)


def test_pictures_of_others_than_the_user_are_refused(server):
    messages = [
        {"role": "system", "content": [image(data_url(RED))]},
        {"role": "user", "content": QUESTION},
    ]
    with pytest.raises(openai.BadRequestError, match="pictures stand in the user's messages only"):
        server.client().chat.completions.create(model="park", messages=messages)


def test_a_server_of_text_says_so(tmp_path):
    with (
        Served(tmp_path) as served,
        pytest.raises(openai.BadRequestError, match="reads text only; ask without pictures"),
    ):
        chat(served.client(), image(data_url(RED)))
