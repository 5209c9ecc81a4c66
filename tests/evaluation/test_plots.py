"""Plots say what their numbers say: places and lengths, read back from the SVG."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from memgpt_rag.evaluation.reports.plots import bar_plot, line_plot


def parsed(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(re.search(r"<svg.*</svg>", html, re.DOTALL)[0])


def curves(html: str) -> list[list[tuple[float, float]]]:
    found = [line.get("points").split() for line in parsed(html).iter("polyline")]
    return [[tuple(map(float, point.split(","))) for point in points] for points in found]


def test_a_line_rises_as_its_values_do_over_an_axis_of_logarithms():
    (line,) = curves(line_plot("Recall", {"one": {1: 0.0, 10: 0.5, 100: 1.0}}, "k", "recall"))
    (left, bottom), (middle, half), (right, top) = line
    assert bottom > half > top, "SVG counts downwards"
    assert half == pytest.approx((bottom + top) / 2, abs=0.1)
    assert middle == pytest.approx((left + right) / 2, abs=0.1), "1, 10 and 100 are as far apart"


def test_a_line_of_one_point_and_many_lines_are_drawn_inside_the_frame():
    lines = {f"system {number}": {1: number / 10, 5: 1.0} for number in range(9)}
    for html, count in ((line_plot("one", {"one": {1: 0.3}}, "k", "r"), 1), (line_plot("many", lines, "k", "r"), 9)):
        width, height = map(float, parsed(html).get("viewBox").split()[2:])
        found = curves(html)
        assert len(found) == count
        assert all(0 <= x <= width and 0 <= y <= height for line in found for x, y in line)
    looks = [
        (line.get("stroke-dasharray"), group.get("class"))
        for group in parsed(html).iter("g")
        for line in group.iter("polyline")
    ]
    assert len(set(looks)) == 9, "no two lines look alike"


def test_bars_are_as_long_as_their_values():
    svg = parsed(bar_plot("Speed", {"fast": 200.0, "slow": 50.0, "still": 0.0}, "queries/s"))
    fast, slow, still = (float(bar.get("width")) for bar in svg.iter("rect"))
    assert fast == pytest.approx(4 * slow, rel=0.01)
    assert still == 0
    assert {"200.0 queries/s", "50.0 queries/s", "fast"} <= {text.text for text in svg.iter("text")}
    assert float(next(parsed(bar_plot("Nothing", {"still": 0.0}, "q")).iter("rect")).get("width")) == 0


def test_names_cannot_become_elements():
    for html in (line_plot("<b>", {"<i>&": {1: 1.0}}, "<u>", '"'), bar_plot('"<b>', {"<i>&": 1.0}, "<u>")):
        assert not {"b", "i", "u"} & {element.tag for element in parsed(html).iter()}
        assert not re.search(r"<[biu]>", html)
