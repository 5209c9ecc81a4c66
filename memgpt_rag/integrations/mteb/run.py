"""Runs tasks of MTEB, and keeps their results in the form of its leaderboard."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mteb
from mteb.abstasks import AbsTask
from mteb.cache import ResultCache

from memgpt_rag.encoders.base import Encoder
from memgpt_rag.errors import SourceError, first_line
from memgpt_rag.evaluation.data.layouts import read_dataset
from memgpt_rag.integrations.mteb.encoder import MemGPTEncoder
from memgpt_rag.integrations.mteb.local_task import DatasetTask, dataset_task
from memgpt_rag.integrations.mteb.search import MemGPTSearch
from memgpt_rag.retrieval.retriever import Search


@dataclass(frozen=True)
class Scores:
    """What a model scored on a part of a task.

    Attributes:
        subset: such as a language; "default" where a task has one.
        scores: name of a measure, as MTEB calls it → value.
    """

    task: str
    split: str
    subset: str
    scores: Mapping[str, Any]


def chosen_tasks(
    asked: Sequence[str], benchmark: str | None = None, split: str = "test", *, search: str = "dense"
) -> list[AbsTask]:
    """Return tasks by MTEB's names, or of datasets by their paths.

    Args:
        asked: these names and paths.
        benchmark: name of a benchmark of MTEB, whose tasks are added.
        split: of datasets in the layout of BEIR.
        search: what is to be measured; tasks that search nothing have vectors compared, which only "dense" does.

    Raises:
        SourceError: there is no such task, benchmark or dataset, two have one name, or one is not for that search.
    """
    tasks = [_task(name, split) for name in asked]
    if benchmark is not None:
        try:
            tasks += mteb.get_benchmark(benchmark).tasks
        except KeyError as error:
            raise SourceError(
                f"MTEB has no benchmark {benchmark!r}; `mteb available-benchmarks` lists them."
            ) from error
    names = [task.metadata.name for task in tasks]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise SourceError(
            f"Two of the tasks are called {twice!r}, and so would be their results; name them in two runs, with an --output each."
        )
    for task in tasks:
        if task.metadata.modalities != ["text"]:
            raise SourceError(f"{task.metadata.name} is not about texts alone; name a task of texts.")
        if search != "dense" and not _searches(task):
            raise SourceError(
                f"{task.metadata.name} is a task of {task.metadata.type}, which searches nothing; measure it with --search dense."
            )
    return tasks


def run_tasks(tasks: Sequence[AbsTask], encoder: Encoder, search: str, settings: Search, output: Path) -> list[Scores]:
    """Run tasks; those of MTEB whose results are in the output folder are not run again.

    Args:
        search: name of the search that retrieval tasks measure; other tasks measure the encoder.
        settings: weights and the reranker.
        output: folder for results, a file for each task.

    Raises:
        SourceError: a task's data cannot be had.
    """
    searching, embedding = MemGPTSearch(encoder, search, settings), MemGPTEncoder(encoder)
    found = []
    for task in tasks:
        model = searching if _searches(task) else embedding
        try:
            result = mteb.evaluate(
                model,
                task,
                cache=ResultCache(output),
                # Results do not tell two datasets of one name apart.
                overwrite_strategy="always" if isinstance(task, DatasetTask) else "only-missing",
                co2_tracker=False,
                show_progress_bar=False,
            )
        except (OSError, ValueError, RuntimeError) as error:
            if task.data_loaded or isinstance(task, DatasetTask):
                raise
            raise SourceError(
                f"The data of {task.metadata.name} cannot be had ({first_line(error)}); MTEB downloads it from the hub: see to the "
                "connection, or name a dataset of yours by its path."
            ) from error
        if not result.task_results:  # of a task whose data is private
            raise SourceError(
                f"The data of {task.metadata.name} is private: {first_line(result.exceptions[0].exception)}."
            )
        for split, parts in result.task_results[0].scores.items():
            found += [Scores(task.metadata.name, split, part["hf_subset"], part) for part in parts]
    return found


def _task(name: str, split: str) -> AbsTask:
    if Path(name).exists():
        return dataset_task(read_dataset(name, split))
    try:
        return mteb.get_task(name)
    except KeyError as error:
        near = re.search("Did you mean: '(.+?)'", str(error))
        meant = f"; did you mean {near[1]}?" if near else "."
        raise SourceError(
            f"MTEB has no task {name!r}, and no dataset is there{meant} `mteb available-tasks` lists them."
        ) from error


def _searches(task: AbsTask) -> bool:
    return bool(task._support_search)
