"""A store of another program becomes a memory: every text under its own key and id, and what is damaged or hostile is refused.

The stores in `stores` were made with their own libraries by `peer_stores.py`; `test_import_stores.py` makes such anew.
"""

from __future__ import annotations

import pickle
import shutil
import sqlite3
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import refused, run
from hashing import HashEncoder
from imported import bring, options, require_same
from peer_stores import KEPT, SMALL, make_entries, parquet, table
from record_files import contradict, pq_file

from indexing.engines.local import LocalEngine
from indexing.imports.open_store import open_store
from indexing.imports.stored_entry import StoreOptions
from indexing.jobs.build_memory import NewMemory
from indexing.jobs.import_entries import import_store
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.read_options import RecordFields
from memgpt_rag.errors import MemgptRagError, MemoryFormatError, SourceError
from memgpt_rag.memory import Memory

STORES = Path(__file__).parent / "stores"
ENTRIES = make_entries(*SMALL)


@pytest.fixture(params=KEPT)
def store(request, tmp_path) -> tuple[str, Path]:
    """A copy of a store that its own library made."""
    shutil.copytree(STORES / request.param, tmp_path / "store")
    return request.param, tmp_path / "store"


def test_every_entry_is_there_with_its_own_key(store, tmp_path):
    encoder = HashEncoder(SMALL[1])
    report = bring(*store, tmp_path / "memory", encoder)
    assert (report.entries, report.embedded, report.left_out) == (12, 0, [])
    assert report.sentence().startswith("12 entries, keys taken over: of 12 texts embedded again with hash, all agree")
    assert report.columns == {"year": "integer", "lang": "string"}
    require_same(tmp_path / "memory", ENTRIES)


def test_the_store_is_as_it_was(store, tmp_path):
    kind, path = store
    bring(kind, path, tmp_path / "memory")
    before = {
        file.relative_to(STORES / kind): file.read_bytes() for file in (STORES / kind).rglob("*") if file.is_file()
    }
    assert before == {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_another_encoder_embeds_all_texts_and_says_so(store, tmp_path):
    encoder = HashEncoder(SMALL[1], salt=1)
    report = bring(*store, tmp_path / "memory", encoder)
    assert report.embedded == 12
    assert (
        "embedded anew: of 12 texts embedded again with hash, 12 differ from the store's vectors (cosine"
        in report.sentence()
    )
    opened = Memory.open(tmp_path / "memory")
    texts = [passage.text for passage in opened.passages(opened.rows())]
    np.testing.assert_array_equal(opened.keys(), encoder.encode_passages(texts))


def test_vectors_of_another_length_are_not_taken(store, tmp_path):
    report = bring(*store, tmp_path / "memory", HashEncoder(64))
    assert report.reason == "the store's vectors have 8 numbers, those of hash have 64"
    assert Memory.open(tmp_path / "memory").keys().shape == (12, 64)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.5, 0.97])
def test_a_file_that_was_cut_is_refused_or_not_needed(store, tmp_path, part):
    kind, path = store
    for file in [file for file in sorted(path.rglob("*")) if file.is_file() and file.stat().st_size]:
        whole = file.read_bytes()
        file.write_bytes(whole[: int(len(whole) * part)])
        try:
            bring(kind, path, tmp_path / "memory")
        except SourceError as error:
            assert str(error).count("\n") == 0 and str(error).endswith(".")
            assert not (tmp_path / "memory").exists()
        else:
            require_same(tmp_path / "memory", ENTRIES)
            shutil.rmtree(tmp_path / "memory")
        file.write_bytes(whole)


def test_changed_bytes_never_end_in_another_error(store, tmp_path, rng):
    kind, path = store
    for file in [file for file in sorted(path.rglob("*")) if file.is_file() and file.stat().st_size]:
        whole = np.fromfile(file, np.uint8)
        for _ in range(12):
            changed = whole.copy()
            changed[rng.integers(len(whole), size=3)] = rng.integers(256, size=3)
            changed.tofile(file)
            try:
                list(open_store(kind, path, options(kind)).entries())
            except MemgptRagError as error:
                assert "\n" not in str(error)
        whole.tofile(file)


