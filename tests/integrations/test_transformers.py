"""transformers: readers travel with a model card, answers come from a pipeline, and memory is read without this package."""

from __future__ import annotations

import ast
import json
from dataclasses import replace

import pytest
import torch
from hashing import HashEncoder
from tiny import random_ids, tiny_decoder
from transformers import pipeline

from benchmarks.small_decoders import small_decoder
from memgpt_rag import AskOptions, Memory, MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.errors import MismatchError, ModelError
from memgpt_rag.integrations.transformers import PretrainedReader, register_pipeline, save_generation
from memgpt_rag.model.delimiters import new_delimiters
from memgpt_rag.model.presets import general_preset
from memgpt_rag.model.reader import load_reader
from memgpt_rag.model.tokenizer import byte_tokenizer
from memgpt_rag.rag import RAG

VOCABULARY = 256
PASSAGES = [random_ids(7, 1), random_ids(4, 2), random_ids(9, 3)]
SCORES = [0.5, 0.9, 0.7]
QUESTION = torch.tensor([random_ids(6, 4)])


def tiny_model(architecture: str = "llama", **settings) -> MemoryDecoder:
    return MemoryDecoder(tiny_decoder(architecture, VOCABULARY), byte_tokenizer(), **settings)


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """A cache for code that transformers loads: one for all tests, since Python imports from where it found the first."""
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("modules"))
        patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", folder)
        yield


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral", "gemma2", "gemma3", "gpt2", "gpt_oss"])
def test_generation_without_this_package_writes_the_same_tokens(architecture, tmp_path, modules):
    model = tiny_model(architecture, config=replace(general_preset("quality"), top_m=None))
    save_generation(model, tmp_path)
    model.prefix_ids = model.prompt.prefix_ids[-20:]
    settings = tmp_path / "custom_generate" / "settings.py"
    settings.write_text(settings.read_text().replace(str(list(model.prompt.prefix_ids)), str(list(model.prefix_ids))))
    plain = tiny_decoder(architecture, VOCABULARY)
    chosen = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False}
    shared = {"custom_generate": str(tmp_path), "trust_remote_code": True, "passages": PASSAGES, "scores": SCORES}
    theirs, without = score_rows(plain.generate, **shared, **chosen), score_rows(plain.generate, **chosen)
    ours = score_rows(model.generate, memory=model.make_memory([PASSAGES], [SCORES]), **chosen)
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(theirs[0], without[0], atol=1e-2)


def score_rows(generate, **settings) -> torch.Tensor:
    """The scores of every step of an answer to the question."""
    scores = []

    def kept(ids, logits):
        scores.append(logits)
        return logits

    generate(QUESTION, logits_processor=[kept], **settings)
    return torch.cat(scores)


def test_temperature_and_offset_are_those_of_the_configuration(tmp_path, modules):
    config = MemoryAttentionConfig(inverse_temperature=1.7, offset=-0.8, score_bias=3.0)
    model = tiny_model(config=config)
    save_generation(model, tmp_path, config)
    model.prefix_ids = model.prompt.prefix_ids
    plain = tiny_decoder("llama", VOCABULARY)
    shared = {"custom_generate": str(tmp_path), "trust_remote_code": True, "passages": PASSAGES, "scores": SCORES}
    scores = score_rows(plain.generate, **shared, max_new_tokens=1)
    with torch.no_grad():
        ours = model(QUESTION, memory=model.make_memory([PASSAGES], [SCORES])).logits[:, -1]
    torch.testing.assert_close(scores, ours, atol=1e-4, rtol=1e-4)


def test_passages_may_be_texts_and_wrong_input_is_refused(tmp_path, modules):
    model = tiny_model()
    save_generation(model, tmp_path)
    plain, tokenizer = tiny_decoder("llama", VOCABULARY), byte_tokenizer()

    def answer(ids=QUESTION, **arguments):
        settings = {"trust_remote_code": True, "max_new_tokens": 5} | arguments
        return plain.generate(ids, custom_generate=str(tmp_path), **settings).tolist()

    texts = ["Boats cost 40 yuan.", "The park opens at six."]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert answer(passages=texts, tokenizer=tokenizer) == answer(passages=ids)
    with pytest.raises(ValueError, match="Passages that are texts need a tokenizer"):
        answer(passages=texts)
    with pytest.raises(ValueError, match="There are 2 passages and 1 scores"):
        answer(passages=ids, scores=[0.5])
    with pytest.raises(ValueError, match="one question at a time"):
        answer(QUESTION.repeat(2, 1), passages=ids)
    with pytest.raises(ValueError, match="neither beams nor dictionaries"):
        answer(passages=ids, num_beams=2)


