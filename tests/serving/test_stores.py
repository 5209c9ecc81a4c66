"""Files, vector stores and searches with the official client; files are indexed by the real job, in its process."""

from __future__ import annotations

import asyncio
import errno
import io
import time
from types import SimpleNamespace

import numpy as np
import openai
import pytest
from served import TEXTS, Served, wait_until
from tiny import tiny_bert, tiny_splade

from memgpt_rag.encoders.config import EncoderConfig
from memgpt_rag.encoders.load import load_encoder, load_sparse_encoder
from memgpt_rag.memory import Memory
from memgpt_rag.memory.versions import writing
from memgpt_rag.serving.access import EVERYTHING
from memgpt_rag.serving.files import StoredFile, safe_name
from memgpt_rag.serving.index_jobs import IndexJobs
from memgpt_rag.serving.stores import VectorStores

PARK = b"# Boats\n\nA rowing boat costs 40 yuan an hour.\n\n# Kites\n\nChildren under twelve may borrow a kite.\n"
BOTH = {"hybrid_search": {"embedding_weight": 0.5, "text_weight": 0.5}}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    bert = tiny_bert(folder / "bert")
    encoder = load_encoder(EncoderConfig(str(bert)))
    arguments = ("--encoder", str(bert), "--no-cache")
    with Served(folder, encoder=encoder, files=folder / "files", index_arguments=arguments) as served:
        yield served


@pytest.fixture(scope="module")
def client(server):
    return server.client()


def uploaded(client, name, content):
    return client.files.create(file=(name, io.BytesIO(content)), purpose="assistants")


def test_embeddings_are_those_of_the_encoder(client, server):
    texts = [TEXTS[0], TEXTS[2]]
    expected = server.encoder.encode_passages(texts)
    found = client.embeddings.create(model="park", input=texts)  # the client asks for base64
    np.testing.assert_allclose([one.embedding for one in found.data], expected, atol=1e-5)
    as_numbers = client.embeddings.create(model="park", input=texts[0], encoding_format="float")
    np.testing.assert_allclose(as_numbers.data[0].embedding, expected[0], atol=1e-5)
    assert found.usage.total_tokens == sum(map(server.encoder.count_tokens, texts))
    query = client.embeddings.create(model="park", input=texts[0], extra_body={"input_type": "query"})
    np.testing.assert_allclose(query.data[0].embedding, server.encoder.encode_queries(texts[:1])[0], atol=1e-5)
    with pytest.raises(openai.NotFoundError, match="no encoder 'ada'"):
        client.embeddings.create(model="ada", input="x")
    with pytest.raises(openai.BadRequestError, match="leave dimensions out"):
        client.embeddings.create(model="park", input="x", dimensions=3)


def test_documents_are_reranked_by_their_cosine(client, server):
    body = {"model": "park", "query": TEXTS[2], "documents": [*TEXTS[:2], {"text": TEXTS[2]}], "top_n": 2}
    found = client.post("/rerank", body={**body, "return_documents": True}, cast_to=dict)
    cosines = server.encoder.encode_passages(TEXTS[:3]) @ server.encoder.encode_queries([TEXTS[2]])[0]
    assert [one["index"] for one in found["results"]] == np.argsort(-cosines)[:2].tolist()
    assert found["results"][0]["relevance_score"] == pytest.approx(max(cosines), abs=1e-5)
    assert found["results"][0]["document"]["text"] == TEXTS[int(np.argmax(cosines))]


def test_a_memory_of_the_start_is_searched_as_a_store(client, server):
    assert {store.id for store in client.vector_stores.list()} >= {"park", "books"}
    found = client.vector_stores.search("park", query=TEXTS[3], max_num_results=2).data
    assert len(found) == 2
    assert found[0].content[0].text == TEXTS[3]
    assert found[0].score >= found[1].score
    only = client.vector_stores.search(
        "park", query=TEXTS[3], filters={"type": "in", "key": "id", "value": [found[1].entry["id"]]}
    ).data
    assert [one.content[0].text for one in only] == [found[1].content[0].text]
    over = client.vector_stores.search("park", query=TEXTS[3], ranking_options={"score_threshold": 2.0}).data
    assert over == []
    for settings, says in (
        ({"query": " "}, "empty"),
        ({"query": "x", "max_num_results": 0}, "max_num_results"),
        ({"query": "x", "filters": {"type": "eq", "key": "colour", "value": "x"}}, "colour"),
        ({"query": "x", "extra_body": {"search": "bm25"}}, "no lexical index"),
        ({"query": "x", "ranking_options": BOTH, "extra_body": {"search": "dense"}}, "no lexical index"),
    ):
        with pytest.raises(openai.BadRequestError, match=says):
            client.vector_stores.search("park", **settings)
    with pytest.raises(openai.ConflictError, match="not deleted from here"):
        client.vector_stores.delete("park")


