"""Encoders of pictures and texts: a CLIP with a few random weights, in a user's folder, and the dual encoder that is trained here."""

from __future__ import annotations

import io
import pickle
import re

import numpy as np
import pytest
import torch
from hashing import HashEncoder
from pictures import encoded, png
from PIL import Image
from tiny import tiny_bert, tiny_clip

from memgpt_rag.encoders.dual_encoder import SETTINGS, SIDE, WEIGHTS, DualEncoder, DualNetwork, seen_pictures
from memgpt_rag.encoders.load import load_encoder, load_memory_encoder, load_picture_encoder
from memgpt_rag.errors import MismatchError, ModelError, SourceError

PICTURES = [png("red"), png("blue", (40, 40)), encoded(Image.linear_gradient("L").convert("RGB"), "JPEG")]
TEXTS = ["a red square", "a blue square", "一个红色的正方形"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_clip(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture
def dual() -> DualEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = DualNetwork(4, 16, 64)
    network.center.copy_(torch.linspace(0, 0.1, 64))
    return DualEncoder(network, HashEncoder(), 0.25)


def test_a_clip_folder_gives_the_vectors_that_transformers_gives(clip):
    from transformers import AutoProcessor, CLIPModel

    encoder = load_picture_encoder(str(clip))
    model, processor = CLIPModel.from_pretrained(clip).eval(), AutoProcessor.from_pretrained(clip, use_fast=False)
    with torch.inference_mode():
        for picture, vector in zip(PICTURES, encoder.encode_pictures(PICTURES), strict=True):
            seen = processor(images=Image.open(io.BytesIO(picture)), return_tensors="pt")["pixel_values"]
            expected = torch.nn.functional.normalize(model.get_image_features(seen).pooler_output, dim=-1)[0]
            np.testing.assert_allclose(vector, expected.numpy(), atol=1e-5)
        for text, vector in zip(TEXTS, encoder.encode_queries(TEXTS), strict=True):
            ids = processor(text=text, return_tensors="pt")
            features = model.get_text_features(ids["input_ids"], ids["attention_mask"]).pooler_output
            np.testing.assert_allclose(vector, torch.nn.functional.normalize(features, dim=-1)[0].numpy(), atol=1e-5)


def test_its_fingerprint_knows_its_pictures_and_loads_it_again(clip, tmp_path):
    encoder = load_picture_encoder(str(clip))
    found = encoder.fingerprint
    assert found.picture_probe and found.dimension == 16 and found.score_scale > 0
    assert type(found).from_json(found.to_json()) == found
    again = load_memory_encoder(found, str(clip), memories=[tmp_path])
    found.require_match(again.fingerprint)
    other = load_picture_encoder(str(tiny_clip(tmp_path / "other", seed=3)))
    with pytest.raises(MismatchError, match="the same text gives other vectors"):
        found.require_match(other.fingerprint)
    with pytest.raises(ModelError, match="a memory alone cannot choose what is loaded here"):
        load_memory_encoder(found)


def test_a_model_of_texts_is_refused_as_an_encoder_of_pictures(tmp_path):
    with pytest.raises(ModelError, match=r"embeds texts only; name .*memgpt-rag images train"):
        load_picture_encoder(str(tiny_bert(tmp_path / "bert")))
    with pytest.raises(ModelError, match="'all-MiniLM-L6-v2' embeds texts only; name a model that embeds pictures"):
        load_picture_encoder("all-MiniLM-L6-v2")
    with pytest.raises(ModelError, match="No embedding model 'nowhere/nothing'"):
        load_picture_encoder("nowhere/nothing")


def test_an_encoder_of_pictures_is_refused_as_a_model_of_texts(tmp_path):
    (tmp_path / SETTINGS).write_text("{}")
    with pytest.raises(
        ModelError, match="embeds pictures and is for memories of pictures; name a model that embeds texts"
    ):
        load_encoder(str(tmp_path))


def test_a_dual_encoder_loads_back_to_equal_vectors(dual, tmp_path):
    dual.save(tmp_path / "dual")
    again = DualEncoder.load(tmp_path / "dual", text_encoder=HashEncoder())
    np.testing.assert_array_equal(again.encode_pictures(PICTURES), dual.encode_pictures(PICTURES))
    np.testing.assert_array_equal(again.encode_queries(TEXTS), dual.encode_queries(TEXTS))
    assert again.fingerprint.score_scale == 0.25
    dual.fingerprint.require_match(again.fingerprint)
    assert sorted(path.name for path in (tmp_path / "dual").iterdir()) == [SETTINGS, WEIGHTS]


def test_vectors_are_of_length_1_and_texts_go_through_center_and_map(dual):
    vectors = HashEncoder().encode_queries(TEXTS)
    expected = (vectors - dual.network.center.numpy()) @ dual.network.texts[1].weight.detach().numpy().T
    np.testing.assert_allclose(
        dual.encode_passages(TEXTS), expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.norm(dual.encode_pictures(PICTURES * 40), axis=1), 1, atol=1e-5)


def test_a_picture_is_seen_whole_on_white():
    seen = seen_pictures([png("red", (40, 10))])[0]
    assert seen.shape == (3, SIDE, SIDE)
    assert seen[:, SIDE // 2, SIDE // 2].tolist() == [255, 0, 0] and seen[:, 2, 2].tolist() == [255, 255, 255]
    with pytest.raises(SourceError, match="A picture of the memory cannot be read as a picture"):
        seen_pictures([b"nothing"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), f"holds no whole dual encoder: {re.escape(WEIGHTS)} is missing; train one"),
        (lambda folder: (folder / WEIGHTS).write_bytes(pickle.dumps({"weight": 1})), "is damaged .*copy or train it again"),
        (lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9]), "is damaged"),
        (lambda folder: (folder / SETTINGS).write_text("{}"), "is damaged .*is not of kind"),
        (lambda folder: (folder / SETTINGS).write_text((folder / SETTINGS).read_text().replace('"width": 4', '"width": 1e9')), "width is 1000000000.0, not a number"),
        (lambda folder: (folder / SETTINGS).write_text((folder / SETTINGS).read_text().replace('"width": 4', '"width": 5')), "is damaged"),
    ],
)  # fmt: skip
def test_a_damaged_dual_encoder_is_a_sentence(dual, tmp_path, damage, message):
    dual.save(tmp_path / "dual")
    damage(tmp_path / "dual")
    with pytest.raises(ModelError, match=message):
        DualEncoder.load(tmp_path / "dual", text_encoder=HashEncoder())


def test_another_text_encoder_is_refused(dual, tmp_path):
    dual.save(tmp_path / "dual")
    with pytest.raises(MismatchError, match="the same text gives other vectors"):
        DualEncoder.load(tmp_path / "dual", text_encoder=HashEncoder(salt=1))
    with pytest.raises(ModelError, match="text encoder 'hash', which does not come as a package"):
        load_picture_encoder(str(tmp_path / "dual"))
