"""How well are documents found, on nine sets with judgements?

    python benchmarks/retrieval.py                       (an hour on one core; --sets and --encoders take a part)
    python benchmarks/retrieval.py --sets cranfield --encoders all-MiniLM-L6-v2

Every document is embedded whole, title and text, and searched exactly. Prints a table for each set, and one JSON line last.
With --output, the report of each set goes to a folder of its name there. The data is not part of the project; see
benchmarks/judged_sets.py.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.judged_sets import DATA, JUDGED_SETS, load
from memgpt_rag.bundled import ENCODERS
from memgpt_rag.command_line import quiet_libraries
from memgpt_rag.encoder import Encoder, load_encoder
from memgpt_rag.evaluation.document_memory import embed_documents
from memgpt_rag.evaluation.judged_set import JudgedSet
from memgpt_rag.evaluation.measures import DEFAULT_MEASURES
from memgpt_rag.evaluation.report import make_report
from memgpt_rag.evaluation.report_folder import write_folder
from memgpt_rag.evaluation.retrieval import evaluate_retrieval
from memgpt_rag.evaluation.systems import RETRIEVERS, System, make_system
from memgpt_rag.evaluation.tables import report_tables, to_plain


def systems(judged: JudgedSet, encoders: list[Encoder], searches: list[str], folder: Path) -> Iterator[System]:
    for number, encoder in enumerate(encoders):
        memory, costs = embed_documents(judged, encoder, folder / str(number))
        for search in searches:
            yield make_system(search, memory, encoder, costs=costs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(JUDGED_SETS), default=list(JUDGED_SETS))
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS))
    parser.add_argument("--searches", nargs="+", choices=list(RETRIEVERS), default=list(RETRIEVERS))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    quiet_libraries()
    encoders = [load_encoder(name) for name in arguments.encoders]
    figures = {}
    for name in arguments.sets:
        try:
            judged = load(name, arguments.data)
        except FileNotFoundError as missing:
            print(missing)
            continue
        with tempfile.TemporaryDirectory() as folder:
            measured = evaluate_retrieval(judged, systems(judged, encoders, arguments.searches, Path(folder)))
        report = make_report(measured, command=shlex.join(sys.argv), source=str(arguments.data))
        print(f"\n# {name}: {len(judged.documents):,} documents, {len(judged.judged):,} queries\n")
        for table in report_tables(report):
            print(f"{to_plain(table)}\n", flush=True)
        if arguments.output is not None:
            write_folder(arguments.output / name, measured, report)
        figures[name] = {
            system.name: {measure: round(system.means[measure][0], 4) for measure in DEFAULT_MEASURES}
            for system in measured.systems
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