class _Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_no_code_in_a_pickle_runs(tmp_path):
    stores, evil = tmp_path / "stores", pickle.dumps(_Hostile(tmp_path / "ran"))
    shutil.copytree(STORES, stores)
    (stores / "langchain-faiss" / "index.pkl").write_bytes(evil)
    next(stores.glob("chroma/*/index_metadata.pickle")).write_bytes(evil)
    with sqlite3.connect(next(stores.glob("qdrant/collection/*/storage.sqlite"))) as points:
        points.execute("UPDATE points SET point = ? WHERE rowid = 5", (evil,))
    for kind, where in (
        ("langchain-faiss", r"index\.pkl"),
        ("chroma", r"index_metadata\.pickle"),
        ("qdrant", "point 5"),
    ):
        with pytest.raises(
            SourceError,
            match=rf"{where}.* it names 'pathlib\.Path\.touch', which does not belong there, and was not run",
        ):
            bring(kind, stores / kind, tmp_path / "memory")
    assert not (tmp_path / "ran").exists()
    pickle.loads(evil)
    assert (tmp_path / "ran").exists()  # so it would have been


def changed(**columns) -> pa.Table:
    """The entries as a table, with other columns."""
    found = table(ENTRIES)
    for name, values in columns.items():
        found = found.set_column(found.schema.get_field_index(name), name, pa.array(values))
    return found


def replaced(values: list, row: int, value: object) -> list:
    return [*values[:row], value, *values[row + 1 :]]


VECTORS = ENTRIES.vectors.tolist()


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"text": replaced(ENTRIES.texts, 4, None)}, "entry 'bench-4': has no text, and a memory keeps none without; add it"),
        ({"text": replaced(ENTRIES.texts, 4, " \n")}, "entry 'bench-4': has no text"),
        ({"id": replaced(ENTRIES.ids, 4, "bench-1")}, "entry 'bench-1': its id is that of entry 2 already, this being 5; ids must differ"),
        ({"id": replaced(ENTRIES.ids, 4, "")}, "entry '': its id has 0 characters, expected 1 to 1,000"),
        ({"vector": replaced(VECTORS, 4, [1.0] * 7)}, "entry 'bench-4': its vector has 7 numbers, those before it have 8; remove the entry, or"),
        ({"vector": replaced(VECTORS, 4, [float("nan")] * 8)}, "entry 'bench-4': its vector holds NaN or infinity; remove the entry, or embed all"),
        ({"vector": replaced(VECTORS, 4, [1e300] * 8)}, "entry 'bench-4': its vector holds NaN or infinity"),
        ({"vector": replaced(VECTORS, 4, [0.0] * 8)}, "entry 'bench-4': its vector holds only zeros"),
        ({"vector": replaced(VECTORS, 4, None)}, "entry 'bench-4': has no vector, and those before it have; add it, or embed"),
        ({"text": [1] * 12}, "row 1: its text is of the type int, expected text; name another --text-field"),
        ({"id": [1.5] * 12}, "row 1: its id is neither text nor a whole number; name another --id-field"),
    ],
)  # fmt: skip
def test_what_no_memory_can_hold_is_refused_by_its_id(tmp_path, columns, sentence):
    pq.write_table(changed(**columns), tmp_path / "s.parquet")
    with pytest.raises(SourceError, match=sentence):
        bring("parquet", tmp_path / "s.parquet", tmp_path / "memory")
    assert not (tmp_path / "memory").exists()


def test_texts_alone_can_be_taken_from_a_store_with_bad_vectors(tmp_path):
    pq.write_table(changed(vector=replaced(VECTORS, 4, [0.0] * 7)), tmp_path / "s.parquet")
    report = bring("parquet", tmp_path / "s.parquet", tmp_path / "memory", embed_anew=True)
    assert report.sentence() == "12 entries, embedded anew: that was asked for"
    require_same(tmp_path / "memory", ENTRIES)


