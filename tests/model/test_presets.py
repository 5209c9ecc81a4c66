"""What a preset's name stands for: general, fitted to a decoder, or calibrated by a user."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import transformers
from tiny import tiny_decoder

from memgpt_rag.choices import PRESETS
from memgpt_rag.errors import ModelError
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.presets import FITTED, calibrated_file, calibrated_preset, general_preset, preset, save_calibrated

GEMMA = transformers.Gemma3TextConfig(num_hidden_layers=18, num_attention_heads=4, hidden_size=640)
OTHER = transformers.Gemma3TextConfig(num_hidden_layers=26, num_attention_heads=4, hidden_size=1152)
MINE = MemoryAttentionConfig(inverse_temperature=(1.5, (1.0, 2.0, 3.0, 4.0)), score_bias=2.0, layers=(1, 3))


@pytest.mark.parametrize("name, layers", [("quality", list(range(18))), ("compact", [5, 11, 17])])
def test_presets_of_gemma_270m_were_fitted_to_it(name, layers):
    assert preset(name, OTHER) == general_preset(name)
    assert preset(name, GEMMA) != general_preset(name)
    windows = {layer: None if kind == "full_attention" else 512 for layer, kind in enumerate(GEMMA.layer_types)}
    assert list(preset(name, GEMMA).resolve(windows, 4)) == layers


def test_every_fitted_number_is_that_of_a_preset():
    for per_decoder in json.loads(FITTED.read_text(encoding="utf-8")).values():
        for name, values in per_decoder.items():
            assert name in PRESETS
            config = MemoryAttentionConfig.from_dict(values)
            kept = json.loads(json.dumps(asdict(config)))
            assert {key: kept[key] for key in values} == values


def test_calibrated_numbers_are_what_a_preset_means_for_their_model_only(tmp_path):
    assert calibrated_preset("quality", tmp_path, GEMMA) == preset("quality", GEMMA)
    file = save_calibrated("quality", MINE, tmp_path)
    assert file.parent == tmp_path
    assert calibrated_preset("quality", tmp_path, GEMMA) == MINE
    assert calibrated_preset("compact", tmp_path, GEMMA) == preset("compact", GEMMA)
    save_calibrated("compact", general_preset("compact"), tmp_path)
    assert calibrated_preset("quality", tmp_path, GEMMA) == MINE  # kept beside the new one
    assert preset("quality", GEMMA) != MINE  # nobody else's


def test_numbers_of_a_hub_model_are_kept_in_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = save_calibrated("quality", MINE, "some/model")
    assert file == calibrated_file("some/model")
    assert file.is_relative_to(tmp_path)
    assert calibrated_preset("quality", "some/model", GEMMA) == MINE
    assert calibrated_preset("quality", "some/other", GEMMA) != MINE


def test_a_model_loads_with_what_was_calibrated_for_it(tmp_path):
    tiny_decoder("llama").save_pretrained(tmp_path)
    transformers.PreTrainedTokenizerFast(tokenizer_object=_tokenizer(), bos_token="<s>").save_pretrained(tmp_path)
    assert MemoryDecoder.from_pretrained(tmp_path).config == general_preset("quality")
    save_calibrated("quality", MINE, tmp_path)
    assert MemoryDecoder.from_pretrained(tmp_path).config == MINE
    assert MemoryDecoder.from_pretrained(tmp_path, config=general_preset("quality")).config == general_preset("quality")


def _tokenizer():
    from tokenizers import Tokenizer, models

    return Tokenizer(models.WordLevel({"<s>": 0, "a": 1}, unk_token="a"))


@pytest.mark.parametrize(
    "content, why",
    [
        ("{", "broken JSON"),
        ("[1]", "expected presets of the names quality, compact"),
        ('{"best": {}}', "expected presets of the names quality, compact"),
        ('{"quality": 1}', "1 is no configuration"),
        ('{"quality": {"beta": 1}}', "A configuration has no beta"),
        ('{"quality": {"top_m": 0}}', "top_m is 0; expected 1 or more"),
        ('{"quality": {"top_m": 1.5}}', "top_m is 1.5; expected 1 or more"),
        ('{"quality": {"top_m": 1e308}}', r"top_m is 1e\+308; expected 1 or more"),
        ('{"quality": {"score_bias": NaN}}', "NaN where a number is expected"),
        ('{"quality": {"offset": -Infinity}}', "-Infinity where a number is expected"),
        ('{"quality": {"score_bias": 1e308}}', r"score_bias is 1e\+308, not a number from -10000 to 10000"),
        ('{"quality": {"score_bias": "6"}}', "score_bias is '6', not a number"),
        ('{"quality": {"score_bias": null}}', "score_bias is None, not a number"),
        ('{"quality": {"score_bias": true}}', "score_bias is True, not a number"),
        ('{"quality": {"inverse_temperature": 0}}', "inverse_temperature is 0; expected numbers above 0"),
        ('{"quality": {"inverse_temperature": [[1, -1]]}}', "inverse_temperature is -1, not a number from 0"),
        ('{"quality": {"inverse_temperature": []}}', r"inverse_temperature is \(\); expected numbers above 0"),
        ('{"quality": {"offset": [[1, [1e5]]]}}', r"offset is \(100000.0,\), not a number"),
        ('{"quality": {"null_score": [1, {}]}}', "null_score is {}, not a number"),
        ('{"quality": {"layers": "most"}}', "layers is 'most'; expected"),
        ('{"quality": {"layers": [0, 0]}}', r"layers is \(0, 0\); expected"),
        ('{"quality": {"layers": [true, -1]}}', r"layers is \(True, -1\); expected"),
        ('{"quality": {"layers": 3}}', "layers is 3; expected"),
        ("[" * 200_000, "nested more than 64 levels deep"),
    ],
)
def test_a_damaged_file_of_numbers_is_refused(tmp_path, content, why):
    calibrated_file(tmp_path).write_text(content)
    with pytest.raises(
        ModelError, match=f"memory_attention.json does not hold calibrated numbers .*{why}.*; remove it, or calib"
    ):
        calibrated_preset("quality", tmp_path, GEMMA)
    with pytest.raises(ModelError, match="does not hold calibrated numbers"):
        save_calibrated("quality", MINE, tmp_path)
    assert calibrated_file(tmp_path).read_text() == content


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="There is no preset 'best'; expected one of quality, compact"):
        MemoryDecoder(tiny_decoder("llama"), None, config="best")


def test_a_model_whose_layers_are_all_alike_has_compact_once_it_is_calibrated(tmp_path):
    tiny_decoder("llama").save_pretrained(tmp_path)
    transformers.PreTrainedTokenizerFast(tokenizer_object=_tokenizer(), bos_token="<s>").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="find its layers with `memgpt-rag calibrate --preset compact`"):
        MemoryDecoder.from_pretrained(tmp_path, config="compact")
    save_calibrated("compact", MINE, tmp_path)
    assert MemoryDecoder.from_pretrained(tmp_path, config="compact").layers == (1, 3)


def test_a_configuration_for_some_of_its_layers_has_the_same_numbers_there():
    some = MINE.only([3], attended=[1, 3])
    windows = dict.fromkeys(range(4))
    assert list(some.resolve(windows, 4)) == [3]
    kept, full = some.resolve(windows, 4)[3], MINE.resolve(windows, 4)[3]
    assert kept.inverse_temperature.tolist() == full.inverse_temperature.tolist()
    assert (kept.offset, some.score_bias) == (full.offset, MINE.score_bias)


def test_global_names_layers_only_where_a_model_mixes_both_kinds():
    compact = general_preset("compact")
    assert compact.has_layers({0: 8, 1: None})
    assert not compact.has_layers({0: None, 1: None})
    assert not compact.has_layers({0: 8, 1: 8})
    assert general_preset("quality").has_layers({0: None, 1: None})
