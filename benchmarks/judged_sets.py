"""Retrieval tasks with judgements, for benchmarks: who is right for which query, in one form for nine sets.

The data is not part of the project: it is looked for in ../shared/data. `python benchmarks/judged_sets.py` says what
each set holds.

Cranfield and CISI: classic public test collections. CoSQA (Huang et al. 2021; C-UDA): web queries for Python functions.
XQuAD and CMRC 2018 (CC BY-SA 4.0): questions that are to find their paragraph. HotpotQA (CC BY-SA 4.0) and MuSiQue
(CC BY 4.0), 100 questions each as OpenSPG/KAG selected them: questions that are to find all of their paragraphs.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from memgpt_rag.evaluation.data.dataset import Document, RetrievalDataset, merge_equal
from memgpt_rag.evaluation.data.squad import read_squad

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def load(name: str, data: Path = DATA) -> RetrievalDataset:
    """A set by its name, one of `JUDGED_SETS`.

    Raises:
        FileNotFoundError: it is not there; the message says where it was looked for.
    """
    folder, read = JUDGED_SETS[name]
    if not (data / folder).is_dir():
        raise FileNotFoundError(f"The set {name} is not in {data / folder}; it is skipped.")
    return replace(read(data / folder), name=name)


def cranfield(folder: Path) -> RetrievalDataset:
    """1,400 abstracts and 225 queries on aerodynamics.

    The judgements name a query by its place in the file, not by the <num> that stands there. Their grades are 1 for
    relevant and 0 for what the original marks -1; a single 3 is left from the original's own scale and counts as 1. Two
    documents are empty. Texts begin with their title, which is not given twice.
    """
    documents = {}
    for found in re.findall(r"<doc>(.*?)</doc>", (folder / "cran.all.1400.xml").read_text(encoding="utf-8"), re.DOTALL):
        number, title, text = (_element(found, name) for name in ("docno", "title", "text"))
        documents[number] = Document(title, text.removeprefix(title).strip())
    topics = re.findall(r"<top>(.*?)</top>", (folder / "cran.qry.xml").read_text(encoding="utf-8"), re.DOTALL)
    queries = {str(place): _element(topic, "title") for place, topic in enumerate(topics, 1)}
    judgements: dict[str, dict[str, int]] = {}
    for line in (folder / "cranqrel.trec.txt").read_text(encoding="utf-8").splitlines():
        query, _, document, grade = line.split()
        judgements.setdefault(query, {})[document] = min(int(grade), 1)
    return RetrievalDataset("cranfield", documents, queries, judgements)


def cisi(folder: Path) -> RetrievalDataset:
    """1,460 abstracts on information science; 76 of 112 queries are judged, and only these count.

    The judgements list what is relevant, with no grade. Some queries are abstracts themselves: title and words are asked.
    """
    documents = {number: Document(item.get("T", ""), item.get("W", "")) for number, item in _smart(folder / "CISI.ALL")}
    queries = {
        number: " ".join(filter(None, (item.get("T"), item["W"]))) for number, item in _smart(folder / "CISI.QRY")
    }
    judgements: dict[str, dict[str, int]] = {}
    for line in (folder / "CISI.REL").read_text(encoding="utf-8").splitlines():
        query, document, *_ = line.split()
        judgements.setdefault(query, {})[document] = 1
    return RetrievalDataset("cisi", documents, queries, judgements)


def cosqa(folder: Path) -> RetrievalDataset:
    """500 web queries of the test part, each with one of 6,267 Python functions."""
    functions = _json(folder / "code_idx_map.txt")
    documents = {str(number): Document("", code) for code, number in functions.items()}
    asked = _json(folder / "cosqa-retrieval-test-500.json")
    queries = {record["idx"]: record["doc"] for record in asked}
    return RetrievalDataset("cosqa", documents, queries, {one["idx"]: {str(one["retrieval_idx"]): 1} for one in asked})


def xquad_zh_en(folder: Path) -> RetrievalDataset:
    """Chinese questions that are to find the English paragraph; the two files are parallel and share their ids."""
    english, chinese = read_squad(folder / "xquad.en.json"), read_squad(folder / "xquad.zh.json")
    if list(english.queries) != list(chinese.queries):
        raise ValueError(f"The files of {folder} are not parallel: they ask other questions.")
    return replace(english, queries=chinese.queries, answers=english.answers)


def hotpotqa(folder: Path) -> RetrievalDataset:
    """Two paragraphs answer a question together; supporting facts name them by their title, which is unique."""
    corpus = _json(folder / "hotpotqa_data_train_corpus.json")
    documents = {
        str(place): Document(title, "".join(item).strip()) for place, (title, item) in enumerate(corpus.items())
    }
    numbers = {title: str(place) for place, title in enumerate(corpus)}
    asked = _json(folder / "hotpotqa_data_qa_train.json")
    return RetrievalDataset(
        "hotpotqa",
        documents,
        {one["_id"]: one["question"] for one in asked},
        {one["_id"]: {numbers[title]: 1 for title, _ in one["supporting_facts"]} for one in asked},
        {one["_id"]: (one["answer"],) for one in asked},
    )


def musique(folder: Path) -> RetrievalDataset:
    """Two to four paragraphs answer a question together. Titles are not unique: a paragraph is its title and its text."""
    corpus = _json(folder / "musique_data_train_corpus.json")
    documents, _ = merge_equal((str(place), Document(item["title"], item["text"])) for place, item in enumerate(corpus))
    numbers = {document: name for name, document in documents.items()}
    asked = _json(folder / "musique_data_qa_train.json")
    return RetrievalDataset(
        "musique",
        documents,
        {one["id"]: one["question"] for one in asked},
        {
            one["id"]: {
                numbers[Document(item["title"], item["paragraph_text"])]: 1
                for item in one["paragraphs"]
                if item["is_supporting"]
            }
            for one in asked
        },
        {one["id"]: (one["answer"], *one["answer_aliases"]) for one in asked},
    )


JUDGED_SETS: dict[str, tuple[str, Callable[[Path], RetrievalDataset]]] = {
    "cranfield": ("cranfield", cranfield),
    "cisi": ("cisi", cisi),
    "cosqa": ("cosqa_retrieval", cosqa),
    "xquad-en": ("xquad", lambda folder: read_squad(folder / "xquad.en.json")),
    "xquad-zh": ("xquad", lambda folder: read_squad(folder / "xquad.zh.json")),
    "xquad-zh-en": ("xquad", xquad_zh_en),
    "cmrc2018": ("cmrc2018", lambda folder: read_squad(folder / "cmrc2018_dev.json")),
    "hotpotqa": ("multihop_kag", hotpotqa),
    "musique": ("multihop_kag", musique),
}


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _element(xml: str, name: str) -> str:
    """The words of an element, its lines joined; these files are no XML that a parser would take."""
    found = re.search(rf"<{name}>(.*?)</{name}>", xml, re.DOTALL)
    assert found is not None, (name, xml)
    return " ".join(found[1].split())


def _smart(path: Path) -> list[tuple[str, dict[str, str]]]:
    """Records of the SMART layout: ".I number", then fields that begin with ".T", ".W" and so on, alone in their line."""
    records: list[tuple[str, dict[str, list[str]]]] = []
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if re.fullmatch(r"\.I \d+\s*", line):
            records.append((line.split()[1], {}))
        elif field := re.fullmatch(r"\.([TAWBXNK])\s*", line):
            lines = records[-1][1].setdefault(field[1], [])
        else:
            lines.append(line)
    return [
        (number, {name: " ".join(" ".join(item).split()) for name, item in fields.items()})
        for number, fields in records
    ]


if __name__ == "__main__":
    for per_name in JUDGED_SETS:
        try:
            judged = load(per_name)
        except FileNotFoundError as missing:
            print(missing)
            continue
        relevant = sum(len(judged.relevant(query)) for query in judged.judged)
        print(
            f"{per_name:<12} {len(judged.documents):>6,} documents  {len(judged.queries):>5,} queries, "
            f"{len(judged.judged):>5,} judged with {relevant / len(judged.judged):.1f} relevant documents  "
            f"{len(judged.answers):>5,} with answers"
        )
