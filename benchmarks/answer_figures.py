"""What is reported of answers: means per mode, differences to the prompts with their intervals, and a table of them."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from memgpt_rag.evaluation.metrics.significance import interval

# Prompts, and how many entries stand in each.
PASTED = {"prompt-1": 1, "prompt-2": 2, "prompt-4": 4}
FIGURES = ("nll", "em", "f1", "contains")


def summarise(rows: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Means, and paired differences to the prompts with their intervals; times as medians and median paired ratios."""
    summary: dict[str, Any] = {}
    means = {
        mode: {figure: statistics.fmean(row[figure] for row in per_mode) for figure in FIGURES}
        for mode, per_mode in rows.items()
    }
    prompts = [mode for mode in rows if mode in PASTED]
    best = {
        figure: (min if figure == "nll" else max)(prompts, key=lambda prompt, figure=figure: means[prompt][figure])
        for figure in FIGURES
    }
    for mode, per_mode in rows.items():
        entry: dict[str, Any] = {figure: round(mean, 4) for figure, mean in means[mode].items()}
        if cites := [row["cites"] for row in per_mode if "cites" in row]:
            entry["cites"] = round(statistics.fmean(cites), 4)
        entry["first_token_seconds"] = round(statistics.median(row["first_token"] for row in per_mode), 4)
        for name, others in (("best prompt", best), *((prompt, dict.fromkeys(FIGURES, prompt)) for prompt in prompts)):
            entry[f"against {name}"] = {
                figure: [
                    round(number, 4)
                    for number in interval(
                        [
                            mine[figure] - theirs[figure]
                            for mine, theirs in zip(per_mode, rows[others[figure]], strict=True)
                        ]
                    )
                ]
                for figure in FIGURES
            }
        ratios = sorted(
            theirs["first_token"] / mine["first_token"] for mine, theirs in zip(per_mode, rows["prompt-4"], strict=True)
        )
        entry["sooner than prompt-4"] = [round(ratios[int(len(ratios) * part)], 2) for part in (0.5, 0.1, 0.9)]
        summary[mode] = entry
    return summary


def print_table(name: str, result: dict[str, Any]) -> None:
    found = ", ".join(f"{share:.3f} {where}" for where, share in result["passage found"].items())
    print(f"\n{name}: {result['questions']} questions; passage with the answer found {found}")
    print(
        f"{'mode':<18}{'NLL':>7}{'EM':>7}{'F1':>7}{'has it':>8}{'cites':>7}{'first token':>13}{'sooner':>8}"
        "   against the best prompt: NLL, EM, F1 (95 %)"
    )
    for mode, entry in result["modes"].items():
        versus = [
            "{:+.3f} [{:+.3f}, {:+.3f}]".format(*entry["against best prompt"][figure]) for figure in ("nll", "em", "f1")
        ]
        cites = f"{entry['cites']:.0%}" if "cites" in entry else ""
        print(
            f"{mode:<18}{entry['nll']:>7.3f}{entry['em']:>7.1%}{entry['f1']:>7.1%}{entry['contains']:>8.1%}{cites:>7}"
            f"{entry['first_token_seconds'] * 1000:>10.0f} ms{entry['sooner than prompt-4'][0]:>7.1f}×   {'  '.join(versus)}",
            flush=True,
        )