def test_one_vector_of_another_text_is_enough_to_embed_all(tmp_path):
    pq.write_table(changed(vector=replaced(VECTORS, 4, VECTORS[5])), tmp_path / "s.parquet")
    report = bring("parquet", tmp_path / "s.parquet", tmp_path / "memory")
    assert "of 12 texts embedded again with hash, 1 differ from the store's vectors" in report.reason
    assert "for the entry 'bench-4'" in report.reason
    require_same(tmp_path / "memory", ENTRIES)


def test_vectors_of_any_length_become_unit_keys_where_cosines_are_searched(tmp_path):
    pq.write_table(changed(vector=(ENTRIES.vectors * np.arange(1, 13)[:, None]).tolist()), tmp_path / "s.parquet")
    assert bring("parquet", tmp_path / "s.parquet", tmp_path / "memory").embedded == 0
    require_same(tmp_path / "memory", ENTRIES)


def test_lengths_count_where_distances_are_searched(tmp_path):
    encoder, new = HashEncoder(8, normalized=False), NewMemory("euclidean")
    right = encoder.encode_passages(ENTRIES.texts)
    for factor, embedded in ((1, 0), (2, 12)):
        pq.write_table(changed(vector=(factor * right).tolist()), tmp_path / "s.parquet")
        report = bring("parquet", tmp_path / "s.parquet", tmp_path / f"m{factor}", encoder, new=new)
        assert report.embedded == embedded
        np.testing.assert_allclose(Memory.open(tmp_path / f"m{factor}").keys(), right, atol=1e-5)


def test_fields_become_columns_by_their_types_and_others_are_reported(tmp_path):
    more = {
        "score": [1, 2.5] * 6, "open": [True, None] * 6, "tags": [["a"]] * 12, "unit": ["x"] * 12, "title": ["Benches"] * 12,
        "no-name": [1] * 12,
    }  # fmt: skip
    found = table(ENTRIES)
    for name, values in more.items():
        found = found.append_column(name, pa.array(values))
    pq.write_table(found, tmp_path / "s.parquet")
    report = bring("parquet", tmp_path / "s.parquet", tmp_path / "memory")
    assert report.columns == {"year": "integer", "lang": "string", "score": "number", "open": "boolean"}
    assert [shown.split("'")[1] for shown in report.left_out] == ["tags", "unit", "title", "no-name"]
    assert report.left_out[0] == "the column 'tags' of lists"
    assert "give it to --title-field" in report.left_out[2]
    memory = Memory.open(tmp_path / "memory")
    assert len(memory.rows("score == 2.5 and year > 1905")) == 3
    titled = bring("parquet", tmp_path / "s.parquet", tmp_path / "titled", title="title")
    assert titled.embedded == 12  # the store's vectors are those of the texts without it
    assert Memory.open(tmp_path / "titled").passages([3])[0].titled_text == f"Benches\n{ENTRIES.texts[3]}"
    with pytest.raises(SourceError, match="has no field 'headline' for titles; found year, lang"):
        bring("parquet", tmp_path / "s.parquet", tmp_path / "m", title="headline")


def test_a_few_bytes_that_stand_for_many_numbers_are_refused(tmp_path):
    """The file has less than a thousandth of what it says."""
    bomb = pa.table({"id": ["a"], "text": ["x"], "vector": pa.array([np.zeros(3_000_000, np.float32)])})
    pq.write_table(bomb, tmp_path / "s.parquet")
    assert (tmp_path / "s.parquet").stat().st_size < 12_000_000 / 1000
    with pytest.raises(
        SourceError, match="the column 'vector' holds 3,000,000 numbers a row, and a vector has at most 65,536"
    ):
        open_store("parquet", tmp_path / "s.parquet")


def test_a_description_of_a_column_that_contradicts_the_schema_does_not_end_the_import(tmp_path):
    rows = {"id": ["a"], "text": ["x"], "at": [1], "vector": [[0.5, 0.5]]}
    contradict(pq_file(tmp_path / "s.parquet", rows))
    with pytest.raises(
        SourceError,
        match=r"s.parquet cannot be read as Parquet: the size of its column 'vector' is not known \(Definition level",
    ):
        open_store("parquet", tmp_path / "s.parquet")