def test_the_code_that_is_shared_imports_nothing_of_this_package(tmp_path):
    folder = save_generation(tiny_model(), tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["generate.py", "settings.py"]
    imported = set()
    for node in ast.walk(ast.parse((folder / "generate.py").read_text())):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add("." * node.level + (node.module or ""))
    standard = {"__future__", "collections.abc", "inspect", "typing"}
    assert imported - standard == {"torch", "transformers", ".settings"}
    settings = ast.parse((folder / "settings.py").read_text()).body[1].value
    assert ast.literal_eval(settings)["score_bias"] == general_preset("quality").score_bias


@pytest.mark.parametrize(
    "config",
    [
        MemoryAttentionConfig(null_score=1.0),
        MemoryAttentionConfig(layers=(1, 2)),
        MemoryAttentionConfig(offset=(0.0, 1.0, 0.0, 1.0)),
    ],
)
def test_what_masks_cannot_say_is_refused(config, tmp_path):
    with pytest.raises(ModelError, match="in all layers, by one temperature and one offset, without a null slot"):
        save_generation(tiny_model(), tmp_path, config)


@pytest.mark.parametrize("kind", ["qwen3_next", "llama4_text"])
def test_models_whose_attention_masks_cannot_say_are_refused(kind, tmp_path):
    model = MemoryDecoder(small_decoder(kind), byte_tokenizer())
    with pytest.raises(
        ModelError, match=r"has recurrent layers, attends in chunks, .* which masks cannot say; use RAG.open"
    ):
        save_generation(model, tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        ModelError, match=r"file/custom_generate cannot be written: Not a directory; name another folder"
    ):
        save_generation(tiny_model(), tmp_path / "file")


def test_attention_that_the_shared_code_does_not_know_is_refused(tmp_path, modules):
    save_generation(tiny_model(), tmp_path, MemoryAttentionConfig(inverse_temperature=1.5))
    shared = {"custom_generate": str(tmp_path), "trust_remote_code": True, "passages": PASSAGES, "max_new_tokens": 2}
    with pytest.raises(ValueError, match="caps its scores, so that a factor on keys is no temperature; set τ to 1"):
        tiny_decoder("gemma2", VOCABULARY).generate(QUESTION, **shared)
    with pytest.raises(ValueError, match="reads full and sliding attention; this model has chunked_attention"):
        small_decoder("llama4_text").generate(QUESTION, **shared)


def saved_reader(folder, model: MemoryDecoder) -> None:
    model.delimiters = new_delimiters(model.embedded(torch.tensor([10]))[0], prefix=3, entry=2, noise=1.0, seed=0)
    PretrainedReader(model, {"quality": MemoryAttentionConfig(score_bias=2.5)}).save_pretrained(folder)


def test_a_reader_comes_back_by_the_name_of_its_folder(tmp_path):
    model = tiny_model()
    saved_reader(tmp_path / "reader", model)
    again = PretrainedReader.from_pretrained(tmp_path / "reader", tiny_model())
    assert again.presets == {"quality": MemoryAttentionConfig(score_bias=2.5)}
    assert again.model.config == again.presets["quality"]
    assert torch.equal(again.model.delimiters.entry, model.delimiters.entry)
    with pytest.raises(MismatchError, match="was trained for"):
        PretrainedReader.from_pretrained(tmp_path / "reader", tiny_model("gpt2"))


def test_a_reader_is_saved_over_itself(tmp_path):
    model = tiny_model()
    saved_reader(tmp_path, model)
    loaded = PretrainedReader.from_pretrained(tmp_path, tiny_model())
    loaded.save_pretrained(tmp_path)
    again = PretrainedReader.from_pretrained(tmp_path, tiny_model())
    assert again.model.reader.digest == loaded.model.reader.digest
    assert torch.equal(again.model.delimiters.entry, model.delimiters.entry)


def test_presets_alone_are_shared_and_loaded_with_the_model_that_they_name(tmp_path):
    decoder, tokenizer = tiny_decoder("llama", VOCABULARY), byte_tokenizer()
    decoder.save_pretrained(tmp_path / "decoder")
    tokenizer.save_pretrained(tmp_path / "decoder")
    model = MemoryDecoder.from_pretrained(tmp_path / "decoder", dtype=torch.float32)
    mine = MemoryAttentionConfig(inverse_temperature=(1.0, 1.1, 1.2, 1.3), score_bias=1.0)
    PretrainedReader(model, {"quality": mine}).save_pretrained(tmp_path / "presets")
    again = PretrainedReader.from_pretrained(tmp_path / "presets", dtype=torch.float32)
    assert (again.model.name, again.model.config) == (str(tmp_path / "decoder"), mine)
    assert (again.model.reader.adapter, again.model.delimiters) == (None, None)
    question = QUESTION.clone()
    model.config = mine
    with torch.no_grad():
        logits = [one(question, memory=one.make_memory([PASSAGES])).logits for one in (model, again.model)]
    assert torch.equal(*logits)


def test_a_missing_part_of_a_reader_is_named(tmp_path):
    saved_reader(tmp_path, tiny_model())
    (tmp_path / "delimiters.safetensors").unlink()
    with pytest.raises(ModelError, match=r"is damaged \(delimiters.safetensors is missing\)"):
        load_reader(tiny_model(), tmp_path)
    fields = json.loads((tmp_path / "reader.json").read_text())
    (tmp_path / "reader.json").write_text(json.dumps({**fields, "parts": ["weights"]}))
    with pytest.raises(ModelError, match=r"parts are not a list of adapter, delimiters"):
        load_reader(tiny_model(), tmp_path)


def test_the_model_card_says_what_is_in_the_folder_and_stays(tmp_path):
    saved_reader(tmp_path, tiny_model())
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\n") and "library_name: memgpt_rag" in card
    assert "delimiters, 3 behind the prefix and 2 behind every entry; presets quality" in card
    assert "| `quality` | `all` |" in card and "| `2.5` |" in card
    (tmp_path / "README.md").write_text("My own words.")
    saved_reader(tmp_path, tiny_model())
    assert (tmp_path / "README.md").read_text() == "My own words."
    PretrainedReader.from_pretrained(tmp_path, tiny_model()).save_pretrained(tmp_path / "copy")
    assert (tmp_path / "copy" / "README.md").read_text() == "My own words."


def test_nothing_to_share_is_refused():
    with pytest.raises(ValueError, match="no reader and no presets were given"):
        PretrainedReader(tiny_model())
    with pytest.raises(ValueError, match="There is no preset fast; expected some of quality, compact"):
        PretrainedReader(tiny_model(), {"fast": MemoryAttentionConfig()})
    with pytest.raises(ModelError, match="There is no reader 'none'"):
        PretrainedReader.from_pretrained("none")


@pytest.fixture()
def asked(tmp_path, monkeypatch):
    """A folder with a tiny decoder, a memory of three texts, and their encoder."""
    decoder, tokenizer = tiny_decoder("llama", len(byte_tokenizer())), byte_tokenizer()
    decoder.save_pretrained(tmp_path / "decoder")
    tokenizer.save_pretrained(tmp_path / "decoder")
    encoder = HashEncoder()
    texts = ["Boats cost 40 yuan.", "The park opens at six.", "Kites are free."]
    memory = Memory.create(tmp_path / "memory", texts, encoder)
    monkeypatch.setattr(
        "memgpt_rag.integrations.transformers.pipeline.open_memories", lambda folder, name: (memory, encoder)
    )
    return tmp_path, memory, encoder


def test_the_pipeline_answers_as_rag_does(asked):
    folder, memory, encoder = asked
    register_pipeline()
    register_pipeline()  # a second time changes nothing
    ask = pipeline(
        "memory-question-answering", model=str(folder / "decoder"), memory=folder / "memory", k=2, device="cpu"
    )
    found = ask("How much is a boat?", max_new_tokens=6)
    model = MemoryDecoder.from_pretrained(folder / "decoder", dtype=torch.float32)
    answer = RAG(memory, encoder, model).answer("How much is a boat?", AskOptions(k=2, max_new_tokens=6))
    assert (found["answer"], found["supported"]) == (answer.text, answer.supported)
    assert found["score"] == pytest.approx(answer.confidence, abs=1e-4)
    assert [one["text"] for one in found["citations"]] == [one.passage.text for one in answer.citations]
    assert [one["share"] for one in found["citations"]] == pytest.approx(
        [one.share for one in answer.citations], abs=1e-4
    )
    assert len(ask(["Kites?", "When does it open?"], max_new_tokens=2)) == 2
    with pytest.raises(ValueError, match="There is no option kk; expected some of "):
        ask("Kites?", kk=2)
