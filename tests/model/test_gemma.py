"""The oracles again for Gemma 3 270M itself, in fp32, with real text in both languages."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoTokenizer, DynamicCache

from memgpt_rag.hub.bundled import GEMMA, generator_folder
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder

pytestmark = pytest.mark.offline_models

PREFIX = "Answer the question from the text.\n\n"
ENTRY = "The observatory on Falcon Hill was built in 1911. Its largest telescope has a mirror of two metres.\n\n"
OTHER = "猎鹰山上的天文台建于1911年，由建筑师林海设计。最大的望远镜镜面直径为两米。\n\n"
QUESTION = "Question: How large is the mirror of the largest telescope?\nAnswer:"
PLAIN = MemoryAttentionConfig(layers="all")


def tokens(gemma, text: str) -> list[int]:
    return gemma.tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.fixture
def make_model(gemma):
    """A model over the shared decoder with a configuration of its own."""

    def make(config: MemoryAttentionConfig | str = PLAIN) -> MemoryDecoder:
        return MemoryDecoder(gemma.decoder, gemma.tokenizer, config=config, prefix_ids=(2, *tokens(gemma, PREFIX)))

    return make


@torch.no_grad()
def logits(
    model: MemoryDecoder, entries: list[str], scores: list[float] | None = None, question: str = QUESTION
) -> torch.Tensor:
    memory = model.make_memory([[tokens(model, entry) for entry in entries]], None if scores is None else [scores])
    return model(torch.tensor([tokens(model, question)]), memory=memory).logits[0]


@torch.no_grad()
def in_context(model: MemoryDecoder, *parts: str) -> torch.Tensor:
    ids = [*model.prefix_ids, *(token for part in parts for token in tokens(model, part))]
    return model(torch.tensor([ids])).logits[0, -len(tokens(model, parts[-1])) :]


def test_its_tokenizer_is_the_one_that_transformers_makes_of_the_folder(gemma):
    ours = gemma.tokenizer
    theirs = AutoTokenizer.from_pretrained(generator_folder(GEMMA), trust_remote_code=False)
    texts = (ENTRY, OTHER, QUESTION, "<eos> <start_of_turn>user\n x", "  a\n\n\tb", "é 😀 \u200b", "", PREFIX * 20)
    for text in texts:
        for settings in ({}, {"add_special_tokens": False}, {"split_special_tokens": True}):
            ids = theirs(text, **settings)["input_ids"]
            assert ours(text, **settings)["input_ids"] == ids
            assert ours.decode(ids) == theirs.decode(ids)
            assert ours.decode(ids, skip_special_tokens=True) == theirs.decode(ids, skip_special_tokens=True)
    assert ours.get_vocab() == theirs.get_vocab()
    for name in (
        "special_tokens_map",
        "all_special_ids",
        "padding_side",
        "model_max_length",
        "chat_template",
        "vocab_size",
    ):
        assert getattr(ours, name) == getattr(theirs, name)


presets = pytest.mark.parametrize("preset", ["quality", pytest.param("compact", marks=pytest.mark.slow)])


def test_an_empty_memory_gives_the_logits_of_the_base_model(make_model):
    model, cache = make_model(), DynamicCache()
    with torch.no_grad():
        model.decoder(torch.tensor([model.prefix_ids]), past_key_values=cache)
        base = model.decoder(torch.tensor([tokens(model, QUESTION)]), past_key_values=cache).logits[0]
    assert torch.equal(logits(model, []), base)


@pytest.mark.parametrize(
    "entry", [ENTRY, OTHER, (ENTRY + OTHER) * 9], ids=["English", "Chinese", "longer than the window"]
)
def test_one_entry_after_the_prefix_equals_the_same_text_in_the_prompt(make_model, entry):
    model = make_model()
    with_memory = logits(model, [entry])
    assert (with_memory - in_context(model, entry, QUESTION)).abs().max() <= 1e-4
    assert (with_memory - in_context(model, QUESTION)).abs().max() > 1


@presets
def test_the_order_of_entries_does_not_matter(make_model, preset):
    model = make_model(preset)
    one = logits(model, [ENTRY, OTHER, ENTRY + OTHER], [3.0, 2.5, 1.0]).log_softmax(-1)
    other = logits(model, [ENTRY + OTHER, ENTRY, OTHER], [1.0, 3.0, 2.5]).log_softmax(-1)
    assert (one - other).abs().max() <= 1e-4
    assert (one.exp() - other.exp()).abs().max() <= 1e-5


def test_top_m_of_at_least_all_tokens_equals_dense(make_model):
    everything = len(tokens(make_model(), ENTRY)) + len(tokens(make_model(), OTHER))
    assert torch.equal(
        logits(make_model(MemoryAttentionConfig(top_m=everything)), [ENTRY, OTHER]),
        logits(make_model(), [ENTRY, OTHER]),
    )


@presets
def test_cached_decoding_equals_decoding_without_a_cache(make_model, preset):
    model = make_model(preset)
    settings = {
        "max_new_tokens": 8,
        "min_new_tokens": 8,
        "do_sample": False,
        "return_dict_in_generate": True,
        "output_logits": True,
    }
    rows = [[tokens(model, ENTRY), tokens(model, OTHER)]]
    ids = torch.tensor([tokens(model, QUESTION)])
    cached, cacheless = (
        model.generate(ids, memory=model.make_memory(rows, [[2.0, 1.5]]), use_cache=use_cache, **settings)
        for use_cache in (True, False)
    )
    assert torch.equal(cached.sequences, cacheless.sequences)
    assert (torch.stack(cached.logits) - torch.stack(cacheless.logits)).abs().max() <= 1e-3
    assert not torch.equal(cached.sequences, model.generate(ids, **settings).sequences)


@presets
def test_a_row_of_a_batch_equals_that_row_alone(make_model, preset):
    model = make_model(preset)
    questions = [QUESTION, "问题：天文台是谁设计的？\n答案：", "Question: When was it built?\nAnswer:"]
    entries, scores = [[ENTRY, OTHER], [OTHER], []], [[2.0, 1.0], [1.0], []]
    rows = [tokens(model, question) for question in questions]
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    memory = model.make_memory([[tokens(model, entry) for entry in per_row] for per_row in entries], scores)
    with torch.no_grad():
        together = model(ids, mask, memory=memory).logits
    for row, question in enumerate(questions):
        alone = logits(model, entries[row], scores[row], question)
        assert (together[row, -len(rows[row]) :] - alone).abs().max() <= 1e-3, f"row {row}"
        assert (together[row, -len(rows[row]) :].softmax(-1) - alone.softmax(-1)).abs().max() <= 1e-4, f"row {row}"
