"""The folder of a report: report.json, report.md, report.html, and a TREC run file for each system."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memgpt_rag.errors import SourceError
from memgpt_rag.evaluation.data.trec import write_run
from memgpt_rag.evaluation.reports.pages import to_html, to_markdown
from memgpt_rag.evaluation.retrieval import Evaluation
from memgpt_rag.io.own_folder import first_link
from memgpt_rag.io.printable import printable_json
from memgpt_rag.io.system_errors import at_path

REPORT = "report.json"


def write_folder(folder: Path, evaluation: Evaluation, report: Mapping[str, Any]) -> list[Path]:
    """Write a report; files of an earlier one in the folder are replaced.

    Returns:
        The files written. Runs are left out if an id contains white space, which the format does not allow.

    Raises:
        SourceError: the folder is a file, or contains a link.
    """
    if folder.exists() and not folder.is_dir():
        raise SourceError(f"{folder} is a file; name a folder for the report.")
    if (link := first_link(folder)) is not None:
        raise SourceError(
            f"{link} is a link, so that a report would be written elsewhere; remove it, or name a new folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        REPORT: printable_json(report, indent=1),
        "report.md": to_markdown(report),
        "report.html": to_html(report),
    }
    written = []
    for name, text in texts.items():
        with at_path(folder / name):
            (folder / name).write_text(text, encoding="utf-8")
        written.append(folder / name)
    judged = evaluation.judged
    if any(len(name.split()) != 1 or name != name.strip() for name in (*judged.judged, *judged.documents)):
        return written
    for number, system in enumerate(evaluation.systems):
        tag = re.sub(r"[^\w.+-]+", "-", system.name).strip("-.") or "system"
        path = folder / f"{tag}.trec"
        if path in written:
            path = folder / f"{tag}-{number}.trec"
        with at_path(path):
            write_run(path, system.run, tag)
        written.append(path)
    return written
