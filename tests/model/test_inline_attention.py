"""Memory in attention that a layer computes itself, against the same weights read through the interface of transformers."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny import random_ids
from torch.overrides import _get_current_function_mode_stack
from transformers import AutoModelForCausalLM
from transformers.models.llama.modeling_llama import eager_attention_forward

from benchmarks.small_decoders import OWN, small_config, small_decoder
from memgpt_rag.errors import ModelError
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder, inline_attention

PREFIX, QUESTION = random_ids(5, 1), random_ids(6, 4)
ENTRIES, SCORES = [[random_ids(9, 2), random_ids(4, 3)], [random_ids(7, 5)]], [[0.9, 0.4], [0.7]]

every_setting = pytest.mark.parametrize(
    "config",
    [
        MemoryAttentionConfig(),
        MemoryAttentionConfig(layers=(1, 3), score_bias=3.0),
        MemoryAttentionConfig(top_m=3, score_bias=2.0),
        MemoryAttentionConfig(
            inverse_temperature=((0.5, 1.0, 2.0, 3.0),) * 4,
            offset=(1.0, -1.0, 0.0, 2.0),
            null_score=(0.0, 1.0, 2.0, 3.0),
        ),
    ],
    ids=["plain", "some-layers", "top-m", "per-head"],
)


def decoder(config: MemoryAttentionConfig, **sizes: int) -> MemoryDecoder:
    return MemoryDecoder(small_decoder("llama", **sizes), None, config=config, prefix_ids=PREFIX)


@pytest.fixture
def inline(monkeypatch):
    """Makes a Llama whose layers compute attention without the interface's knowing of memory."""
    monkeypatch.setattr(inline_attention, "_TYPES", {"llama"})
    monkeypatch.setattr(inline_attention, "_no_interface", eager_attention_forward)
    return lambda config: decoder(config, max_position_embeddings=499)  # by which it is compared anew