def test_values_of_several_types_have_no_column(tmp_path):
    shutil.copytree(STORES / "txtai", tmp_path / "txtai")
    with sqlite3.connect(tmp_path / "txtai" / "documents") as documents:
        changes = "json_set(data, '$.year', 'new', '$.tags', json('[1]'))"
        documents.execute(f"UPDATE documents SET data = {changes} WHERE id = 'bench-7'")
    report = bring("txtai", tmp_path / "txtai", tmp_path / "memory")
    assert report.columns == {"lang": "string"}
    shown = "which holds values of several types or of none that a column has"
    assert report.left_out == [
        f"the metadata field 'year', {shown} (string in the entry 'bench-7')",
        f"the metadata field 'tags', {shown} (list in the entry 'bench-7')",
    ]


def test_fields_have_the_names_that_the_user_gives(tmp_path):
    other = table(ENTRIES).rename_columns(["key", "words", "numbers", "year", "lang", "source"])
    pq.write_table(other, tmp_path / "s.parquet")
    named = StoreOptions(fields=RecordFields(text="words", id="key"), vector="numbers")
    assert bring("parquet", tmp_path / "s.parquet", tmp_path / "memory", options=named).embedded == 0
    require_same(tmp_path / "memory", ENTRIES)
    with pytest.raises(SourceError, match="none that is usual for a text"):
        bring("parquet", tmp_path / "s.parquet", tmp_path / "m")
    with pytest.raises(SourceError, match="has no column 'year' of vectors; found key, words"):
        bring("parquet", tmp_path / "s.parquet", tmp_path / "m", options=StoreOptions(vector="year"))


def test_a_store_that_changes_while_it_is_read_makes_no_memory(tmp_path):
    parquet(tmp_path / "s.parquet", ENTRIES)
    opened, encoder = open_store("parquet", tmp_path / "s.parquet"), HashEncoder(8)
    first, second, *others = opened.entries()
    as_it_was, other = [first, second, *others], [second, first, *others]
    for readings in ([as_it_was, other], [as_it_was, as_it_was, other]):
        changing = replace(opened, entries=partial(next, iter(readings)))
        with pytest.raises(SourceError, match="changed while it was read; stop what writes there, and import again"):
            import_store(changing, tmp_path / "memory", LocalEngine(encoder, PassageSplitter(encoder.count_tokens)))
        assert not (tmp_path / "memory").exists()


def test_a_memory_is_replaced_only_where_that_is_said(tmp_path):
    parquet(tmp_path / "s.parquet", ENTRIES)
    bring("parquet", tmp_path / "s.parquet", tmp_path / "memory")
    with pytest.raises(MemoryFormatError, match="holds a memory; name another folder, or replace it with --replace"):
        bring("parquet", tmp_path / "s.parquet", tmp_path / "memory")
    assert bring("parquet", tmp_path / "s.parquet", tmp_path / "memory", new=NewMemory(replace=True)).commit == 2


def test_a_view_in_place_of_a_table_is_not_read(tmp_path):
    shutil.copytree(STORES / "txtai", tmp_path / "txtai")
    with sqlite3.connect(tmp_path / "txtai" / "documents") as documents:
        documents.execute("ALTER TABLE sections RENAME TO hidden")
        documents.execute("CREATE VIEW sections AS SELECT * FROM hidden")
    with pytest.raises(SourceError, match="has no plain table 'sections'"):
        bring("txtai", tmp_path / "txtai", tmp_path / "memory")


def test_changes_that_chroma_has_yet_to_apply_are_reported(tmp_path):
    shutil.copytree(STORES / "chroma", tmp_path / "chroma")
    with sqlite3.connect(tmp_path / "chroma" / "chroma.sqlite3") as database:
        database.execute("UPDATE embeddings_queue SET seq_id = 99 WHERE seq_id = 12")
    with pytest.raises(
        SourceError, match="holds 1 change that Chroma has yet to apply; open the collection with Chroma once"
    ):
        bring("chroma", tmp_path / "chroma", tmp_path / "memory")


