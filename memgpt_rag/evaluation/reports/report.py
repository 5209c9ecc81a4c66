"""The report of an evaluation as JSON, from which pages are rendered and with which later reports are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from memgpt_rag.errors import MismatchError, SourceError, first_line
from memgpt_rag.evaluation.data.text_source import read_text
from memgpt_rag.evaluation.machine import machine, packages
from memgpt_rag.evaluation.reports.pages import tables_html
from memgpt_rag.evaluation.retrieval import (
    Evaluation,
    SystemComparison,
    SystemFigures,
    compare_systems,
)
from memgpt_rag.io.json_file import number, parse_json

KIND, VERSION = "memgpt_rag retrieval report", 1

_MOST = 1e9  # largest valid value of a measure
_FIRST = 10  # retrieved documents of each query in a report; the run files contain all


class Report(dict[str, Any]):
    """A report as JSON, which a notebook shows as its tables."""

    def _repr_html_(self) -> str:
        return tables_html(self)


def make_report(
    evaluation: Evaluation, *, command: str, source: str, indexes: Sequence[Mapping[str, Any]] = ()
) -> Report:
    """Return the JSON report of an evaluation, with its provenance.

    Args:
        command: the command line that was run.
        source: path of the dataset.
        indexes: results of `measured_indexes` for the keys that were searched.
    """
    judged = evaluation.judged
    return Report(
        {
            "kind": KIND,
            "version": VERSION,
            "data": {
                "name": judged.name,
                "source": source,
                "documents": len(judged.documents),
                "documents_digest": judged.documents_digest,
                "queries": len(judged.queries),
                "measured_queries": len(judged.judged),
                "missing_documents": evaluation.missing_documents,
            },
            "measures": list(evaluation.measures),
            "k": evaluation.k,
            "systems": [_system(system) for system in evaluation.systems],
            "comparisons": [comparison_json(one) for one in evaluation.comparisons],
            "indexes": list(indexes),
            "queries": {
                query: {"text": text, "digest": judged.query_digests[query], "relevant": judged.relevant(query)}
                for query, text in judged.judged.items()
            },
            "provenance": {
                "command": command,
                "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "machine": machine(),
                "packages": packages(),
            },
        }
    )


def _system(system: SystemFigures) -> dict[str, Any]:
    return {
        "name": system.name,
        "about": dict(system.about),
        "measures": {name: dict(zip(("mean", "low", "high"), figures)) for name, figures in system.means.items()},
        "recall": {str(depth): value for depth, value in system.recall.items()},
        "speed": None if system.speed is None else asdict(system.speed),
        "costs": None if system.costs is None else asdict(system.costs),
        "per_query": system.values,
        "found": {query: [document for document, _ in ranking[:_FIRST]] for query, ranking in system.run.items()},
    }


def comparison_json(compared: SystemComparison) -> dict[str, Any]:
    """Return a comparison of two systems as JSON."""
    return {
        "system": compared.system,
        "against": compared.against,
        "measure": compared.measure,
        **asdict(compared.figures),
    }


def read_report(path: str | Path) -> Report:
    """Read the JSON report at a path, and validate it.

    Raises:
        SourceError: it cannot be read, is no report, or is of an unknown version.
    """
    path = Path(path)
    try:
        report = parse_json(read_text(path))
    except ValueError as error:
        raise SourceError(f"{path.name}: {error}; name a report.json.") from error
    if not isinstance(report, dict) or report.get("kind") != KIND:
        raise SourceError(f"{path} is no report of memgpt-rag eval retrieval; name a report.json that it wrote.")
    if report.get("version") != VERSION:
        raise SourceError(
            f"{path} is a report of version {report.get('version')}; this release reads version {VERSION}."
        )
    missing = [name for name in ("data", "queries", "systems", "measures") if not report.get(name)]
    if missing:
        raise SourceError(f"{path} is a report without {', '.join(missing)}; write it again.")
    try:
        _require_sound(report)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SourceError(f"{path} is a damaged report ({_reason(error)}); write it again.") from error
    return Report(report)


def _require_sound(report: dict[str, Any]) -> None:
    """Check the fields that `against` reads; raises a built-in exception if one is missing, of another type, or no number."""
    data, queries = report["data"], report["queries"]
    number(data["documents"], "documents", 0, 2**48)
    texts = [
        data["name"],
        data["documents_digest"],
        *report["measures"],
        *(query["digest"] for query in queries.values()),
    ]
    for system in report["systems"]:
        texts.append(system["name"])
        for measure in report["measures"]:
            values = system["per_query"][measure]
            for query in queries:
                number(values[query], f"{measure} of the query {query!r}", -_MOST, _MOST)
    wrong = [text for text in texts if not isinstance(text, str)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} where a text is expected")


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else first_line(error)


def require_same_documents(name: str, documents: int, digest: str, other: Mapping[str, Any], other_name: str) -> None:
    """Check that an earlier report is of the same documents; raises MismatchError if not."""
    theirs = other["data"]
    if digest != theirs["documents_digest"]:
        raise MismatchError(
            f"The reports are of different documents: {name} with {documents:,} of digest {digest[:12]}, and in {other_name} "
            f"{theirs['name']} with {theirs['documents']:,} of digest {theirs['documents_digest'][:12]}; measure both on the "
            "same documents."
        )


def against(report: Mapping[str, Any], other: Mapping[str, Any], other_name: str) -> dict[str, Any]:
    """Compare the systems of a report with those of an earlier one, paired by query.

    A system is compared with the one of the same name, or else with the first one of the other report. Queries whose text
    or judgements differ are left out, and counted.

    Args:
        other_name: name of the other report, for messages and tables.

    Raises:
        MismatchError: the documents differ, or the two have no query or no measure in common.
    """
    mine = report["data"]
    require_same_documents(mine["name"], mine["documents"], mine["documents_digest"], other, other_name)
    both = [
        query
        for query, described in report["queries"].items()
        if other["queries"].get(query, {}).get("digest") == described["digest"]
    ]
    measures = [name for name in report["measures"] if name in other["measures"]]
    for what, agree in (("query with the same text and judgements", both), ("measure", measures)):
        if not agree:
            raise MismatchError(f"The report and {other_name} have no {what} in common; measure both in the same way.")
    named = {system["name"]: system for system in other["systems"]}
    pairs = []
    for system in report["systems"]:
        peer = named.get(system["name"], other["systems"][0])
        for name in measures:
            values = ({query: ranked["per_query"][name][query] for query in both} for ranked in (system, peer))
            pairs.append((system["name"], peer["name"], name, *values))
    left_out = len(set(report["queries"]) | set(other["queries"])) - len(both)
    return {
        "report": other_name,
        "date": other.get("provenance", {}).get("date"),
        "queries": len(both),
        "left_out": left_out,
        "comparisons": [comparison_json(one) for one in compare_systems(pairs)],
        "per_query": {system["name"]: system["per_query"] for system in other["systems"]},
    }
