"""The command memgpt-rag eval mteb: an encoder or a way of searching on tasks of MTEB, with results for its leaderboard."""

from __future__ import annotations

from pathlib import Path

import click

from memgpt_rag.cli.options import model_option
from memgpt_rag.cli.search_options import SearchOptions, refining_options
from memgpt_rag.hub.bundled import E5_ENCODER
from memgpt_rag.io.console import echo, quiet_libraries

# Measures of a retrieval task as MTEB names them, and as `eval retrieval` does.
_RETRIEVAL = {
    "ndcg_at_10": "nDCG@10",
    "recall_at_10": "R@10",
    "recall_at_100": "R@100",
    "mrr_at_10": "RR@10",
    "map_at_100": "AP@100",
}


@click.command()
@click.argument("tasks", nargs=-1, metavar="TASK...")
@click.option("--benchmark", metavar="NAME", help="All tasks of this benchmark of MTEB.")
@click.option("--encoder", default=E5_ENCODER, show_default=True, metavar="NAME", help="Embedding model to measure.")
@click.option(
    "--search",
    "search_name",
    default="dense",
    show_default=True,
    metavar="NAME",
    help="Way of searching: dense, bm25, hybrid or sparse, or one of them and +rerank. Tasks that search nothing need dense.",
)
@refining_options
@model_option
@click.option("--split", default="test", show_default=True, help="Of a BEIR folder, the file in qrels/ that judges.")
@click.option(
    "--output",
    default=Path("mteb-results"),
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the results, in MTEB's form. A task of MTEB whose results are there is not run again.",
)
def mteb(
    tasks: tuple[str, ...],
    benchmark: str | None,
    encoder: str,
    search_name: str,
    search: SearchOptions,
    model: str,
    split: str,
    output: Path,
) -> None:
    """Measure an encoder, or a way of searching, on tasks of MTEB.

    TASK is the name of one of MTEB's tasks, or the path of a dataset of yours, as for `eval retrieval`. MTEB downloads its own tasks.
    Needs the extra `mteb`.
    """
    from memgpt_rag.evaluation.reports.tables import Table, to_plain
    from memgpt_rag.evaluation.systems import require_search

    require_search(search_name)
    search.require_models(search_name)
    if not tasks and benchmark is None:
        raise click.UsageError("Name a task, or a benchmark with --benchmark.")
    from memgpt_rag.integrations.mteb.run import chosen_tasks, run_tasks

    chosen = chosen_tasks(tasks, benchmark, split, search=search_name)
    quiet_libraries()
    from memgpt_rag.encoders.load import load_encoder

    results = run_tasks(chosen, load_encoder(encoder), search_name, search.load_named(model), output)
    searched = [row for row in results if "ndcg_at_10" in row.scores]
    for title, rows, measures in (
        ("Retrieval", searched, _RETRIEVAL),
        ("Other tasks", [row for row in results if row not in searched], {"main_score": "main score"}),
    ):
        if rows:
            cells = [
                [f"{row.task} {row.split} {row.subset}", *(f"{row.scores[name]:.4f}" for name in measures)]
                for row in rows
            ]
            echo(f"{to_plain(Table(title, '', ['task', *measures.values()], cells))}\n")
    echo(f"Results for the leaderboard: {output}.")
