"""Values at every step and the time to contact: shapes, losses, and the errors of who does not look, by hand."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest
import torch

from snnlab.errors import InputError
from snnlab.questions.time_to_contact import BlindError, RelativeError, TimeToContact, weighted_median
from snnlab.questions.value_per_step import ValuePerStep

TARGETS = torch.tensor([[4.0, 2.0], [3.0, 1.0]])[..., None]  # [T=2, B=2, 1]


def test_values_are_read_and_judged_step_by_step() -> None:
    question, scores = ValuePerStep(), torch.rand(5, 2, 3)
    assert question.per_step and not question.has_classes
    assert torch.equal(question.scores(scores), scores) and torch.equal(question.scores_over_time(scores), scores)
    assert torch.equal(question.answer(scores), scores)
    assert question.loss(scores, torch.zeros(5, 2, 3)) == pytest.approx(float(scores.pow(2).mean()))
    assert ValuePerStep().verdict(TARGETS, TARGETS + 0.5, 1) == "at the end 1, answered 1.5"
    for wrong in (torch.zeros(5, 2), torch.zeros(5, 2, 2), torch.zeros(5, 2, 3, dtype=torch.long)):
        with pytest.raises(InputError, match="real values at every step are real numbers"):
            question.check(wrong, 3)


def test_the_loss_of_the_time_is_its_relative_error() -> None:
    scores = torch.tensor([[5.0, 2.0], [3.0, 0.5]])[..., None]
    by_hand = (0.25 + 0 + 0 + 0.5) / 4
    assert float(TimeToContact().loss(scores, TARGETS)) == pytest.approx(by_hand)
    metric = RelativeError()
    for sample in range(2):  # whatever the batches
        metric.update(scores[:, sample : sample + 1], TARGETS[:, sample : sample + 1])
    assert float(metric.compute()) == pytest.approx(by_hand)
    assert TimeToContact().monitor == ("val/relative_error", "min")
    assert TimeToContact().is_among((ValuePerStep,))


def test_the_best_constant_beats_every_other_constant() -> None:
    targets = torch.rand(7, 30, 1, generator=torch.Generator().manual_seed(0)) * 4 + 0.1
    metric = BlindError()
    for part in targets.split(10, dim=1):
        metric.update(targets, part)
    grid = torch.linspace(0.1, 4.1, 4001)[:, None]
    errors = ((grid - targets.reshape(1, -1)).abs() / targets.reshape(1, -1)).mean(1)
    assert float(metric.compute()) == pytest.approx(float(errors.min()), abs=1e-3)
    assert float(metric.compute()) <= float(errors.min()) + 1e-6


def test_a_clock_names_another_number_at_each_step() -> None:
    metric = BlindError(clock=True)
    metric.update(TARGETS, TARGETS)  # step 0: 4 and 2; step 1: 3 and 1; the smaller weighs more
    assert float(metric.compute()) == pytest.approx((0.5 + 0 + 2 / 3 + 0) / 4)
    assert float(constant_error(TARGETS)) >= float(metric.compute())


def constant_error(targets: torch.Tensor) -> torch.Tensor:
    metric = BlindError()
    metric.update(targets, targets)
    return metric.compute()


@pytest.mark.parametrize(
    ("values", "weights", "middle"),
    [([1.0, 2.0, 3.0], [1.0, 1.0, 1.0], 2.0), ([3.0, 1.0, 2.0], [9.0, 1.0, 1.0], 3.0), ([5.0], [2.0], 5.0)],
)
def test_the_weighted_median(values: list[float], weights: list[float], middle: float) -> None:
    assert float(weighted_median(torch.tensor(values), torch.tensor(weights))) == middle


@pytest.mark.parametrize("least", [0.0, -1.0])
def test_a_time_that_is_over_is_no_target(least: float) -> None:
    with pytest.raises(InputError, match="the time to contact at every step is above 0 s"):
        TimeToContact().check(torch.tensor([[[1.0]], [[least]]]), 1)


def test_the_picture_shows_both_over_time() -> None:
    figure = TimeToContact().pictures(lambda: iter([(TARGETS + 1, TARGETS)]), 1)["answers_over_time"]()
    right, named = figure.axes[0].lines
    assert right.get_ydata().tolist() == [4, 3] and named.get_ydata().tolist() == [5, 4]
    plt.close(figure)
