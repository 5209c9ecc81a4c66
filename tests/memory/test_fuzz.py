"""The fuzzer of received memories runs, and finds nothing in its first ones; its own command runs for as long as asked."""

from __future__ import annotations

import json
import subprocess
import sys

from conftest import ROOT


def test_the_fuzzer_runs_and_finds_nothing():
    done = subprocess.run(
        [sys.executable, "tests/fuzz_memories.py", "--memories", "24"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout.splitlines()[-1])
    assert (shown["memories"], shown["findings"]) == (24, 0), done.stdout