@every_setting
def test_scores_weights_and_beams_are_those_of_joint_attention(inline, config):
    found, expected = inline(config), None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inline_attention, "_TYPES", set())
        expected = decoder(config)
    ids, results = torch.tensor([QUESTION, QUESTION]), []
    for model in (found, expected):
        memory = model.make_memory(ENTRIES, SCORES)
        with torch.no_grad():
            logits = model(ids, memory=memory).logits
        written = model.generate(
            ids,
            memory=model.make_memory(ENTRIES, SCORES),
            num_beams=3,
            max_new_tokens=5,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
        )
        results.append((logits, written, [torch.tensor(row) for row in memory.entry_mass()]))
    (logits, written, mass), (expected_logits, expected_written, expected_mass) = results
    torch.testing.assert_close(logits, expected_logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(written, expected_written)
    for row, expected_row in zip(mass, expected_mass, strict=True):
        torch.testing.assert_close(row, expected_row, atol=1e-5, rtol=1e-5)
    assert mass[0].min() > 0


def test_without_memory_nothing_changes(inline):
    ids = torch.tensor([PREFIX + QUESTION])
    model = inline(MemoryAttentionConfig())
    plain = small_decoder("llama", max_position_embeddings=499)
    plain.set_attn_implementation("eager")
    with torch.no_grad():
        assert torch.equal(model.decoder(ids).logits, plain(ids).logits)


PLAIN = MemoryAttentionConfig()


def differs_from_prompt(model: MemoryDecoder, entry: list[int], question: list[int]) -> float:
    """Largest difference of probabilities between an entry in memory and in the prompt."""
    with torch.no_grad():
        found = model(torch.tensor([question]), memory=model.make_memory([[entry]])).logits[0].softmax(-1)
        expected = model.decoder(torch.tensor([PREFIX + entry + question]), use_cache=False).logits[0, -len(question) :]
    return float((found - expected.softmax(-1)).abs().max())


@pytest.mark.parametrize("kind", ["bloom", "mpt"])
def test_alibi_goes_by_positions_that_jump_over_memory(kind):
    """Two rows whose memories have different lengths: the same question stands at different positions."""
    model = MemoryDecoder(small_decoder(kind), None, config=PLAIN, prefix_ids=PREFIX)
    entries = [random_ids(20, 2), random_ids(3, 3)]
    with torch.no_grad():
        found = model(torch.tensor([QUESTION] * 2), memory=model.make_memory([[one] for one in entries])).logits
        for row, entry in zip(found, entries, strict=True):
            expected = model.decoder(torch.tensor([PREFIX + entry + QUESTION])).logits[0, -len(QUESTION) :]
            assert (row.softmax(-1) - expected.softmax(-1)).abs().max() <= 1e-5


@pytest.mark.parametrize("kind", ["gptj", "bloom", "bart", "xglm", "roformer", "inkling2_text", "mamba", "jamba"])
def test_a_copy_reads_memory_with_weights_of_its_own(kind):
    """As a decoder with the adapter of a reader is one."""
    model = MemoryDecoder(small_decoder(kind), None, config=PLAIN, prefix_ids=PREFIX)
    copied = MemoryDecoder(copy.deepcopy(model.decoder), None, config=PLAIN, prefix_ids=PREFIX)
    ids = torch.tensor([PREFIX + QUESTION])
    with torch.no_grad():
        before = model.decoder(ids).logits
        for name, parameter in copied.decoder.base_model.named_parameters():
            if "embed" not in name and "wte" not in name and parameter.dim() > 1:
                parameter.mul_(0.7)
        assert torch.equal(model.decoder(ids).logits, before)
        assert not torch.allclose(copied.decoder(ids).logits, before, atol=1e-3)
    assert differs_from_prompt(model, ENTRIES[0][0], QUESTION) <= 1e-5
    assert differs_from_prompt(copied, ENTRIES[0][0], QUESTION) <= 1e-5


@pytest.mark.parametrize(
    "kind, sizes",
    [
        ("gpt_neo", {"attention_types": [[["global"], 4]], "max_position_embeddings": 128}),
        ("xglm", {"max_position_embeddings": 64}),
    ],
)
def test_positions_go_on_where_the_prompt_goes_on(kind, sizes, monkeypatch):
    """Tables of XGLM grow with the cache, and GPT-Neo has one for places in it, which are fewer than tokens of all entries."""
    monkeypatch.setitem(OWN, kind, {})
    model = MemoryDecoder(small_decoder(kind, **sizes), None, config=PLAIN, prefix_ids=PREFIX)
    assert differs_from_prompt(model, random_ids(60, 2), random_ids(40, 3)) <= 1e-5
    with torch.no_grad():
        model(torch.tensor([QUESTION]), memory=model.make_memory([[random_ids(30, seed) for seed in range(5)]]))


def test_heads_are_those_of_the_decoder():
    config = MemoryAttentionConfig(offset=((1.0, 2.0, 3.0, 4.0),) * 4)
    model = MemoryDecoder(small_decoder("bart", encoder_attention_heads=16), None, config=config, prefix_ids=PREFIX)
    assert model.num_heads == 4
    with torch.no_grad():
        model(torch.tensor([QUESTION]), memory=model.make_memory([[ENTRIES[0][0]]]))


def test_a_model_whose_tokens_see_later_ones_is_refused(monkeypatch):
    monkeypatch.setitem(OWN, "bert", {})
    with pytest.raises(ModelError, match="its tokens see later ones; set is_decoder in its configuration"):
        MemoryDecoder(AutoModelForCausalLM.from_config(small_config("bert", max_position_embeddings=300)), None)


def test_falcon_that_goes_by_alibi_is_refused():
    with pytest.raises(ModelError, match="FalconForCausalLM does not call attention through the attention interface"):
        MemoryDecoder(small_decoder("falcon", alibi=True), None)


@pytest.mark.parametrize("kind", ["bloom", "mpt"])
def test_other_decoders_keep_their_positions_while_one_reads_memory(kind):
    model, other = MemoryDecoder(small_decoder(kind), None, prefix_ids=PREFIX), small_decoder(kind)
    ids, mask, read = torch.tensor([QUESTION]), torch.ones(1, len(QUESTION), dtype=torch.long), []
    with torch.no_grad():
        expected = other(ids, attention_mask=mask).logits

        def reads_another(input_ids, scores):
            read.append(other(ids, attention_mask=mask).logits)
            return scores

        model.generate(
            ids, memory=model.make_memory([[ENTRIES[0][0]]]), logits_processor=[reads_another], max_new_tokens=2
        )
        read.append(model.decoder(ids, attention_mask=mask).logits)
    assert len(read) == 3
    assert all(torch.equal(one, expected) for one in read)


def test_a_pass_that_fails_leaves_nothing_behind():
    model = MemoryDecoder(small_decoder("gptj"), None, config=PLAIN, prefix_ids=PREFIX)
    with pytest.raises(IndexError), torch.no_grad():
        model(torch.tensor([[10**6]]), memory=model.make_memory([[ENTRIES[0][0]]]))
    assert inline_attention._layers.get() is None
    assert differs_from_prompt(model, ENTRIES[0][0], QUESTION) <= 1e-5


def test_an_interrupt_leaves_nothing_behind():
    model = MemoryDecoder(small_decoder("gptj"), None, config=PLAIN, prefix_ids=PREFIX)

    def interrupt(*_):
        raise KeyboardInterrupt

    hook = model.decoder.transformer.h[1].mlp.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt), torch.no_grad():
        model(torch.tensor([QUESTION]), memory=model.make_memory([[ENTRIES[0][0]]]))
    hook.remove()
    assert not _get_current_function_mode_stack()
    assert differs_from_prompt(model, ENTRIES[0][0], QUESTION) <= 1e-5


def test_a_picture_is_read_as_before_where_no_memory_is_attended():
    plain, model = small_decoder("git"), MemoryDecoder(small_decoder("git"), None, prefix_ids=PREFIX)
    size = plain.config.vision_config.image_size
    picture = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([QUESTION])
    with torch.no_grad():
        found, expected = (one(ids, pixel_values=picture).logits for one in (model.decoder, plain))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
