"""How a job reports what it does: progress bars, a log in JSON Lines, metrics for Prometheus, and rejects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import printable_json
from memgpt_rag.io.system_errors import at_path


@dataclass(frozen=True)
class Reject:
    """A record, or a file, that could not be read.

    Attributes:
        source: the file.
        position: where in it, such as "line 7"; empty for the whole file.
        reason: what was found and what was expected.
    """

    source: str
    position: str
    reason: str


class JobLog:
    """Where a job writes what happens; each file is optional. For use in a `with` block.

    Args:
        name: of the job.
        log: a line is added for each event, with its time.
        metrics: Prometheus's text format, replaced in one step whenever a number changes; for a textfile collector.
        rejects: a line for each record that could not be read; with it, such records do not stop the job.
        progress: show progress bars on a terminal.

    Raises:
        SourceError: a file that cannot be there.
    """

    def __init__(
        self,
        name: str,
        *,
        log: Path | None = None,
        metrics: Path | None = None,
        rejects: Path | None = None,
        progress: bool = False,
    ):
        self.name, self._metrics, self.shows_progress = name, metrics, progress
        for path in (log, metrics, rejects):
            if path is not None and (path.is_dir() or not path.parent.is_dir()):
                raise SourceError(f"{path} cannot be written: name a file in a folder that exists.")
        self._log = log.open("a", encoding="utf-8") if log else None
        self._rejects = rejects.open("w", encoding="utf-8") if rejects else None
        self.keeps_rejects = rejects is not None
        self.counts: dict[str, int] = {}

    def __enter__(self) -> JobLog:
        self.event("started")
        return self

    def event(self, event: str, **facts: Any) -> None:
        """Add a line to the log."""
        time = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        _add(self._log, {"time": time, "job": self.name, "event": event, **facts})

    def count(self, what: str, number: int = 1) -> None:
        """So many more of something, such as "entries_embedded"."""
        self.counts[what] = self.counts.get(what, 0) + number
        if self._metrics is not None:
            fresh = self._metrics.with_name(f"{self._metrics.name}.new")
            with at_path(fresh):
                fresh.write_text(self._text(), encoding="utf-8")
            fresh.replace(self._metrics)

    def reject(self, reject: Reject) -> None:
        """Add a record that could not be read to the rejects."""
        self.count("rejects")
        _add(self._rejects, vars(reject))

    def _text(self) -> str:
        lines = []
        for what, number in sorted(self.counts.items()):
            metric = f"memgpt_index_{what}_total"
            lines += [f"# TYPE {metric} counter", f'{metric}{{job="{self.name}"}} {number}']
        return "\n".join(lines) + "\n"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        facts = self.counts if error is None else {**self.counts, "error": str(error)}
        self.event("failed" if error is not None else "finished", **facts)
        for file in (self._log, self._rejects):
            if file is not None:
                file.close()


def _add(file: IO[str] | None, fields: dict[str, Any]) -> None:
    if file is not None:
        with at_path(file.name):
            file.write(printable_json(fields) + "\n")
            file.flush()
