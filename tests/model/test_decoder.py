"""MemoryDecoder as a model: generation, states, settings and refusals."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict

import pytest
import torch
import transformers
from tiny import random_ids, tiny_decoder
from transformers import AutoModelForCausalLM
from transformers.generation.streamers import BaseStreamer

from memgpt_rag.errors import ModelError
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder

PREFIX, ENTRY, OTHER, QUESTION = random_ids(5, 1), random_ids(11, 2), random_ids(7, 3), random_ids(6, 4)


def ids(*rows):
    return torch.tensor(rows)


def make_model(architecture="llama", **settings):
    return MemoryDecoder(tiny_decoder(architecture), None, config=MemoryAttentionConfig(**settings), prefix_ids=PREFIX)


class Collect(BaseStreamer):
    def __init__(self):
        self.tokens = []

    def put(self, value):
        self.tokens.extend(value.flatten().tolist())

    def end(self):
        self.tokens.append("end")


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
@pytest.mark.parametrize(
    "settings",
    [
        {"do_sample": False},
        {"do_sample": False, "num_beams": 3},
        {"do_sample": True, "top_k": 20},
        {"do_sample": True, "num_return_sequences": 4},
    ],
    ids=["greedy", "beams", "sampling", "several samples"],
)
def test_generate_with_one_entry_writes_what_the_prompt_writes(architecture, settings):
    model = make_model(architecture)
    settings = {"max_new_tokens": 10, "min_new_tokens": 10, "pad_token_id": 0, **settings}
    torch.manual_seed(0)
    from_memory = model.generate(ids(QUESTION), memory=model.make_memory([[ENTRY]]), **settings)
    torch.manual_seed(0)
    from_prompt = model.generate(ids(PREFIX + ENTRY + QUESTION), **settings)
    assert from_memory[:, len(QUESTION) :].tolist() == from_prompt[:, -10:].tolist()


def test_beams_of_a_batch_keep_to_their_own_memories():
    model, settings = (
        make_model(),
        {"max_new_tokens": 8, "min_new_tokens": 8, "num_beams": 4, "do_sample": False, "pad_token_id": 0},
    )
    together = model.generate(ids(QUESTION, QUESTION), memory=model.make_memory([[ENTRY], [OTHER]]), **settings)
    alone = [
        model.generate(ids(QUESTION), memory=model.make_memory([[entry]]), **settings)[0] for entry in (ENTRY, OTHER)
    ]
    assert together.tolist() == [row.tolist() for row in alone]
    assert together[0].tolist() != together[1].tolist()


def test_a_streamer_hears_the_question_and_then_each_token():
    model, streamer = make_model(), Collect()
    written = model.generate(
        ids(QUESTION), memory=model.make_memory([[ENTRY]]), max_new_tokens=6, do_sample=False, streamer=streamer
    )
    assert streamer.tokens == [*written[0].tolist(), "end"]


def test_two_threads_do_not_see_each_others_memory():
    model = make_model()
    expected = {
        name: model.generate(
            ids(QUESTION), memory=model.make_memory([[entry]]), max_new_tokens=20, min_new_tokens=20, do_sample=False
        )
        for name, entry in (("one", ENTRY), ("other", OTHER))
    }
    got = {}

    def run(name, entry):
        for _ in range(5):
            memory = model.make_memory([[entry]])
            got.setdefault(name, []).append(
                model.generate(ids(QUESTION), memory=memory, max_new_tokens=20, min_new_tokens=20, do_sample=False)
            )

    threads = [threading.Thread(target=run, args=pair) for pair in (("one", ENTRY), ("other", OTHER))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, expected_output in expected.items():
        assert len(got[name]) == 5
        assert all(torch.equal(output, expected_output) for output in got[name])


def test_states_are_computed_once_per_entry(monkeypatch):
    model = make_model()
    written = []
    original = model._states._compute
    monkeypatch.setattr(model._states, "_compute", lambda batch: written.extend(batch) or original(batch))
    model.make_memory([[ENTRY, OTHER], [OTHER, OTHER]])
    model.make_memory([[OTHER], [ENTRY]])
    assert sorted(written) == sorted([tuple(ENTRY), tuple(OTHER)])
    model.prefix_ids = PREFIX[:3]
    model.make_memory([[ENTRY]])
    assert written[2:] == [tuple(ENTRY)]


def test_the_states_cache_keeps_to_its_bytes_and_forgets_the_oldest():
    model = make_model()
    size = model.entry_states([ENTRY])[0].num_bytes
    small = MemoryDecoder(
        model.decoder, None, config=MemoryAttentionConfig(), prefix_ids=PREFIX, states_cache_bytes=2 * size
    )
    entries = [random_ids(len(ENTRY), seed) for seed in range(10, 14)]
    for entry in entries:
        small.entry_states([entry])
        assert small._states.cache.num_bytes <= 2 * size
    assert [small._states.cache.get(tuple(entry)) is not None for entry in entries] == [False, False, True, True]


def test_bias_by_retrieval_score_moves_attention_to_the_better_entry():
    shares = []
    for score_bias in (0.0, 2.0, 8.0):
        model = make_model(score_bias=score_bias)
        memory = model.make_memory([[ENTRY, OTHER]], [[0.9, 0.3]])
        model(ids(QUESTION), memory=memory)
        first, second = memory.entry_mass()[0]
        shares.append(first / (first + second))
    assert shares == sorted(shares)
    assert shares[2] > 0.95 > shares[0]


def test_mass_counts_the_passes_that_are_asked_for():
    model = make_model()
    memory = model.make_memory([[ENTRY, OTHER]])
    model.generate(ids(QUESTION), memory=memory, max_new_tokens=5, min_new_tokens=5, do_sample=False)
    one_mass, all_mass = memory.entry_mass([1])[0], memory.entry_mass()[0]
    again = model.make_memory([[ENTRY, OTHER]])
    model(ids(QUESTION), memory=again)
    assert one_mass == pytest.approx(again.entry_mass()[0], abs=1e-6)
    assert one_mass != pytest.approx(all_mass, abs=1e-4)
    assert 0 < sum(all_mass) < 1


def test_entries_and_scores_must_pair():
    with pytest.raises(ValueError, match=r"Rows have \[2\] entries and \[1\] scores; give one score per entry\."):
        make_model().make_memory([[ENTRY, OTHER]], [[0.5]])


def test_an_entry_without_tokens_is_refused():
    with pytest.raises(ValueError, match=r"Entry 1 has no tokens\."):
        make_model().entry_states([ENTRY, []])


def test_a_memory_for_other_rows_is_refused():
    model = make_model()
    with pytest.raises(ValueError, match="The memory is for 1 rows and there are 2; make one per batch"):
        model(ids(QUESTION, QUESTION), memory=model.make_memory([[ENTRY]]))


def test_a_cache_that_drops_tokens_is_refused():
    model = make_model("gemma3")
    cache = transformers.DynamicCache(config=model.decoder.config)
    with torch.no_grad():
        model.decoder(ids(random_ids(20, 1)), past_key_values=cache)
    with pytest.raises(ValueError, match="needs a cache that keeps every token"):
        model(ids(QUESTION), memory=model.make_memory([[ENTRY]]), past_key_values=cache)


@pytest.mark.parametrize(
    "config, match",
    [
        (
            transformers.OpenAIGPTConfig(vocab_size=9, n_embd=8, n_layer=1, n_head=2),
            "OpenAIGPTLMHeadModel does not call attention through the attention interface",
        ),
    ],
    ids=["openai-gpt"],
)
def test_a_decoder_that_memory_cannot_reach_is_refused(config, match):
    with pytest.raises(ModelError, match=match):
        MemoryDecoder(AutoModelForCausalLM.from_config(config), None)


def test_an_encoder_decoder_is_refused():
    config = transformers.BartConfig(
        vocab_size=9,
        d_model=8,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
    )
    with pytest.raises(
        ModelError, match="BartForConditionalGeneration is an encoder-decoder; memory attention needs a decoder"
    ):
        MemoryDecoder(transformers.BartForConditionalGeneration(config), None)


def test_layers_of_an_unknown_kind_are_refused():
    decoder = tiny_decoder("llama")
    decoder.config.layer_types = ["full_attention", "compressed_sparse_attention"] * 2
    with pytest.raises(
        ModelError,
        match="LlamaForCausalLM has layers of type compressed_sparse_attention, which keep something else than keys and values",
    ):
        MemoryDecoder(decoder, None)


def test_a_model_that_is_nowhere_is_refused(tmp_path):
    with pytest.raises(
        ModelError, match=r"No language model 'no/such-model': it is no folder .* packages \(gemma-3-270m-4bit, smollm2"
    ):
        MemoryDecoder.from_pretrained("no/such-model")
    with pytest.raises(
        ModelError, match=r"The language model .* cannot be loaded \(it is a folder without config.json\)"
    ):
        MemoryDecoder.from_pretrained(tmp_path)


def test_from_pretrained_loads_a_folder(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(
        models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, **{f"w{i}": i for i in range(3, 97)}}, unk_token="<unk>")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(tmp_path)
    decoder = tiny_decoder("llama")
    decoder.save_pretrained(tmp_path)
    model = MemoryDecoder.from_pretrained(tmp_path, dtype=torch.float32, config=MemoryAttentionConfig())
    assert model.prefix_ids == (1,)
    with torch.no_grad():
        one = model(ids(QUESTION), memory=model.make_memory([[ENTRY]])).logits
        other = decoder(ids([1, *ENTRY, *QUESTION])).logits[:, -len(QUESTION) :]
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_presets_take_all_layers_or_the_global_ones():
    model = MemoryDecoder(tiny_decoder("gemma3"), None, config="quality", prefix_ids=PREFIX)
    assert list(model.make_memory([[ENTRY]]).keys) == [0, 1, 2, 3]
    model = MemoryDecoder(tiny_decoder("gemma3"), None, config="compact", prefix_ids=PREFIX)
    assert list(model.make_memory([[ENTRY]]).keys) == [1, 3]
    assert list(model.entry_states([ENTRY])[0].keys) == [1, 3]


def test_a_configuration_survives_json():
    config = MemoryAttentionConfig((1, 3), inverse_temperature=(0.5, (1.0, 2.0)), offset=-1.0, top_m=8)
    assert MemoryAttentionConfig.from_dict(json.loads(json.dumps(asdict(config)))) == config
    with pytest.raises(
        ValueError, match="A configuration has no beta, gate; it has layers, inverse_temperature, offset"
    ):
        MemoryAttentionConfig.from_dict({"beta": 1.0, "gate": 0, "top_m": 8})


@pytest.mark.parametrize("architecture, kind", [("llama", "global"), ("mistral", "sliding-window")])
def test_compact_needs_a_model_that_mixes_layers(architecture, kind):
    with pytest.raises(
        ModelError,
        match=f"all 4 layers of this one are {kind}; find its layers with `memgpt-rag calibrate --preset compact`, use the",
    ):
        MemoryDecoder(tiny_decoder(architecture), None, config="compact")


@pytest.mark.parametrize(
    "settings, error, match",
    [
        ({"layers": "some"}, ValueError, 'layers is \'some\'; expected "all", "global" or layer numbers'),
        ({"layers": (1, 9)}, ModelError, r"The model attends in layers 0 to 3; memory was asked for in \[9\]"),
        ({"inverse_temperature": 0.0}, ValueError, "inverse_temperature is 0.0; expected numbers above 0"),
        ({"top_m": 0}, ValueError, "top_m is 0; expected 1 or more, or None for every memory token"),
        (
            {"offset": (1.0, 2.0)},
            ModelError,
            r"2 numbers were given for the 4 layers \[0, 1, 2, 3\]; give one number, or one per layer",
        ),
        (
            {"layers": (1, 3), "offset": (0.5, (1.0, 2.0, 3.0))},
            ModelError,
            r"3 numbers were given for the 4 heads of layer 3; give one number, or one per head",
        ),
    ],
)
def test_wrong_settings_are_refused(settings, error, match):
    with pytest.raises(error, match=match):
        make_model(**settings)


def test_numbers_per_layer_are_used_in_their_layers():
    one, other = make_model(layers=(1, 3), offset=(2.0, -1.0)), make_model(layers=(1, 3), offset=(-1.0, 2.0))
    same = make_model(layers=(3, 1), offset=(-1.0, 2.0))
    per_head = make_model(layers=(1, 3), offset=((2.0,) * 4, -1.0))
    results = [
        model(ids(QUESTION), memory=model.make_memory([[ENTRY]])).logits for model in (one, other, same, per_head)
    ]
    assert torch.equal(results[0], results[2])
    assert not torch.allclose(results[0], results[1], atol=1e-3)
    torch.testing.assert_close(results[0], results[3])


def test_numbers_per_head_are_used_in_their_heads():
    one, other = (
        make_model(layers=(1,), offset=(head_values,)) for head_values in ((3.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 3.0))
    )
    results = [model(ids(QUESTION), memory=model.make_memory([[ENTRY]])).logits for model in (one, other)]
    assert not torch.allclose(*results, atol=1e-3)
