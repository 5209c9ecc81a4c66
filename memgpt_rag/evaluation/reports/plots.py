"""Line and bar plots as inline SVG; the page's theme sets their colors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from memgpt_rag.io.printable import printable

_WIDTH, _HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 14, 44
_COLORS = 6  # number of the page's color classes, c0 to c5
_DASHES = ("none", "7 4", "2 3")  # tell lines apart if there are more lines than colors, or no colors


def _shown(text: str) -> str:
    return escape(printable(text))


def line_plot(title: str, lines: Mapping[str, Mapping[int, float]], x_label: str, y_label: str) -> str:
    """Draw lines over a logarithmic axis of integers, with values from 0 to 1.

    Args:
        lines: name → x → y.
    """
    xs = sorted({x for line in lines.values() for x in line})
    low, high = math.log(xs[0]), math.log(xs[-1])

    def place(x: int, y: float) -> tuple[float, float]:
        along = (math.log(x) - low) / (high - low) if high > low else 0.5
        return _LEFT + along * (_WIDTH - _LEFT - _RIGHT), _TOP + (1 - y) * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for step in range(6):
        _, y = place(xs[0], step / 5)
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{step / 5:.1f}</text>')
    shown = -math.inf
    for x in xs:
        (at, _), room = place(x, 0), 12 + 3.5 * len(str(x))
        if at - room >= shown:
            shown = at + 3.5 * len(str(x))
            parts.append(f'<text x="{at:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{x}</text>')
    for number, (name, line) in enumerate(lines.items()):
        points = [place(x, y) for x, y in sorted(line.items())]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dash = _DASHES[(number + number // _COLORS) % len(_DASHES)]
        coordinates = "; ".join(f"{x}: {y:.3f}" for x, y in sorted(line.items()))
        parts.append(
            f'<g class="c{number % _COLORS}"><title>{_shown(name)} — {coordinates}</title>'
            f'<polyline class="curve" stroke-dasharray="{dash}" points="{path}"/>'
            + "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)
            + "</g>"
        )
    parts.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{_shown(x_label)}</text>'
        f'<text transform="translate(13 {(_TOP + _HEIGHT - _BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">{_shown(y_label)}</text>'
    )
    return _figure(title, "".join(parts), _HEIGHT) + _legend(list(lines))


def bar_plot(title: str, bars: Mapping[str, float], unit: str) -> str:
    """Draw a horizontal bar for each name, from 0.

    Args:
        bars: name → non-negative value.
    """
    longest, height = max(bars.values()) or 1.0, 34
    parts = []
    for number, (name, value) in enumerate(bars.items()):
        top, width = number * 2 * height * 0.75 + 4, value / longest * (_WIDTH - 130)
        parts.append(
            f'<text x="0" y="{top + 12:.0f}">{_shown(name)}</text>'
            f'<g class="c{number % _COLORS}"><rect x="0" y="{top + 18:.0f}" width="{width:.1f}" height="16" rx="2"/></g>'
            f'<text x="{width + 8:.1f}" y="{top + 31:.0f}">{value:,.1f} {_shown(unit)}</text>'
        )
    return _figure(title, "".join(parts), round(len(bars) * 2 * height * 0.75 + 8))


def _figure(title: str, inside: str, height: int) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{_shown(title)}">'
        f"<title>{_shown(title)}</title>{inside}</svg>"
    )


def _legend(names: Sequence[str]) -> str:
    keys = "".join(
        f'<li class="c{number % _COLORS}"><span>{_shown(name)}</span></li>' for number, name in enumerate(names)
    )
    return f'<ul class="legend">{keys}</ul>'
