"""The expected calibration error, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from memgpt_rag.evaluation.metrics.calibration import calibration_error


def test_the_error_is_the_mean_distance_of_what_is_said_and_what_is_true():
    assert calibration_error([0.75, 0.75, 0.75, 0.75], [True, True, True, False]) == pytest.approx(0)
    # Two bins: .95 said and .5 true, .15 said and 0 true; 2 and 1 of 3 cases.
    assert calibration_error([0.95, 0.95, 0.15], [True, False, False]) == pytest.approx((2 * 0.45 + 0.15) / 3)
    assert calibration_error([1.0], [True]) == 0


def test_nothing_to_compare_is_refused():
    with pytest.raises(ValueError, match="0 probabilities and 0 labels"):
        calibration_error([], [])
    with pytest.raises(ValueError, match="1 probabilities and 2 labels; expected as many, and at least one"):
        calibration_error([0.5], [True, False])
