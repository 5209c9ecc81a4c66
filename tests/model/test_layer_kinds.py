"""Every kind of layer: what memory gives against the same text in the prompt, cached, batched, with beams, stored and loaded."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
from decoding_rows import alone, begun
from decoding_rows import require_equal as require_equal_rows
from tiny import random_ids

from benchmarks.small_decoders import small_decoder
from memgpt_rag.errors import MismatchError, ModelError
from memgpt_rag.fingerprint import StatesFingerprint
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.decoding import DecodingBatch
from memgpt_rag.model.equality import require_equal
from memgpt_rag.model.short_norm import shorten_norms
from memgpt_rag.model.stored import from_array, states_fingerprint, to_array
from memgpt_rag.model.tokenizer import byte_tokenizer
from memgpt_rag.model.whole_cache import recurrent_states
from memgpt_rag.state_codes import decode, encode
from memgpt_rag.training.rows import TrainingRow, memory_hidden

# Model type → the kind of layer that it stands for.
KINDS = {
    "llama": "full",
    "llama4_text": "chunked",
    "deepseek_v3": "latent",
    "gemma4_text": "shared keys and values, heads of two sizes",
    "diffllama": "two calls of attention",
    "doge": "a number of its own for each key",
    "roberta": "positions from 2",
    "qwen3_next": "gated delta nets",
    "kimi_linear": "gated delta nets beside latent attention",
    "granitemoehybrid": "Mamba 2",
    "jamba": "Mamba 1, which reads further tokens one by one",
    "falcon_h1": "Mamba 2 and attention in one layer",
    "lfm2": "convolutions",
    "minimax": "linear attention with a cache of its own",
    "mamba": "Mamba 1 without attention",
    "mamba2": "Mamba 2 without attention",
    "inkling_text": "distances as a bias of scores, and convolutions of keys and values",
    "inkling2_text": "the same, and a sink for each query",
    "bart": "positions that the decoder counts itself",
    "trocr": "positions that the decoder counts before it makes a mask",
    "gptj": "attention in the layer's own code",
    "gpt_neo": "windows in the layer's own code",
    "bloom": "positions as a bias of scores",
    "falcon": "one key for all heads, in the layer's own code",
    "mpt": "positions as a bias of scores, and no cache by default",
    "roformer": "rotations that the decoder counts itself, in the layer's own code",
    "git": "a mask with tokens of pictures that are not there",
    "xglm": "scores of all rows and heads in one dimension",
}
RECURRENT = (
    "qwen3_next",
    "kimi_linear",
    "granitemoehybrid",
    "jamba",
    "falcon_h1",
    "lfm2",
    "minimax",
    "mamba",
    "mamba2",
)
RECURRENT += ("inkling_text", "inkling2_text")
PREFIX, ENTRY, OTHER, QUESTION = random_ids(5, 1), random_ids(11, 2), random_ids(7, 3), random_ids(6, 4)
PLAIN = MemoryAttentionConfig(layers="all")

every_kind = pytest.mark.parametrize("kind", KINDS)


def make_model(kind: str, config: MemoryAttentionConfig = PLAIN) -> MemoryDecoder:
    tokenizer = byte_tokenizer()
    return MemoryDecoder(small_decoder(kind, vocab_size=len(tokenizer)), tokenizer, config=config, prefix_ids=PREFIX)


def ids(*rows: list[int]) -> torch.Tensor:
    return torch.tensor(rows)


@torch.no_grad()
def in_prompt(model: MemoryDecoder, *parts: list[int]) -> torch.Tensor:
    """Probabilities after each token of the last part, with all parts in one sequence, without a cache."""
    logits = model.decoder(input_ids=ids(sum(parts, [])), use_cache=False).logits
    return logits[0, -len(parts[-1]) :].softmax(-1)


@torch.no_grad()
def with_memory(model: MemoryDecoder, question: list[int], entries: list[list[int]], **scores: list) -> torch.Tensor:
    return model(ids(question), memory=model.make_memory([entries], **scores)).logits[0].softmax(-1)


@every_kind
@pytest.mark.parametrize("length", [1, 11, 40])
def test_one_entry_equals_the_same_text_in_the_prompt(kind, length):
    model, entry = make_model(kind), random_ids(length, 5)
    found, expected = with_memory(model, QUESTION, [entry]), in_prompt(model, PREFIX, entry, QUESTION)
    assert (found - expected).abs().max() <= 1e-5
    assert (found - in_prompt(model, PREFIX, QUESTION)).abs().max() > 1e-4, "the entry changes what is said"


@every_kind
def test_an_empty_memory_equals_the_prompt_without_an_entry(kind):
    model = make_model(kind)
    found = with_memory(model, QUESTION, [])
    assert (found - in_prompt(model, PREFIX, QUESTION)).abs().max() <= 1e-5


@every_kind
def test_generation_with_a_cache_equals_reading_the_prompt_anew_for_each_token(kind):
    model = make_model(kind)
    found = model.generate(
        ids(QUESTION),
        memory=model.make_memory([[ENTRY]]),
        max_new_tokens=6,
        do_sample=False,
        eos_token_id=None,
        forced_eos_token_id=None,  # BART's own settings end every text with it
        pad_token_id=0,
    )[0, len(QUESTION) :].tolist()
    written: list[int] = []
    for _ in range(6):
        written.append(int(in_prompt(model, PREFIX + ENTRY, QUESTION + written)[-1].argmax()))
    assert found == written


@every_kind
def test_rows_with_different_memories_do_not_see_each_other(kind):
    model = make_model(kind, MemoryAttentionConfig(score_bias=2.0))
    rows, scores = [[ENTRY, OTHER], [OTHER], []], [[0.2, 1.0], [0.5], []]
    questions = [random_ids(6, seed) for seed in (6, 7, 8)]
    with torch.no_grad():
        together = model(ids(*questions), memory=model.make_memory(rows, scores)).logits.softmax(-1)
    for row, (question, entries, entry_scores) in enumerate(zip(questions, rows, scores, strict=True)):
        apart = with_memory(model, question, entries, scores=[entry_scores])
        torch.testing.assert_close(together[row], apart, atol=1e-5, rtol=0)


# RoBERTa's `generate` counts its own positions from 0.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "roberta"])
def test_beams_equal_beams_over_the_prompt(kind):
    model = make_model(kind)
    settings = {"num_beams": 3, "max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    found = model.generate(ids(QUESTION), memory=model.make_memory([[ENTRY]]), **settings)
    prompt = PREFIX + ENTRY + QUESTION
    expected = model.decoder.generate(ids(prompt), **settings)
    assert found[0, len(QUESTION) :].tolist() == expected[0, len(prompt) :].tolist()


@every_kind
@pytest.mark.parametrize("dtype, tolerance", [("fp32", 1e-6), ("int8", 0.05)])
def test_states_stored_and_loaded_give_the_same(kind, dtype, tolerance):
    model = make_model(kind)
    (states,) = model.entry_states([ENTRY])
    codes = encode(to_array(states, model), dtype)
    loaded = from_array(*codes, model)
    assert loaded.num_tokens == len(ENTRY)
    assert loaded.recurrent.keys() == states.recurrent.keys()
    if dtype == "fp32":
        for layer, keys in states.keys.items():
            assert torch.equal(loaded.keys[layer], keys)
            assert torch.equal(loaded.values[layer].codes, states.values[layer].codes)
        for key, state in states.recurrent.items():
            assert torch.equal(loaded.recurrent[key], state.to(loaded.recurrent[key].dtype))
    assert decode(*codes).shape[0] >= len(ENTRY)
    with torch.no_grad():
        expected = with_memory(model, QUESTION, [ENTRY])
        found = model(ids(QUESTION), memory=model.memory_from_states([[loaded]], [[0.0]])).logits[0].softmax(-1)
    assert (found - expected).abs().max() <= tolerance


def test_states_of_another_model_without_attention_are_told_apart():
    model, other = make_model("mamba"), make_model("mamba")
    with torch.no_grad():
        other.decoder.get_input_embeddings().weight.mul_(1.5)
    kept = StatesFingerprint.from_json(json.loads(json.dumps(states_fingerprint(model).to_json())))
    kept.require_match(states_fingerprint(make_model("mamba")))
    with pytest.raises(MismatchError, match=r"the same text gives other states \(cosine"):
        kept.require_match(states_fingerprint(other))


@pytest.mark.parametrize("kind", ["llama", "gemma4_text", "deepseek_v3"])
def test_states_in_int4_give_nearly_the_same(kind):
    model = make_model(kind)
    (states,) = model.entry_states([ENTRY])
    array = to_array(states, model)
    decoded = to_array(from_array(*encode(array, "int4"), model), model)
    assert 0 < np.square(decoded - array).sum() < 0.02 * np.square(array).sum()


@pytest.mark.parametrize("kind, what", [("qwen3_next", "recurrent layers"), ("doge", r"keys of \d+ numbers")])
def test_states_that_int4_does_not_fit_are_refused(kind, what):
    with pytest.raises(ModelError, match=f"States of a model with {what} are not stored in int4; choose another type"):
        states_fingerprint(make_model(kind), dtype="int4")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("minimax",)])
def test_rows_that_join_and_leave_a_batch_are_generated_as_alone(kind):
    rng, model = random.Random(7), make_model(kind, MemoryAttentionConfig(score_bias=1.0, null_score=0.5))
    rows = [
        (
            random_ids(rng.randint(1, 9), seed=number),
            [random_ids(rng.randint(1, 9), 50 + k) for k in range(number % 3)],
            8,
        )
        for number in range(5)
    ]
    batch, alive = DecodingBatch(model), []
    for row in rows:
        started = begun(model, *row)
        batch.join(started[0])
        alive.append(started)
        batch.step()
    while len(batch):
        batch.step()
    require_equal_rows(alive, [alone(model, *row) for row in rows])


@pytest.mark.parametrize("kind", RECURRENT)
def test_states_of_several_entries_are_combined_by_their_scores(kind):
    model = make_model(kind, MemoryAttentionConfig(score_bias=2.0))
    entries, scores = model.entry_states([ENTRY, OTHER]), [0.1, 0.6]
    memory = model.memory_from_states([entries], [scores])
    weights = (2.0 * torch.tensor(scores)).softmax(0)
    prefix = recurrent_states(model._states.prefix_cache(1))
    for key, combined in memory.recurrent.items():
        if key[1] == "conv":
            assert torch.equal(combined[0], entries[1].recurrent[key]), "that of the best entry"
            continue
        expected = prefix[key][0] + sum(
            weight * (entry.recurrent[key] - prefix[key][0]) for weight, entry in zip(weights, entries, strict=True)
        )
        torch.testing.assert_close(combined[0], expected, atol=1e-4, rtol=1e-4)
    far = model.memory_from_states([entries], [[-50.0, 50.0]])
    for key, combined in far.recurrent.items():
        torch.testing.assert_close(combined[0], entries[1].recurrent[key])


@pytest.mark.parametrize("kind", RECURRENT)
def test_rows_of_different_lengths_are_refused_where_padding_would_change_a_state(kind):
    model = make_model(kind)
    rows, mask = model.pad_left([QUESTION, QUESTION[:3]])
    with pytest.raises(ValueError, match="Padding would change this model's recurrent layers; give rows of one length"):
        model(rows, mask, memory=model.make_memory([[ENTRY], [OTHER]]))


def test_a_decoder_that_does_more_in_its_attention_than_is_known_is_refused(monkeypatch):
    """Doge without the number that it adds to each key, as it was read once."""
    monkeypatch.setattr("memgpt_rag.model.retrofit._with_bias", lambda key, mask, scaling: key)
    with pytest.raises(
        ModelError, match=r"DogeForCausalLM reads memory in another way .* differ by 0\.\d+, where two ways"
    ):
        MemoryDecoder(small_decoder("doge", max_position_embeddings=600), None)
    unchecked = MemoryDecoder(small_decoder("doge", max_position_embeddings=600), None, check=False, prefix_ids=PREFIX)
    assert (
        with_memory(unchecked, QUESTION, [ENTRY]) - in_prompt(unchecked, PREFIX, ENTRY, QUESTION)
    ).abs().max() > 1e-3


def test_a_decoder_is_compared_once_for_its_class_and_configuration(monkeypatch):
    decoder, calls = small_decoder("llama", max_position_embeddings=600), []
    model = MemoryDecoder(decoder, None)
    monkeypatch.setattr("memgpt_rag.model.equality._differences", lambda *given: calls.append(given))
    require_equal(decoder, model.windows, model.num_heads)
    assert not calls


def test_what_was_found_of_a_large_decoder_is_remembered_for_the_next_process(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("memgpt_rag.model.equality._LARGE", 1)
    decoder, calls = small_decoder("jamba", max_position_embeddings=700), []
    model = MemoryDecoder(decoder, None)
    monkeypatch.setattr("memgpt_rag.model.equality._equal", {})
    monkeypatch.setattr("memgpt_rag.model.equality._differences", lambda *given: calls.append(given))
    again = MemoryDecoder(small_decoder("jamba", max_position_embeddings=700), None, prefix_ids=PREFIX)
    assert not calls
    found = with_memory(again, QUESTION, [ENTRY])
    assert (found - in_prompt(again, PREFIX, ENTRY, QUESTION)).abs().max() <= 1e-5, (
        "its layers read one by one here, too"
    )
    (file,) = tmp_path.rglob("compared-decoders.json")
    monkeypatch.setattr("memgpt_rag.model.equality._differences", lambda *given: calls.append(given) or [(0.0, 0.0)])
    monkeypatch.setattr("memgpt_rag.model.equality._equal", {})
    file.write_text("no JSON")
    require_equal(decoder, model.windows, model.num_heads)
    assert calls, "what is none of ours is not believed"


@pytest.mark.parametrize(
    "kind, reason",
    [
        ("prophetnet", "does not call attention through the attention interface"),
        (
            "deepseek_v4",
            "layers of type compressed_sparse_attention, heavily_compressed_attention, which keep something else",
        ),
        ("recurrent_gemma", "reads memory in another way than its prompt"),  # it keeps its states in its layers
    ],
)
def test_what_memory_cannot_reach_is_refused_with_the_reason(kind, reason):
    with pytest.raises(ModelError, match=reason):
        MemoryDecoder(small_decoder(kind), None)


def test_a_decoder_that_fails_on_a_short_entry_is_refused_with_its_reason(monkeypatch):
    def fails(*given):
        raise IndexError("index out of range")

    monkeypatch.setattr("memgpt_rag.model.equality._differences", fails)
    with pytest.raises(
        ModelError, match=r"LlamaForCausalLM cannot read memory: it fails on a short entry with IndexError \(index out"
    ):
        MemoryDecoder(small_decoder("llama", max_position_embeddings=800), None)


def test_recurrent_layers_need_a_prefix_and_a_cache():
    model = make_model("mamba")
    with pytest.raises(ValueError, match="Recurrent layers and trained readers read after a prefix"):
        model.generate(ids(QUESTION), memory=model.make_memory([[ENTRY]]), use_cache=False)
    for kind in ("mamba", "jamba"):
        model = make_model(kind)
        model.prefix_ids = ()
        with pytest.raises(ValueError, match="go on from the state after a prefix, and there is none; give prefix_ids"):
            with_memory(model, QUESTION, [ENTRY])
    model = make_model("mamba", MemoryAttentionConfig(recurrent="prefix"))
    with pytest.raises(ValueError, match='entries do not reach a model without attention; choose "combined"'):
        with_memory(model, QUESTION, [ENTRY])


def test_shares_of_entries_are_those_of_their_states():
    config = MemoryAttentionConfig(score_bias=6.0, recurrent_bias=0.5)
    model, scores = make_model("mamba", config), [0.0, 1.0]
    memory = model.make_memory([[ENTRY, OTHER]], [scores])
    with torch.no_grad():
        model(ids(QUESTION), memory=memory)
    assert memory.entry_mass()[0] == pytest.approx((0.5 * torch.tensor(scores)).softmax(0).tolist())


def test_an_inkling_that_scales_by_place_in_the_cache_is_refused():
    with pytest.raises(ModelError, match=r"scales queries by their place in the cache \(log_scaling_n_floor\)"):
        MemoryDecoder(small_decoder("inkling_text", log_scaling_n_floor=64), None)


def test_a_decoder_without_attention_answers_with_tuples_and_shortened_norms():
    model, plain = make_model("mamba"), make_model("mamba").decoder
    with torch.no_grad():
        expected = plain(ids(PREFIX), return_dict=False)
        assert torch.equal(model.decoder(ids(PREFIX), return_dict=False)[0], expected[0])
        assert shorten_norms(model.decoder) > 0
        torch.testing.assert_close(model.decoder(ids(PREFIX)).logits, expected[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["gptj", "mamba"])
def test_a_decoder_that_is_saved_whole_reads_memory_again(kind, tmp_path):
    model = make_model(kind)
    torch.save(model.decoder, tmp_path / "decoder.pt")
    decoder = torch.load(tmp_path / "decoder.pt", weights_only=False)
    again = MemoryDecoder(decoder, model.tokenizer, config=PLAIN, prefix_ids=PREFIX, check=False)
    if kind == "gptj":  # Mamba is taught to read in steps by the comparison on loading
        found = with_memory(again, QUESTION, [ENTRY])
        assert (found - in_prompt(again, PREFIX, ENTRY, QUESTION)).abs().max() <= 1e-5


def test_training_that_does_not_reach_the_states_of_recurrent_layers_is_refused():
    model = make_model("qwen3_next")
    row = TrainingRow((tuple(ENTRY),), (1.0,), (0,), tuple(QUESTION), (70, 71))
    with pytest.raises(ModelError, match="has recurrent layers, whose states this training does not reach"):
        memory_hidden(model, [row], model.layer_settings, 0.0)