def test_a_store_that_is_deleted_while_another_is_indexed_stays_deleted(server, tmp_path):
    """Its turn to be indexed comes right behind the deletion."""

    class Jobs:
        def __init__(self):
            self.memories, self.go = [], asyncio.Event()

        async def add(self, memory, paths, folder):
            self.memories.append(memory)
            memory.mkdir(parents=True, exist_ok=True)
            await self.go.wait()
            return SimpleNamespace(problem="", faults={})

    async def refresh(name):
        """Nothing is opened."""

    async def indexed():
        jobs, file = Jobs(), StoredFile("file-1", "boats.md", 9, 0, "assistants", "")
        stores = VectorStores(tmp_path, server.service.stores.files, server.service.memories, jobs, refresh)
        first, second = (stores.create(name, {}, EVERYTHING) for name in "ab")
        attached = [stores.attach(store, file, {}) for store in (first, second)]
        worker = asyncio.create_task(stores.run())
        while not jobs.memories:
            await asyncio.sleep(0.01)
        deletion = asyncio.create_task(stores.delete(second))
        await asyncio.sleep(0.01)
        jobs.go.set()
        await deletion
        while attached[0].status == "in_progress":
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        worker.cancel()
        assert jobs.memories == [tmp_path / first.id / "memory"]
        assert [path.name for path in tmp_path.iterdir()] == [first.id]
        await stores.delete(first)

    asyncio.run(indexed())


@pytest.mark.slow
def test_an_upload_is_indexed_asked_searched_and_deleted(client, server):
    """The whole way of a document, and what is said of it at each step is so."""
    file = uploaded(client, "../park.md", PARK)
    assert (file.filename, file.bytes) == ("park.md", len(PARK))
    assert client.files.content(file.id).read() == PARK
    empty = uploaded(client, "blank.md", b" \n")
    store = client.vector_stores.create(name="Parks", metadata={"for": "tests"})
    assert client.vector_stores.search(store.id, query="kite").data == []
    batch = client.vector_stores.file_batches.create(store.id, file_ids=[file.id, empty.id])
    assert client.vector_stores.retrieve(store.id).status == batch.status == "in_progress"
    with pytest.raises(openai.ConflictError, match="being indexed"):
        client.vector_stores.files.delete(file.id, vector_store_id=store.id)
    batch = client.vector_stores.file_batches.poll(batch.id, vector_store_id=store.id, poll_interval_ms=50)
    assert (batch.file_counts.completed, batch.file_counts.failed) == (1, 1)
    failed = client.vector_stores.files.retrieve(empty.id, vector_store_id=store.id)
    assert "holds no text" in failed.last_error.message
    memory = Memory.open(server.folder / "files" / "stores" / store.id / "memory")
    assert {passage.source for passage in memory.passages(memory.rows())} == {f"{file.id}/park.md"}
    assert client.vector_stores.retrieve(store.id).usage_bytes > 0

    found = client.vector_stores.search(
        store.id, query="borrow a kite", ranking_options={"hybrid_search": {"embedding_weight": 0, "text_weight": 1}}
    ).data
    assert (found[0].file_id, found[0].filename) == (file.id, "park.md")
    assert "kite" in found[0].content[0].text
    shown = "\n".join(part.text for part in client.vector_stores.files.content(file.id, vector_store_id=store.id))
    assert "40 yuan" in shown and "kite" in shown
    answer = client.chat.completions.create(
        model=store.id, messages=[{"role": "user", "content": "Who may borrow a kite?"}], max_tokens=3
    )
    assert answer.memory["entries"][0]["source"] == f"{file.id}/park.md"
    assert answer.memory["entries"][0]["place"].startswith("park.md, line ")

    second = uploaded(client, "more.txt", b"The tea house opens at nine.")
    added = client.vector_stores.files.create_and_poll(
        second.id, vector_store_id=store.id, attributes={"year": 2024}, poll_interval_ms=50
    )
    assert (added.status, added.attributes) == ("completed", {"year": 2024})
    for filters, names in (
        ({"type": "gte", "key": "year", "value": 2024}, {"more.txt"}),
        ({"type": "lt", "key": "year", "value": 2024}, set()),
        ({"type": "gte", "key": "year", "value": "2024"}, set()),
        ({"type": "eq", "key": "source", "value": f"{file.id}/park.md"}, {"park.md"}),
    ):
        found = client.vector_stores.search(store.id, query="tea or kite", filters=filters).data
        assert {one.filename for one in found} == names
    with pytest.raises(openai.ConflictError, match="delete it there first"):
        client.files.delete(second.id)
    assert client.vector_stores.files.delete(file.id, vector_store_id=store.id).deleted
    left = client.vector_stores.search(store.id, query="borrow a kite").data
    assert {one.filename for one in left} == {"more.txt"}
    assert client.vector_stores.files.delete(second.id, vector_store_id=store.id).deleted
    assert client.vector_stores.search(store.id, query="tea").data == []
    assert client.files.delete(second.id).deleted
    assert client.vector_stores.delete(store.id).deleted
    with pytest.raises(openai.NotFoundError, match="no vector store"):
        client.vector_stores.retrieve(store.id)
    with pytest.raises(openai.NotFoundError, match="no file"):
        client.files.retrieve(second.id)


