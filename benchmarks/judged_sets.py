"""Collections of documents with questions whose right documents are known, and nDCG@10 over them.

The data is not part of the project: folders are looked for in ../shared/data, or where --data says. Cranfield (Cleverdon 1967)
and CISI are the classic test collections; XQuAD (CC BY-SA 4.0) asks for the paragraph that a question was asked of.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memgpt_rag.encoder import Encoder

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
K = 10


@dataclass(frozen=True)
class JudgedSet:
    """Documents, questions, and for each question the numbers of the documents that answer it with how well they do."""

    documents: list[str]
    questions: list[str]
    right: list[Mapping[int, float]]


def cranfield(data: Path) -> JudgedSet:
    text = (data / "cranfield" / "cran.all.1400.xml").read_text(encoding="utf-8")
    documents, number_of = [], {}
    for one in re.findall(r"<doc>(.*?)</doc>", text, re.DOTALL):
        number_of[_tag(one, "docno")] = len(documents)
        documents.append(f"{_tag(one, 'title')}\n{_tag(one, 'text')}")
    asked = re.findall(
        r"<title>(.*?)</title>", (data / "cranfield" / "cran.qry.xml").read_text(encoding="utf-8"), re.DOTALL
    )
    right: dict[int, dict[int, float]] = defaultdict(dict)
    for line in (data / "cranfield" / "cranqrel.trec.txt").read_text(encoding="utf-8").splitlines():
        query, _, document, grade = line.split()  # judgements count the queries from 1, whatever their own numbers are
        if int(grade) > 0 and document in number_of:
            right[int(query) - 1][number_of[document]] = 1.0
    return _judged(documents, [" ".join(one.split()) for one in asked], right)


def cisi(data: Path) -> JudgedSet:
    documents = [
        f"{_field(one, 'T')}\n{_field(one, 'W')}" for one in _records((data / "cisi" / "CISI.ALL").read_text("utf-8"))
    ]
    asked = [_field(one, "W") for one in _records((data / "cisi" / "CISI.QRY").read_text("utf-8"))]
    right: dict[int, dict[int, float]] = defaultdict(dict)
    for line in (data / "cisi" / "CISI.REL").read_text("utf-8").splitlines():
        if line.strip():
            query, document = line.split()[:2]
            right[int(query) - 1][int(document) - 1] = 1.0
    return _judged(documents, asked, right)


def xquad(data: Path) -> JudgedSet:
    articles = json.loads((data / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    pairs = [(asked["question"], number) for number, paragraph in enumerate(paragraphs) for asked in paragraph["qas"]]
    return _judged(
        [paragraph["context"] for paragraph in paragraphs],
        [question for question, _ in pairs],
        {place: {number: 1.0} for place, (_, number) in enumerate(pairs)},
    )


SETS = {"cranfield": cranfield, "cisi": cisi, "xquad": xquad}


def ndcg(of: JudgedSet, keys: np.ndarray, questions: np.ndarray) -> float:
    """Mean nDCG@10 (Järvelin and Kekäläinen 2002) of unit vectors."""
    discount = 1 / np.log2(np.arange(K) + 2)
    values = []
    for row, right in zip(np.argsort(-(questions @ keys.T), axis=1, kind="stable")[:, :K], of.right, strict=True):
        gained = np.array([right.get(int(number), 0.0) for number in row]) @ discount
        values.append(gained / (np.array(sorted(right.values(), reverse=True)[:K]) @ discount[: len(right)]))
    return float(np.mean(values))


def ndcg_of(of: JudgedSet, keys_by: Encoder, asked_by: Encoder) -> float:
    """nDCG@10 where one encoder embedded the documents, and one of the same space the questions."""
    return ndcg(of, keys_by.encode_passages(of.documents), asked_by.encode_queries(of.questions))


def _judged(documents: list[str], asked: list[str], right: Mapping[int, Mapping[int, float]]) -> JudgedSet:
    judged = [number for number in range(len(asked)) if right.get(number)]
    return JudgedSet(documents, [asked[number] for number in judged], [right[number] for number in judged])


def _tag(text: str, name: str) -> str:
    found = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return "" if found is None else " ".join(found[1].split())


def _records(text: str) -> list[str]:
    return re.split(r"^\.I \d+\s*$", text, flags=re.MULTILINE)[1:]


def _field(record: str, letter: str) -> str:
    found = re.search(rf"^\.{letter}\s*$(.*?)(?=^\.[A-Z]\s*$|\Z)", record, re.DOTALL | re.MULTILINE)
    return "" if found is None else " ".join(found[1].split())
