"""Pictures in a memory: each with its own entry, committed with it, checked, and carried along when the memory changes."""

from __future__ import annotations

import numpy as np
import pytest
from hashing import HashEncoder, passage
from pictures import ColorEncoder, png

from indexing.jobs.verify_memory import verify_memory
from memgpt_rag.errors import MemoryFormatError, MismatchError
from memgpt_rag.memory import Memory, list_versions
from memgpt_rag.memory.changes import append_entries, compact, delete_entries, put_entries
from memgpt_rag.memory.pictures import add_pictures
from memgpt_rag.memory.storage import layout, pictures
from memgpt_rag.memory.storage.files import describe
from memgpt_rag.memory.storage.manifest import read_manifest

COLORS = ("red", "green", "blue")


def entries(*numbers: int):
    return [(passage(number), png(COLORS[number % 3], (10 + number, 10))) for number in numbers]


def pairs(memory: Memory):
    rows = memory.rows()
    return {one.id: picture for one, picture in zip(memory.passages(rows), memory.pictures(rows), strict=True)}


def expected(*numbers: int):
    return {one.id: picture for one, picture in entries(*numbers)}


def test_every_entry_has_its_own_picture_and_texts_have_none(tmp_path):
    encoder = HashEncoder()
    Memory.create(tmp_path / "m", [passage(number) for number in (0, 1)], encoder)
    assert read_manifest(tmp_path / "m").to_json()["version"] == layout.WITHOUT_PICTURES
    memory = add_pictures(tmp_path / "m", entries(*range(2, 70)), encoder)  # more than one block
    assert memory.manifest.to_json()["version"] == layout.WITHOUT_SPARSE
    assert pairs(memory) == {"doc#0": None, "doc#1": None, **expected(*range(2, 70))}
    assert [memory.has_picture(row) for row in (0, 1, 2, 69)] == [False, False, True, True]
    keys = encoder.encode_passages([one.titled_text for one in memory.passages(memory.rows())])
    np.testing.assert_array_equal(memory.keys(), keys)
    assert verify_memory(tmp_path / "m") == []


def test_keys_are_of_the_pictures_where_the_encoder_embeds_pictures(tmp_path):
    encoder = ColorEncoder()
    memory = add_pictures(tmp_path / "m", entries(0, 1, 2), encoder)
    np.testing.assert_array_equal(memory.keys(), encoder.encode_passages(COLORS))
    assert memory.manifest.encoder == encoder.fingerprint and memory.manifest.encoder.picture_probe
    with pytest.raises(MismatchError, match="keys of pictures against keys of texts"):
        append_entries(tmp_path / "m", [passage(7)], HashEncoder())
    with pytest.raises(MismatchError, match="the same picture gives other vectors"):

        class Other(ColorEncoder):
            def encode_pictures(self, given):
                return self.encode_passages(["not the same at all"] * len(given))

        Memory.open(tmp_path / "m", encoder=Other().fingerprint)


def test_texts_alone_have_no_key_in_a_memory_of_pictures(tmp_path):
    encoder = ColorEncoder()
    add_pictures(tmp_path / "m", entries(0), encoder)
    for add in (append_entries, put_entries):
        with pytest.raises(MismatchError, match="Keys of the encoder 'hash' are of pictures, and texts were given"):
            add(tmp_path / "m", [passage(7)], encoder)
    with pytest.raises(MismatchError, match="give pictures with: memgpt-rag images build"):
        Memory.create(tmp_path / "n", ["a text"], encoder)
    assert len(Memory.open(tmp_path / "m")) == 1 and not (tmp_path / "n").exists()


