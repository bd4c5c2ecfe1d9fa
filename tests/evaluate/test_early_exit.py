"""The exit step from gammas, and its choice on validation data."""

import pytest
import torch

from snnlab.errors import InputError
from snnlab.evaluate.ask import ask
from snnlab.evaluate.early_exit import choose, exit_step, fewest_steps, threshold_grid

#                          1    2    3    4    5    6    7    8
GAMMAS = torch.tensor([[0.05, 0.4, 0.9, 0.6, 0.3, 0.09, 0.08, 0.02], [0.3, 0.8, 0.7, 0.5, 0.4, 0.2, 0.07, 0.03]])


@pytest.mark.parametrize(("threshold", "step"), [(0.1, 7), (0.25, 6), (0.45, 5), (0.65, 4), (2.0, 4), (0.02, None)])
def test_the_exit_is_the_first_step_past_the_peak_below_the_threshold_in_every_layer(threshold, step):
    assert exit_step(GAMMAS, threshold) == step


def test_a_gamma_that_still_rises_allows_no_exit():
    rising = torch.linspace(0, 1, 8)[None]
    assert exit_step(rising, 2.0) is None and threshold_grid(rising, 10) == []
    assert choose(rising, torch.ones(8), 0.3, 10) == (None, 8)


def test_the_threshold_with_the_fewest_steps_within_the_tolerance_is_chosen():
    accuracy = torch.tensor([0.1, 0.5, 0.8, 0.9, 0.94, 0.949, 0.951, 0.95])
    threshold, step = choose(GAMMAS, accuracy, 0.3, 100)
    assert step == 6 and exit_step(GAMMAS, threshold) == 6 and 0.2 < threshold < 0.4  # 0.1 points lost
    assert choose(GAMMAS, accuracy, 1.0, 100)[1] == 5
    assert choose(GAMMAS, accuracy, 100.0, 100)[1] == 4  # never before the peak
    assert choose(GAMMAS, accuracy, 0.0, 100)[1] == 7  # better than all eight
    assert fewest_steps(accuracy, 0.3) == 6 and fewest_steps(accuracy, 1.0) == 5 and fewest_steps(accuracy, 0.0) == 7
    assert {exit_step(GAMMAS, t) for t in threshold_grid(GAMMAS, 100)} == {4, 5, 6, 7, 8}


def test_a_bntt_run_answers(bntt_run):
    content, figures = ask(bntt_run, "early_exit", ["tolerance=100", "thresholds=50"])
    values = content["values"]
    assert len(values["accuracy"]) == len(values["gamma"]["norm1"]) == 8
    assert 1 <= values["exit_step"] <= 8 and values["steps_saved"] == 8 - values["exit_step"]
    assert values["accuracy_at_exit"] == values["accuracy"][values["exit_step"] - 1]
    assert values["accuracy_at_end"] == values["accuracy"][-1] > 0.85
    assert values["test_drop"] == pytest.approx(100 * (values["accuracy_at_end"] - values["accuracy_at_exit"]))
    assert values["spikes_at_exit"] <= values["spikes_at_end"]
    assert values["exit_step_at_0.1"] == "does not fire"
    assert set(figures) == {"early_exit"} and 1 <= values["step_without_gamma"] <= values["exit_step"]
    strict, _ = ask(bntt_run, "early_exit", ["tolerance=0"])
    assert strict["values"]["exit_step"] >= values["exit_step"] and strict["values"]["validation_drop"] <= 1e-6


def test_fewer_steps_than_the_run_was_trained_for_are_fine_and_more_are_refused(bntt_run):
    content, _ = ask(bntt_run, "early_exit", ["encoder.time_steps=5"])
    assert len(content["values"]["accuracy"]) == 5
    with pytest.raises(InputError, match="trained for 8 time steps and has no statistics for 9"):
        ask(bntt_run, "early_exit", ["encoder.time_steps=9"])


def test_runs_without_gamma_and_bad_options_are_refused(stbp_run, norm_free_run, bntt_run):
    for folder, name in ((stbp_run, "STBP"), (norm_free_run, "BNTT")):
        with pytest.raises(InputError, match=f"{name} here has no gamma of each time step to exit by"):
            ask(folder, "early_exit")
    with pytest.raises(InputError, match="tolerance = -1 must be 0 percentage points or more"):
        ask(bntt_run, "early_exit", ["tolerance=-1"])
    with pytest.raises(InputError, match="thresholds = 0 must be at least 1"):
        ask(bntt_run, "early_exit", ["thresholds=0"])
