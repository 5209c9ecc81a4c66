"""The server's log: one JSON object a line on standard error. Neither texts nor keys ever reach it."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Any

LOGGER = logging.getLogger("memgpt_rag.serving")


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object: time, level, event, and the fields that the event has."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            # Where it happened, without the message, which may quote a text.
            fields["error"] = record.exc_info[0].__name__
            fields["trace"] = _places(record.exc_info[2])
        return json.dumps(fields, default=str)  # ASCII: nothing in it controls a terminal


def log_event(event: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: Any) -> None:
    """Write an event with its fields to the log."""
    LOGGER.log(level, event, extra={"fields": fields}, exc_info=error)


def start_log(level: int = logging.INFO) -> None:
    """Write events, and what uvicorn reports, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("memgpt_rag.serving", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = ([handler] if name != "uvicorn.error" else []), name == "uvicorn.error"
        logger.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = True  # the gate logs requests, with their ids


def _places(trace: Any) -> list[str]:
    places = []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return places[-8:]
