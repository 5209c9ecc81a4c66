"""Questions with pictures: memory and prompt against the decoder's own forward pass over the whole prompt."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import transformers
from decoding_rows import Silent
from picture_decoders import GIVEN, KINDS, PREFIX, picture_decoder, picture_model, with_random_weights
from pictures import png
from tiny import random_ids, tiny_decoder

from memgpt_rag.errors import ModelError
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.decoding import DecodingBatch, exchange_memory, read_question
from memgpt_rag.model.drafts import LookupDrafts, decode
from memgpt_rag.model.equality import require_equal
from memgpt_rag.model.picture_inputs import PictureInputs
from memgpt_rag.model.picture_reader import PictureReader
from memgpt_rag.model.tokenizer import byte_tokenizer

ENTRY, OTHER = random_ids(11, 2), random_ids(6, 3)
BEFORE, BEHIND = [9, 10], [11, 12, 13]  # tokens of the question around its pictures
RED, BLUE = png("red", (60, 40)), png("blue", (40, 70))


def kinds(*quick: str) -> pytest.MarkDecorator:
    """Every kind, the others in the slow tests."""
    marked = [pytest.param(kind, marks=[] if kind in quick else pytest.mark.slow) for kind in KINDS]
    return pytest.mark.parametrize("kind", marked)


class Models(dict):
    def __missing__(self, kind):
        self[kind] = picture_model(kind)
        return self[kind]


@pytest.fixture(scope="module")
def models():
    """Each is made once; nothing of a model changes when it reads."""
    return Models()


def asked(model, *pictures):
    """Tokens of a question and the pictures in it."""
    seen = model.picture_reader.read(pictures)
    return [*BEFORE, *seen.ids, *BEHIND], seen


def memory_for(model, entries, question, seen):
    memory = model.make_memory([entries])
    memory.pictures = PictureInputs.of(model.decoder, seen, question, len(BEFORE))
    return memory


@torch.no_grad()
def whole(model, before, question, seen, behind=()):
    """Logits of the question, and of an answer, by the decoder itself, which is given one prompt and no cache."""
    ids = [*PREFIX, *before, *question, *behind]
    inputs = seen.inputs(len(PREFIX) + len(before) + len(BEFORE), len(ids))
    logits = model.decoder(input_ids=torch.tensor([ids]), use_cache=False, **inputs).logits[0]
    return logits[len(PREFIX) + len(before) :]


def continued(model, before, question, seen, tokens):
    """The likeliest tokens, each from a pass over the whole prompt."""
    answer = []
    for _ in range(tokens):
        answer.append(int(whole(model, before, question, seen, answer)[-1].argmax()))
    return answer


def read(model, question, memory, tokens):
    settings = {"max_new_tokens": tokens, "do_sample": False, "pad_token_id": 0}
    return read_question(model, torch.tensor([question]), memory, streamer=Silent(), **settings)


@kinds("gemma3", "qwen3_vl")
@pytest.mark.parametrize("pictures", [(RED, BLUE), pytest.param((RED,), marks=pytest.mark.slow)], ids=["two", "one"])
@torch.no_grad()
def test_an_entry_in_memory_equals_the_same_entry_in_one_prompt_with_the_pictures(kind, pictures, models):
    model = models[kind]
    question, seen = asked(model, *pictures)
    for entries in ([ENTRY], []):
        found = model(torch.tensor([question]), memory=memory_for(model, entries, question, seen)).logits[0]
        expected = whole(model, sum(entries, []), question, seen)
        assert (found.softmax(-1) - expected.softmax(-1)).abs().max() <= 1e-4
    another = replace(seen, pixels=model.picture_reader.read([BLUE, RED][: len(pictures)]).pixels)
    if all(one.shape == seen.pixels[name].shape for name, one in another.pixels.items()):
        assert (whole(model, [], question, another) - expected)[-1].abs().max() > 1e-2, "what is shown counts"


@kinds("gemma3")
def test_an_answer_that_goes_on_from_a_cache_is_that_of_whole_prompts(kind, models):
    model = models[kind]
    question, seen = asked(model, RED)
    expected = continued(model, ENTRY, question, seen, 8)
    row = read(model, question, memory_for(model, [ENTRY], question, seen), 8)
    decode(model, row, LookupDrafts([[*expected[:5], 3]]))  # a draft that holds, and then does not
    assert row.ids[0, len(question) :].tolist() == expected
    memory = memory_for(model, [ENTRY], question, seen)
    found = model.generate(torch.tensor([question]), memory=memory, max_new_tokens=8, do_sample=False, pad_token_id=0)
    assert found[0, len(question) :].tolist() == expected


@kinds("qwen3_vl")
def test_answers_are_decoded_together_with_and_without_pictures(kind, models):
    model = models[kind]
    batch, rows, expected = DecodingBatch(model), [], []
    for entries, pictures in (([ENTRY], (RED,)), ([OTHER], (RED, BLUE)), ([], (BLUE,))):
        question, seen = asked(model, *pictures)
        expected.append(continued(model, sum(entries, []), question, seen, 6))
        rows.append(read(model, question, memory_for(model, entries, question, seen), 6))
        batch.join(rows[-1])
    words = [*BEFORE, *BEHIND]
    rows.append(read(model, words, model.make_memory([[ENTRY]]), 6))
    batch.join(rows[-1])
    prompt = torch.tensor([[*PREFIX, *ENTRY, *words]])
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    expected.append(model.decoder.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)[0, -6:].tolist())
    while len(batch):
        batch.step()
    assert [row.ids[0, row.asked :].tolist() for row in rows] == expected


@pytest.mark.slow
@pytest.mark.parametrize("kind", GIVEN)
@torch.no_grad()
def test_other_decoders_read_pictures_beside_memory_as_in_one_prompt(kind):
    config, seen = GIVEN[kind]()
    model = MemoryDecoder(with_random_weights(config), None, config=MemoryAttentionConfig(), prefix_ids=PREFIX)
    require_equal(model.decoder, model.windows, model.num_heads, seen)
    model.tokenizer, question = byte_tokenizer(), [*BEFORE, *seen.ids, *BEHIND]
    found = model(torch.tensor([question]), memory=memory_for(model, [ENTRY], question, seen)).logits[0]
    expected = whole(model, ENTRY, question, seen)
    assert (found.softmax(-1) - expected.softmax(-1)).abs().max() <= 1e-4
    another = replace(seen, pixels=seen.pixels | {"pixel_values": seen.pixels["pixel_values"].flip(-1)})
    assert (whole(model, ENTRY, question, another) - expected)[-1].abs().max() > 1e-2, "what is shown counts"
    answer = continued(model, ENTRY, question, seen, 6)
    row = read(model, question, memory_for(model, [ENTRY], question, seen), 6)
    decode(model, row, LookupDrafts([answer[:4]]))
    assert row.ids[0, len(question) :].tolist() == answer
    batch, rows = DecodingBatch(model), []
    for own in (seen, another):
        rows.append(read(model, question, memory_for(model, [ENTRY], question, own), 6))
        batch.join(rows[-1])
    while len(batch):
        batch.step()
    assert [row.ids[0, row.asked :].tolist() for row in rows] == [answer, continued(model, ENTRY, question, another, 6)]


@pytest.mark.slow
def test_a_decoder_that_reads_its_question_in_both_directions_is_refused():
    config = transformers.PaliGemmaConfig(
        text_config={
            "model_type": "gemma",
            "vocab_size": 270,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "head_dim": 8,
        },
        vision_config={
            "model_type": "siglip_vision_model",
            "image_size": 28,
            "patch_size": 7,
            "num_attention_heads": 2,
        },
        projection_dim=32,
    )
    with pytest.raises(
        ModelError, match="PaliGemmaForConditionalGeneration reads memory in another way than its prompt"
    ):
        MemoryDecoder(with_random_weights(config), None)


def test_entries_are_exchanged_under_a_question_with_a_picture(models):
    model = models["qwen3_vl"]
    question, seen = asked(model, RED)
    row = read(model, question, memory_for(model, [OTHER], question, seen), 12)
    decode(model, row, LookupDrafts([]), most=3)
    written = row.ids[0, len(question) :].tolist()
    exchange_memory(model, row, model.make_memory([[ENTRY]]))
    assert int(row.ids[0, -1]) == int(whole(model, ENTRY, question, seen, written)[-1].argmax())


def test_a_chat_template_that_takes_parts_only_is_filled_with_parts(models):
    prompt = models["idefics3"].prompt
    assert prompt.tokenizer.decode(prompt.prefix_ids) == f"user: {prompt.instruction}\n\n"
    assert prompt.tokenizer.decode(prompt.question_ids("Why?")).endswith("Question: Why? model: ")


def test_a_decoder_of_text_is_refused(models):
    model = MemoryDecoder(tiny_decoder("llama"), None)
    with pytest.raises(ValueError, match=r"LlamaForCausalLM\) reads text only; ask without pictures, or name a model"):
        _ = model.picture_reader


def test_a_decoder_whose_pictures_would_be_read_otherwise_is_refused(monkeypatch):
    """Positions that count a picture as any text are wrong for Qwen: the comparison of the first picture finds it."""
    decoder, processor = picture_decoder("qwen3_vl")
    decoder.config.text_config.attention_dropout = 0.5  # a configuration that was not compared yet
    model = MemoryDecoder(decoder, processor.tokenizer, prefix_ids=PREFIX)
    monkeypatch.setattr(PictureInputs, "of", lambda decoder, seen, question, start: PictureInputs(seen, start, None))
    with pytest.raises(
        ModelError, match="reads memory with a picture in the question in another way than its prompt: .*"
    ):
        PictureReader(model, processor)


def test_beams_and_passes_without_a_cache_are_refused(models):
    model = models["gemma3"]
    question, seen = asked(model, RED)
    for settings in ({"num_beams": 2}, {"use_cache": False}):
        with pytest.raises(ValueError, match="Pictures are read once, for one answer; leave use_cache on"):
            model.generate(torch.tensor([question]), memory=memory_for(model, [ENTRY], question, seen), **settings)