def test_versions_are_listed_and_restored(client, server):
    folder = server.folder / "park"
    rows = Memory.open(folder).rows()[:1]
    gone = Memory.open(folder).passages(rows)[0]
    from memgpt_rag.memory.changes import delete_entries

    delete_entries(folder, rows, Memory.open(folder).manifest)

    def info():
        return client.get("/memory/info?memory=park", cast_to=dict)

    wait_until(lambda: info()["version"] == 2)  # taken over without a restart
    assert info()["entries"] == len(TEXTS) - 1
    assert gone.text not in [one.content[0].text for one in client.vector_stores.search("park", query=gone.text).data]
    versions = client.get("/memory/versions?memory=park", cast_to=dict)["data"]
    assert [one["version"] for one in versions] == [1, 2]
    back = client.post("/memory/rollback", body={"memory": "park", "version": 1}, cast_to=dict)
    assert (back["version"], back["entries"]) == (3, len(TEXTS))
    assert client.vector_stores.search("park", query=gone.text).data[0].content[0].text == gone.text
    for version in (0, 3, 9):
        with pytest.raises(openai.BadRequestError, match="version"):
            client.post("/memory/rollback", body={"memory": "park", "version": version}, cast_to=dict)


def test_a_memory_that_is_gone_is_unavailable_until_it_is_back(client, server):
    folder, away = server.folder / "books", server.folder / "away"

    def asked():
        return client.vector_stores.search("books", query="library").data

    assert asked()
    folder.rename(away)
    try:
        with pytest.raises(openai.InternalServerError, match="memory books does not exist") as refused:
            end = time.monotonic() + 60
            while time.monotonic() < end:
                asked()
        assert refused.value.status_code == 503
        assert str(server.folder) not in str(refused.value)
        assert client.vector_stores.search("park", query="kite").data
    finally:
        away.rename(folder)
    wait_until(lambda: client.get("/memory/info?memory=park", cast_to=dict)["name"] == "park")
    wait_until(lambda: "books" not in server.service.memories.faults)
    assert asked()


@pytest.mark.slow
def test_a_file_waits_until_another_job_has_written(client, server, monkeypatch):
    jobs, tries = server.service.stores._jobs, []
    run = jobs._run

    async def noted(*arguments):
        tries.append(await run(*arguments))
        return tries[-1]

    monkeypatch.setattr(jobs, "_run", noted)
    store = client.vector_stores.create(name="busy")
    first = uploaded(client, "boats.md", PARK)
    client.vector_stores.files.create_and_poll(file_id=first.id, vector_store_id=store.id)
    second = uploaded(client, "dogs.md", b"# Dogs\n\nDogs must be kept on a lead.\n")
    with writing(server.folder / "files" / "stores" / store.id / "memory"):
        client.vector_stores.files.create(file_id=second.id, vector_store_id=store.id)
        wait_until(lambda: len(tries) == 3)  # the first one built the memory
        assert client.vector_stores.files.retrieve(second.id, vector_store_id=store.id).status == "in_progress"
    done = client.vector_stores.files.poll(second.id, vector_store_id=store.id)
    assert done.status == "completed"
    assert [said.startswith("Another job is writing") for _, said in tries[1:3]] == [True, True]
    found = client.vector_stores.search(store.id, query="dogs", max_num_results=3)
    assert {one.file_id for one in found.data} == {first.id, second.id}


