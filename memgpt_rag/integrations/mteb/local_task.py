"""A retrieval dataset of your own as a task of MTEB."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

from memgpt_rag.evaluation.data.dataset import RetrievalDataset, digest

_SPLIT = "test"


class DatasetTask(AbsTaskRetrieval):  # type: ignore[misc]
    """A retrieval task whose documents, queries and judgements are at hand; nothing is downloaded. Made by `dataset_task`."""

    judged: RetrievalDataset

    def load_data(self, num_proc: int | None = None, **settings: Any) -> None:
        """Hand the dataset over in MTEB's form."""
        judged = self.judged
        documents = {
            "id": list(judged.documents),
            "title": [document.title for document in judged.documents.values()],
            "text": [document.text for document in judged.documents.values()],
        }
        queries = {"id": list(judged.judged), "text": list(judged.judged.values())}
        split = {
            "corpus": Dataset.from_dict(documents),
            "queries": Dataset.from_dict(queries),
            "relevant_docs": {query: judged.relevant_grades(query) for query in judged.judged},
            "top_ranked": None,
        }
        self.dataset = {"default": {_SPLIT: split}}
        self.data_loaded = True


def dataset_task(judged: RetrievalDataset, languages: Sequence[str] = ("eng-Latn",)) -> DatasetTask:
    """Return a dataset as a task. Queries without a relevant document are left out, as in `memgpt-rag eval retrieval`.

    Args:
        languages: of its texts, as ISO codes of language and script, such as "zho-Hans".

    Example:
        >>> mteb.evaluate(MemGPTSearch(load_encoder()), dataset_task(read_dataset("examples/beir"), ["eng-Latn", "zho-Hans"]))
    """
    metadata = TaskMetadata(
        name=re.sub(r"[^\w.-]+", "-", judged.name),
        description=f"Documents of {judged.name}.",
        dataset={"path": judged.name, "revision": digest([judged.documents_digest, judged.query_digests])[:16]},
        type="Retrieval",
        category="t2t",
        eval_splits=[_SPLIT],
        eval_langs=list(languages),
        main_score="ndcg_at_10",
    )
    # MTEB asks the class of a task for its metadata, so each dataset has a class of its own.
    named: DatasetTask = type("DatasetTask", (DatasetTask,), {"metadata": metadata, "judged": judged})()
    return named
