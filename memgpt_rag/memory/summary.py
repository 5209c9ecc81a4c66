"""What a memory holds and how it was built, as rows of names and values, for a terminal or a notebook."""

from __future__ import annotations

from typing import Any

from memgpt_rag.fingerprint import SparseFingerprint, StatesFingerprint
from memgpt_rag.io.printable import counted, printable_html
from memgpt_rag.memory.storage.manifest import Manifest


def summary(manifest: Manifest) -> list[tuple[str, str]]:
    """Return the rows of a memory's summary; their texts may hold characters of others that control a terminal."""
    encoder, splitting, segments = manifest.encoder, manifest.splitting, manifest.segments
    stored = sum(file.bytes for segment in segments for file in segment.files.values())
    deleted, columns = sum(segment.deleted for segment in segments), manifest.metadata.items()
    return [
        ("entries", f"{manifest.entries:,}, {stored / 1e6:.1f} MB"),
        (
            "version",
            f"{manifest.commit}, in {counted(len(segments), 'segment')} with {counted(deleted, 'deleted row')}",
        ),
        ("last job", _job(manifest.job)),
        ("metadata", ", ".join(f"{name}: {kind}" for name, kind in columns) or "none"),
        ("passages", f"at most {splitting['max_tokens']} tokens of {splitting['tokenizer']}"),
        ("encoder", f"{encoder.name}, {encoder.dimension} numbers" + (", unit length" if encoder.normalized else "")),
        ("prompts", f"{encoder.query_prompt!r} before a query, {encoder.passage_prompt!r} before a passage"),
        ("search", f"{_search_line(manifest)}, {manifest.metric}"),
        ("lexical", manifest.words or "no index; add one with: memgpt-index lexical"),
        *([] if manifest.sparse is None else [("sparse", _sparse_line(manifest, manifest.sparse))]),
        ("states", _states_line(manifest.states)),
    ]


def summary_html(title: str, manifest: Manifest) -> str:
    """Return the summary as a table in HTML."""
    rows = "".join(
        f'<tr><th style="text-align: left">{name}</th><td style="text-align: left">{printable_html(value)}</td></tr>\n'
        for name, value in summary(manifest)
    )
    return f"<table>\n<caption>{printable_html(title)}</caption>\n{rows}</table>\n"


# Jobs whose names in files are those of earlier releases.
_JOBS = {"words": "lexical index"}


def _job(job: dict[str, Any]) -> str:
    name = _JOBS.get(str(job.get("name")), str(job.get("name")))
    counted = [f"{name.replace('_', ' ')} {value:,}" for name, value in job.items() if isinstance(value, int)]
    return f"{name}: {', '.join(counted)}" if counted else name


def _search_line(manifest: Manifest) -> str:
    indexes = [segment.index for segment in manifest.segments if segment.index is not None]
    kinds = {
        f"{item['factory']}, {item['parameters']} (recall at 10 {item.get('recall', 0):.3f}, nDCG loss {item.get('ndcg_loss', 0):.4f}, "
        f"{item.get('milliseconds', 0):.2f} ms against {item.get('exact_milliseconds', 0):.2f})"
        for item in indexes
    }
    return " and ".join(sorted(kinds)) or "exact"


def _sparse_line(manifest: Manifest, encoder: SparseFingerprint) -> str:
    later = manifest.entries_without("sparse")
    missing = f"; {counted(later, 'later entry', 'later entries')} without" if later else ""
    return f"{encoder.name}, {encoder.dimension} components{missing}"


def _states_line(states: StatesFingerprint | None) -> str:
    if states is None:
        return "none; computed when first asked for"
    delimiters = f", with the delimiters {states.delimiters}" if states.delimiters else ""
    return (
        f"{states.dtype}, {counted(len(states.layers), 'layer')} of {states.model}, after a prefix of "
        f"{counted(len(states.prefix_ids), 'token')}{delimiters}"
    )