@pytest.mark.slow
def test_a_first_build_that_was_killed_goes_on(client, server):
    """It leaves a folder that is no memory yet."""
    store = client.vector_stores.create(name="half built")
    (server.folder / "files" / "stores" / store.id / "memory" / "segments").mkdir(parents=True)
    file = uploaded(client, "boats.md", PARK)
    done = client.vector_stores.files.create_and_poll(file_id=file.id, vector_store_id=store.id)
    assert (done.status, done.last_error) == ("completed", None)


@pytest.mark.slow
def test_added_files_get_sparse_vectors_where_the_other_entries_have_them(tmp_path):
    bert, splade = str(tiny_bert(tmp_path / "bert")), str(tiny_splade(tmp_path / "splade"))
    arguments = ("--encoder", bert, "--no-cache")
    files = [tmp_path / f"{number}.txt" for number in range(3)]
    for file, text in zip(files, TEXTS, strict=False):
        file.write_text(text)

    def add(memory, file, sparse_encoder):
        added = asyncio.run(IndexJobs(arguments, sparse_encoder).add(tmp_path / memory, {file.stem: file}, tmp_path))
        assert added.problem == ""
        opened = Memory.open(tmp_path / memory)
        return opened.manifest.sparse and opened.manifest.sparse.name, opened.manifest.entries_without("sparse")

    assert add("plain", files[0], None) == (None, 1)
    assert add("plain", files[1], splade) == (None, 2)
    assert add("both", files[0], splade) == (splade, 0)
    assert add("both", files[1], splade) == (splade, 0)
    both = Memory.open(tmp_path / "both")
    found, text = both.sparse_vector(1), both.passages([1])[0].titled_text
    assert TEXTS[1] in text
    assert found == pytest.approx(load_sparse_encoder(splade).encode_passages([text])[0], rel=1e-4)
    assert add("both", files[2], "another") == (splade, 1)


def test_what_cannot_be_noted_is_not_attached(client, server, monkeypatch):
    """A disk that is full: nothing is there that would be gone after the next start."""

    def full(file, value):
        raise OSError(errno.ENOSPC, "No space left on device")

    store, file = client.vector_stores.create(name="full", metadata={"a": "b"}), uploaded(client, "boats.md", PARK)
    monkeypatch.setattr("memgpt_rag.serving.stores.replace_json", full)
    attempts = [
        lambda: client.vector_stores.create(name="never"),
        lambda: client.vector_stores.update(store.id, name="other"),
        lambda: client.vector_stores.files.create(file_id=file.id, vector_store_id=store.id),
        lambda: client.vector_stores.file_batches.create(file_ids=[file.id], vector_store_id=store.id),
    ]
    before = client.vector_stores.list(limit=100).data
    for attempt in attempts:
        with pytest.raises(
            openai.InternalServerError, match="machine failed: No space left on device; try again later"
        ) as refused:
            attempt()
        assert refused.value.status_code == 503
    assert client.vector_stores.list(limit=100).data == before
    assert client.vector_stores.files.list(store.id).data == []


def test_uploads_are_checked(client):
    with pytest.raises(openai.BadRequestError, match="is empty"):
        uploaded(client, "empty.txt", b"")
    with pytest.raises(openai.NotFoundError, match="no file"):
        client.vector_stores.create(file_ids=["file-none"])
    with pytest.raises(openai.BadRequestError, match="not in this list"):
        client.files.list(after="file-none")
    files = [uploaded(client, f"{number}.txt", b"text").id for number in range(3)]
    listed = [file.id for file in client.files.list(limit=1)]  # the client turns the pages
    assert set(files) <= set(listed) and len(listed) == len(set(listed))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\files\\plan.pdf", "plan.pdf"),
        (".hidden.md", "hidden.md"),
        ("a\x00b\u202e.txt", "ab.txt"),
        ("..", "file.txt"),
        (None, "file.txt"),
        ("公园.txt", "公园.txt"),
    ],
)
def test_names_of_files_stay_in_their_folder(given, kept):
    assert safe_name(given) == kept
    assert len(safe_name("长" * 300 + ".pdf").encode()) <= 200
    assert safe_name("长" * 300 + ".pdf").endswith(".pdf")
