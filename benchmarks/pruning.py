"""What a smaller memory loses: keys in short codes, and entries pruned by use.

    python benchmarks/pruning.py --kept FOLDER

Codes: each query is searched in the codes and the best by the keys themselves are kept; recall is that of the ten nearest, and of a
query's relevant documents among its first ten, against exact search. Bytes are those of the codes a key, beside 4 a component.

Pruning: the first four documents of every second query are what its answer uses, in equal parts; `memgpt-index prune` keeps a share of
the entries by it. Figures are of the other queries: the share whose first document is relevant, before and after, with the paired
difference and its 95 % interval by bootstrap, against the same share kept by chance (five draws). "Predicted" is what the command predicts:
the attention that would be lost. A set A+B has the queries of A, and the documents of B among its own, which nobody asks for. Memories stay in --kept. Prints tables, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.judged_sets import load
from indexing.jobs.prune_memory import plan_pruning
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.data.dataset import RetrievalDataset
from memgpt_rag.evaluation.document_memory import embed_documents
from memgpt_rag.evaluation.index_curves import index_curves
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.memory import Memory

USED = 4  # documents that an answer uses
SHARES = (0.75, 0.5, 0.25, 0.1)
DRAWS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["xquad-en", "xquad-en+hotpotqa", "cranfield", "cosqa"])
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
    parser.add_argument("--kept", type=Path, required=True, help="Folder for memories, so that they are embedded once.")
    arguments = parser.parse_args()
    encoder, results = load_encoder(arguments.encoder), []
    for name in arguments.sets:
        first, *others = map(load, name.split("+"))
        judged = replace(
            first,
            name=name,
            documents={**first.documents, **{id: text for one in others for id, text in one.documents.items()}},
        )
        memory = _memory(judged, encoder, arguments.kept / name)
        queries = encoder.encode_queries(list(judged.judged.values()))
        results.append({"set": name, "entries": len(memory), "queries": len(queries)})
        if len(memory) >= 1000:
            results[-1]["codes"] = codes(memory, queries)
        results[-1]["pruning"] = pruning(judged, memory, queries)
    print(json.dumps({"encoder": arguments.encoder, "used": USED, "sets": results}))


def _memory(judged: RetrievalDataset, encoder: Encoder, folder: Path) -> Memory:
    if not (folder / "manifest.json").exists():
        embed_documents(judged, encoder, folder)
    return Memory.open(folder, encoder=encoder.fingerprint)


def codes(memory: Memory, queries: np.ndarray) -> list[dict[str, Any]]:
    """Recall of each kind of codes, by how many candidates are rescored, and its bytes a key."""
    rows = []
    print(f"\n{'codes':<12}{'bytes a key':>12}  recall of the ten nearest, by candidates a result")
    for curve in index_curves(memory.keys(), queries, memory.manifest.metric):
        if curve.points[0].parameters or not curve.disk_bytes:
            continue  # exact search, lists and graphs
        recall = {point.candidates: round(point.recall, 4) for point in curve.points}
        rows.append({"codes": curve.index, "bytes": curve.disk_bytes / len(memory), "recall": recall})
        shown = "  ".join(f"{candidates}: {value:.3f}" for candidates, value in recall.items())
        print(f"{curve.index:<12}{curve.disk_bytes / len(memory):>12.0f}  {shown}")
    return rows


def pruning(judged: RetrievalDataset, memory: Memory, queries: np.ndarray) -> list[dict[str, Any]]:
    """Whether the first document is relevant, before and after pruning by use and by chance."""
    found = memory.search(queries, USED)
    names = list(judged.judged)
    uses = [{one.id: 1 / USED for one in passages} for passages in found.passages[::2]]
    rows, rng = [], np.random.default_rng(0)
    print(f"\n{judged.name}: {len(memory):,} entries, {len(names[1::2])} queries measured")
    print(f"{'kept':>6}{'predicted':>10}{'before':>8}{'by use':>8}  {'difference':<20}{'by chance':>10}")

    def firsts(kept: np.ndarray) -> np.ndarray:
        """Whether the first document of each query that did not choose is relevant, among the rows that are kept."""
        scores = queries[1::2] @ memory.keys(kept).T
        first = memory.passages(kept[scores.argmax(axis=1)])
        return np.array(
            [one.document_id in judged.relevant(name) for one, name in zip(first, names[1::2], strict=True)]
        )

    every = memory.rows()
    before = firsts(every)
    for share in SHARES:
        plan = plan_pruning(memory, uses, share)
        kept = np.setdiff1d(every, plan.rows)
        after = firsts(kept)
        chance = np.mean([firsts(np.sort(rng.permutation(every)[: len(kept)])).mean() for _ in range(DRAWS)])
        mean, low, high = interval((after.astype(float) - before).tolist())
        rows.append(
            {
                "kept": share,
                "predicted_loss": plan.lost_share,
                "before": before.mean(),
                "by_use": after.mean(),
                "difference": [mean, low, high],
                "by_chance": chance,
            }
        )
        print(
            f"{share:>6.0%}{plan.lost_share:>10.1%}{before.mean():>8.3f}{after.mean():>8.3f}  "
            f"{f'{mean:+.3f} [{low:+.3f}, {high:+.3f}]':<20}{chance:>10.3f}"
        )
    return rows


if __name__ == "__main__":
    main()
