"""States on disk: what goes in comes out of its own row, int8 within half a step, and a damaged file is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from memgpt_rag.choices import STATES_TYPES
from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.memory.storage.states import StatesShape, StatesWriter, StoredStates
from memgpt_rag.state_codes import decode, encode

LENGTHS = [3, 1, 12, 5]


def shape(dtype="int8") -> StatesShape:
    return StatesShape(layers=2, kv_heads=3, head_dim=8, dtype=dtype)


def states(rng, length: int) -> np.ndarray:
    """With a column that is a hundred times as large as the others, as keys of real models have."""
    made = rng.normal(size=(length, 2, 2, 3, 8)).astype(np.float32)
    made[..., 5] *= 100
    return made


@pytest.fixture
def written(tmp_path, rng):
    entries = [states(rng, length) for length in LENGTHS]
    with StatesWriter(tmp_path / "states", shape(), LENGTHS) as writer:
        for entry in entries:
            writer.add(entry)
    return tmp_path / "states", entries


@pytest.mark.parametrize("dtype", STATES_TYPES)
def test_every_entry_comes_back_from_its_own_row(tmp_path, rng, dtype):
    entries = [states(rng, length) for length in LENGTHS]
    with StatesWriter(tmp_path / "states", shape(dtype), LENGTHS) as writer:
        for entry in entries:
            writer.add(entry)
    stored = StoredStates.open(tmp_path / "states", shape(dtype), len(LENGTHS))
    for row in (2, 0, 3, 1):
        got, largest = decode(*stored.entry(row)), np.abs(entries[row]).max(axis=-1, keepdims=True)
        step = {
            "int8": largest / 127 * 1.001,
            "int4": largest,
            "fp16": np.abs(entries[row]) / 2**10,
            "bf16": np.abs(entries[row]) / 2**7,
            "fp32": 0.0,
        }
        assert (np.abs(got - entries[row]) <= step[dtype] / 2 + 1e-7).all()
    data = sum(array.nbytes for array in stored.entry(2) if array is not None)
    assert data == 12 * shape(dtype).bytes_per_token


def test_bytes_per_token_of_the_bundled_model():
    """What the design says of Gemma 3 270M: 18 layers, or 3, with one key-value head of 256."""
    assert StatesShape(18, 1, 256, "int8").bytes_per_token == 9288
    assert StatesShape(3, 1, 256, "int8").bytes_per_token == 1548
    assert StatesShape(18, 1, 256, "int4").bytes_per_token == 4680
    assert StatesShape(3, 1, 256, "int4").bytes_per_token == 780


def test_a_library_of_others_reads_the_file(written):
    path, entries = written
    with safe_open(path, framework="np") as file:
        assert file.get_tensor("offsets").tolist() == [0, 3, 4, 16, 21]
        codes, scales = file.get_slice("codes")[4:16], file.get_slice("scales")[4:16]
    largest = np.abs(entries[2]).max()
    np.testing.assert_allclose(codes * scales[..., None].astype(np.float32), entries[2], atol=largest / 127)


def test_int8_uses_all_codes_and_keeps_zeros():
    some = np.array([[0.0, 0.0], [-3.0, 1.0], [1e-9, 0.0]], dtype=np.float32)
    codes, scales = encode(some, "int8")
    assert codes[1].tolist()[0] in (-127, -126)
    assert codes[0].tolist() == [0, 0]
    assert np.isfinite(decode(codes, scales)).all()


def test_bf16_rounds_as_torch_does(rng):
    some = rng.normal(size=(100, 8)).astype(np.float32)
    theirs = torch.from_numpy(some).bfloat16().float().numpy()
    np.testing.assert_array_equal(decode(*encode(some, "bf16")), theirs)


def test_states_of_another_shape_or_without_numbers_are_refused(tmp_path, rng):
    with (
        pytest.raises(
            ValueError, match=r"The states of row 1 have shape \(3, 2, 2, 3, 8\); expected \(1, 2, 2, 3, 8\)"
        ),
        StatesWriter(tmp_path / "states", shape(), LENGTHS) as writer,
    ):
        writer.add(states(rng, 3))
        writer.add(states(rng, 3))
    with (
        pytest.raises(ValueError, match="The states of an entry hold NaN or infinity"),
        StatesWriter(tmp_path / "other", shape(), LENGTHS) as writer,
    ):
        writer.add(np.full((3, 2, 2, 3, 8), np.nan, dtype=np.float32))


def test_every_entry_must_have_its_states(tmp_path, rng):
    with (
        pytest.raises(ValueError, match="1 entries have states and 4 were announced"),
        StatesWriter(tmp_path / "states", shape(), LENGTHS) as writer,
    ):
        writer.add(states(rng, 3))


def test_rows_that_are_not_there_are_refused(written):
    stored = StoredStates.open(written[0], shape(), 4)
    for row in (-1, 4):
        with pytest.raises(IndexError, match=f"States of row {row} were asked for; there are rows 0 to 3"):
            stored.entry(row)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def _huge_header(path):
    path.write_bytes((2**60).to_bytes(8, "little") + path.read_bytes()[8:])


def _header(path, change):
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    fields = json.loads(content[8:end])
    change(fields)
    text = json.dumps(fields).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])


def _more_tokens(path):
    _header(path, lambda fields: fields["codes"]["shape"].__setitem__(0, 10**12))


def _elsewhere(path):
    _header(path, lambda fields: fields["codes"]["data_offsets"].__setitem__(0, 0))


def _odd_shape(path):
    _header(path, lambda fields: fields["codes"].__setitem__("shape", ["x"]))


def _offsets_backwards(path):
    content = bytearray(path.read_bytes())
    first = 8 + int.from_bytes(content[:8], "little")
    content[first + 8 : first + 16] = (20).to_bytes(8, "little")
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage, match",
    [
        (_cut, "does not hold int8 states of 4 entries in 2 layers with 3 × 8 numbers; compute the states again"),
        (_more_tokens, "does not hold int8 states of 4 entries"),
        (_elsewhere, "does not hold int8 states of 4 entries"),
        (_odd_shape, "does not hold int8 states of 4 entries"),
        (_huge_header, "is not a safetensors file"),
        (lambda path: path.write_bytes(b"no"), "is not a safetensors file"),
        (lambda path: path.unlink(), r"is not a safetensors file \(.*No such file"),
        (_offsets_backwards, "has offsets that do not fit its 21 tokens"),
    ],
)
def test_a_damaged_file_is_refused_in_one_sentence(written, damage, match):
    damage(written[0])
    with pytest.raises(MemoryFormatError, match=match):
        StoredStates.open(written[0], shape(), 4)


def test_states_of_another_shape_than_the_manifest_says_are_refused(written):
    for other in (StatesShape(2, 3, 8, "fp16"), StatesShape(3, 3, 8, "int8")):
        with pytest.raises(MemoryFormatError, match="compute the states again"):
            StoredStates.open(written[0], other, 4)
    with pytest.raises(MemoryFormatError, match="of 5 entries"):
        StoredStates.open(written[0], shape(), 5)
