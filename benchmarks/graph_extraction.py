"""How many triples that the language model extracts under a grammar are facts of the text?

    python benchmarks/graph_extraction.py            50 paragraphs of XQuAD (7 minutes)

Compared with the list in benchmarks/graph_facts. A triple is counted where a fact of the same paragraph has its subject and its object,
each with an F1 of at least .5 in words; the property's words are free and are printed to be judged by eye. Precision is the share of
extracted triples that are counted, recall the share of facts that a counted triple matches.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.graph_sets import text_passage
from benchmarks.question_sets import DATA
from memgpt_rag.evaluation.metrics.answer_measures import f1
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.tasks.graph.extract import TripleExtractor

FACTS = Path(__file__).resolve().parent / "graph_facts" / "facts.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    arguments = parser.parse_args()
    quiet_libraries()
    articles = json.loads((arguments.data / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    facts: dict[str, list[dict[str, str]]] = {}
    for line in FACTS.read_text(encoding="utf-8").splitlines():
        fact = json.loads(line)
        facts.setdefault(fact["paragraph"], []).append(fact)
    extractor, right, found = TripleExtractor(MemoryDecoder.from_pretrained(reader=None)), [], 0
    for paragraph, known in facts.items():
        article, number = map(int, paragraph.split("."))
        text = articles[article]["paragraphs"][number]["context"]
        matched: set[int] = set()
        for triple in extractor.extract(text_passage(paragraph, "", text)):
            same = [
                place
                for place, fact in enumerate(known)
                if all(f1(str(triple[end]), [fact[end]], "en") >= 0.5 for end in ("subject", "object"))
            ]
            matched.update(same)
            right.append(float(bool(same)))
            print(
                f"{paragraph:>6} {'+' if same else '-'} {triple['subject']} | {triple['property']} | {triple['object']}",
                flush=True,
            )
        found += len(matched)
    total = sum(map(len, facts.values()))
    precision = [round(one, 4) for one in interval(right)]
    print(
        f"\n{len(right)} triples, precision {precision[0]:.3f} [{precision[1]:.3f}, {precision[2]:.3f}]; {found} of {total} facts"
    )
    print(json.dumps({"triples": len(right), "precision": precision, "facts found": found, "facts": total}))


if __name__ == "__main__":
    main()