def test_an_index_that_holds_codes_of_its_keys_leaves_the_texts(tmp_path):
    import faiss

    shutil.copytree(STORES / "langchain-faiss", tmp_path / "store")
    index = faiss.index_factory(8, "SQ8")
    index.train(ENTRIES.vectors)
    index.add(ENTRIES.vectors)
    faiss.write_index(index, str(tmp_path / "store" / "index.faiss"))
    report = bring("langchain-faiss", tmp_path / "store", tmp_path / "memory")
    assert report.embedded == 12 and "kind IxSQ, which does not hold its keys as they are" in report.reason
    require_same(tmp_path / "memory", ENTRIES)


@pytest.mark.parametrize("factory", ["Flat", "IDMap,Flat", "IVF2,Flat", "IDMap2,Flat"])
@pytest.mark.parametrize("metric", [0, 1])
def test_keys_come_out_of_an_index_as_they_went_in(tmp_path, rng, factory, metric):
    import faiss

    from memgpt_rag.memory.dense.foreign_index import ForeignIndex

    keys, numbers = rng.normal(size=(90, 6)).astype(np.float32), rng.permutation(1000)[:90]
    index = faiss.index_factory(6, factory, metric)
    index.train(keys)
    index.add(keys) if factory == "Flat" else index.add_with_ids(keys, numbers)
    faiss.write_index(index, str(tmp_path / "index"))
    found, taken = ForeignIndex(tmp_path / "index").keys_by_number()
    wanted = np.arange(90) if factory == "Flat" else numbers
    np.testing.assert_array_equal(taken[np.argsort(found)], keys[np.argsort(wanted)])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("chroma", "none"), "none does not exist; name the folder of the store."),
        (("chroma", "park.md"), "park.md/chroma.sqlite3 is missing or no file"),
        (("qdrant", "."), " has no folder named collection; name the folder that QdrantClient(path=…) wrote."),
        (("txtai", "."), " holds no texts of txtai (a file named documents); name an index that was made with content=True."),
        (("langchain-faiss", "."), " holds no collection; name the folder of a store that does."),
        (("llama-index-faiss", "."), "docstore.json cannot be read as a folder of LlamaIndex: "),
        (("parquet", "park.md"), "park.md cannot be read as Parquet: "),
        (("chroma", str(STORES / "chroma"), "--collection", "parks"), "holds no collection 'parks'; found 'benches'."),
        (("txtai", str(STORES / "txtai"), "--text-field", "words"), "A store of the kind txtai has fields of its own for text, id and vector; leave out --text-field."),
        (("qdrant", str(STORES / "qdrant"), "--text-field", "words"), "point 1: has no field 'words' for its text; found text, id, year, lang, source."),
    ],
)  # fmt: skip
def test_the_command_refuses_in_one_sentence(tmp_path, arguments, sentence):
    (tmp_path / "park.md").write_text("# Park\n\nA boat costs forty yuan an hour.\n")
    kind, path, *others = arguments
    shown = refused("memgpt-index", "import", kind, tmp_path / path, *others, "--memory", tmp_path / "memory")
    assert sentence in shown and shown.count("\n") == 1


@pytest.mark.offline_models
def test_the_command_embeds_what_another_model_embedded(tmp_path):
    done = run(
        "memgpt-index",
        "import",
        "qdrant",
        STORES / "qdrant",
        "--memory",
        tmp_path / "m",
        "--encoder",
        "all-MiniLM-L6-v2",
    )
    assert done.returncode == 0, done.stderr
    assert (
        "12 entries, embedded anew: the store's vectors have 8 numbers, those of all-MiniLM-L6-v2 have 384"
        in done.stdout
    )
    assert "Metadata columns: year (integer), lang (string)." in done.stdout
    assert "Left out: the metadata field 'id', whose name no column can have." in done.stderr
    assert sorted(passage.id for passage in Memory.open(tmp_path / "m").passages(range(12))) == sorted(
        map(str, range(12))
    )