def test_known_entries_stay_and_those_of_a_source_that_are_gone_go(tmp_path):
    encoder = HashEncoder()
    Memory.create(tmp_path / "m", [passage(number) for number in (0, 1)], encoder)
    add_pictures(tmp_path / "m", entries(2, 3, 4), encoder)
    again = add_pictures(tmp_path / "m", entries(3, 4, 5), encoder)
    assert pairs(again) == {"doc#0": None, "doc#1": None, **expected(2, 3, 4, 5)}
    assert again.manifest.job == {"name": "pictures", "added": 1, "deleted": 0}
    updated = add_pictures(tmp_path / "m", entries(3, 4, 6), encoder, instead_of=[passage(0).source])
    assert pairs(updated) == {"doc#0": None, "doc#1": None, **expected(3, 4, 6)}  # texts of the source stay
    assert add_pictures(tmp_path / "m", entries(3, 4, 6), encoder, instead_of=[passage(0).source]).manifest.commit == updated.manifest.commit  # fmt: skip


def test_deleting_and_compacting_keep_the_pairs(tmp_path):
    encoder = HashEncoder()
    Memory.create(tmp_path / "m", [passage(0)], encoder)
    memory = add_pictures(tmp_path / "m", entries(1, 2, 3, 4), encoder)
    delete_entries(tmp_path / "m", memory.rows('id == "doc#2"'), memory.manifest)
    before = pairs(Memory.open(tmp_path / "m"))
    assert before == {"doc#0": None, **expected(1, 3, 4)}
    compact(tmp_path / "m")
    after = Memory.open(tmp_path / "m")
    assert len(after.segments) == 1 and pairs(after) == before
    assert pairs(Memory.open(tmp_path / "m", version=1)) == {"doc#0": None}
    assert [one.to_json()["version"] for one in list_versions(tmp_path / "m")] == [4, 5, 5, 5]


def test_what_cannot_be_added_is_refused_and_changes_nothing(tmp_path):
    encoder = HashEncoder()
    with pytest.raises(ValueError, match="There are no pictures"):
        add_pictures(tmp_path / "m", [], encoder)
    with pytest.raises(ValueError, match="'doc#1' is given more than once"):
        add_pictures(tmp_path / "m", [*entries(1), *entries(1)], encoder)
    with pytest.raises(ValueError, match=r"A picture of 4 bytes that begins with b'GIF8'; expected a PNG or JPEG"):
        add_pictures(tmp_path / "m", [(passage(1), b"GIF8")], encoder)
    assert not (tmp_path / "m").exists()


def test_damaged_pictures_are_found(tmp_path):
    encoder = HashEncoder()
    add_pictures(tmp_path / "m", entries(1, 2), encoder)
    file = next((tmp_path / "m").glob("segments/*/pictures.arrow"))
    content = file.read_bytes()
    file.write_bytes(content.replace(b"\x89PNG", b"<svg", 1))
    assert verify_memory(tmp_path / "m") == [f"{file} is not as it was committed: its digest differs."]
    with pytest.raises(MemoryFormatError, match="Row 0 of .*pictures.arrow holds something that is no picture"):
        Memory.open(tmp_path / "m").pictures([0])
    file.write_bytes(content[:-1])
    with pytest.raises(MemoryFormatError, match=r"pictures.arrow has \d+ bytes; the manifest says"):
        Memory.open(tmp_path / "m")


def test_a_file_of_other_rows_is_refused(tmp_path):
    """A sender can write a manifest that fits any file."""
    encoder = HashEncoder()
    memory = add_pictures(tmp_path / "m", entries(1, 2), encoder)
    folder = memory.segments[0].folder
    (folder / "pictures.arrow").unlink()
    writer = pictures.PicturesWriter(folder / "pictures.arrow")
    writer.add([png()])
    writer.close()
    with pytest.raises(MemoryFormatError, match="pictures.arrow holds 1 values; the manifest says 2"):
        pictures.StoredPictures(folder / "pictures.arrow", 2)
    (folder / "pictures.arrow").write_bytes((folder / "values.arrow").read_bytes())
    with pytest.raises(MemoryFormatError, match="pictures.arrow has columns .*expected one of pictures"):
        pictures.StoredPictures(folder / "pictures.arrow", 2)
    assert describe(folder / "pictures.arrow") != memory.segments[0].described.files["pictures.arrow"]
