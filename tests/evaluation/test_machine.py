"""What a report tells of the process and the machine."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from memgpt_rag.evaluation.machine import machine, packages


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux forgets a peak")
def test_the_peak_grows_with_what_is_taken_and_is_forgotten():
    # In a process of its own: this one gives back what other tests took at any time.
    code = """
import numpy as np
from memgpt_rag.evaluation.machine import forget_peak, peak_bytes
forget_peak()
before = peak_bytes()
taken = np.ones(300_000_000, np.uint8)
high = peak_bytes()
assert high > before + 250e6
del taken
assert peak_bytes() > high - 10e6, "a peak stays"
forget_peak()
assert peak_bytes() < high - 250e6
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_machine_and_packages_are_named_in_plain_values():
    shown = machine()
    assert shown["processor"]
    assert shown["memory_bytes"] > 1e8
    assert shown["python"] == sys.version.split()[0]
    assert packages()["numpy"] == np.__version__
    assert "no-such-package" not in packages()
