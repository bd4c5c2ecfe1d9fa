"""Questions: sizes of targets, reading of scores over time, answers, metrics and pictures, by hand."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.data.contract import Batch, DataSpec
from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.methods.base.method import UnansweredError
from snnlab.methods.base.own_steps import OwnSteps
from snnlab.methods.stbp import STBP
from snnlab.models.mlp import MLP
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import LIF
from snnlab.questions.class_at_end import ClassAtEnd
from snnlab.questions.class_of_sequence import ClassOfSequence
from snnlab.questions.class_per_step import ClassPerStep
from snnlab.questions.question import Monitor, Question
from snnlab.questions.value_at_end import ValueAtEnd

HOUSE = [ClassOfSequence(), ClassAtEnd(3), ClassPerStep(), ValueAtEnd(3)]
TARGETS = {  # of 4 samples, 5 steps, K = 3
    ClassOfSequence: torch.tensor([0, 2, 1, 1]),
    ClassAtEnd: torch.tensor([0, 2, 1, 1]),
    ClassPerStep: torch.arange(20).view(5, 4) % 3,
    ValueAtEnd: torch.arange(12.0).view(4, 3),
}


@pytest.mark.parametrize("question", HOUSE, ids=lambda q: type(q).__name__)
def test_a_question_knows_its_targets(question: Question) -> None:
    targets = TARGETS[type(question)]
    question.check(targets, 3)
    assert question.size(targets) == 4 and question.size(question.first(targets, 3)) == 3
    steps = torch.tensor([0, 1, 2, 3, 4, 0, 1])
    longer = question.resized(targets, steps)
    assert question.size(longer) == 4
    assert torch.equal(longer, targets[steps] if question.per_step else targets)
    for other in set(TARGETS) - {type(question)}:
        if TARGETS[other].shape != targets.shape:
            with pytest.raises(InputError, match=question.sentence):
                question.check(TARGETS[other], 3)


def test_captions_say_the_target() -> None:
    assert [ClassAtEnd().caption(TARGETS[ClassAtEnd], i) for i in (0, 1)] == ["class 0", "class 2"]
    assert ValueAtEnd().caption(torch.tensor([[0.5, 2.0]]), 0) == "0.5, 2"
    assert ClassPerStep().caption(TARGETS[ClassPerStep], 0) == ""


@pytest.mark.parametrize(("question", "read"), [(ClassOfSequence(), 5), (ClassAtEnd(3), 3), (ValueAtEnd(1), 1)])
def test_scores_are_the_mean_of_the_steps_on_which_an_answer_is_read(question: Question, read: int) -> None:
    outputs = torch.rand(5, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(question.scores(outputs), outputs[5 - read :].mean(0))
    over_time = question.scores_over_time(outputs)
    by_hand = torch.stack([outputs[max(0, t - read) : t].mean(0) for t in range(1, 6)])
    torch.testing.assert_close(over_time, by_hand)


def test_every_step_is_read_where_every_step_has_a_class() -> None:
    outputs = torch.rand(5, 2, 3)
    assert torch.equal(ClassPerStep().scores(outputs), outputs)
    assert torch.equal(ClassPerStep().scores_over_time(outputs), outputs)


def test_answers_and_losses() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.2], [2.0, 0.0, 1.0]])
    assert ClassOfSequence().answer(scores).tolist() == [1, 0]
    assert torch.equal(ValueAtEnd().answer(scores), scores)
    labels = torch.tensor([1, 2])
    expected = nn.functional.cross_entropy(scores, labels)
    assert ClassAtEnd().loss(scores, labels) == expected
    assert ClassPerStep().loss(scores.expand(5, 2, 3), labels.expand(5, 2)) == pytest.approx(float(expected))
    assert ValueAtEnd().loss(scores, torch.zeros(2, 3)) == pytest.approx(float(scores.pow(2).mean()))


@pytest.mark.parametrize("question", HOUSE[:3], ids=lambda q: type(q).__name__)
def test_accuracy_is_the_share_of_right_targets(question: Question) -> None:
    targets = TARGETS[type(question)]
    scores = nn.functional.one_hot(targets, 3).float()
    scores[-1] = 1 - scores[-1]  # the last sample, or step, is wrong
    (accuracy,) = question.metrics(3).values()
    accuracy.update(scores, targets)
    assert float(accuracy.compute()) == pytest.approx(1 - 1 / len(targets))
    assert question.monitor == ("val/accuracy", "max") and question.has_classes


def test_values_are_judged_by_their_loss() -> None:
    assert ValueAtEnd().metrics(3) == {} and ValueAtEnd().monitor == ("val/loss", "min")
    assert not ValueAtEnd().has_classes


def test_a_confusion_matrix_where_a_sample_has_one_of_several_classes() -> None:
    answered = [(torch.tensor([0, 1]), torch.tensor([0, 1])), (torch.tensor([2, 2]), torch.tensor([2, 1]))]
    for question in (ClassOfSequence(), ClassAtEnd()):
        figure = question.pictures(lambda: iter(answered), 3)["confusion_matrix"]()
        axis = figure.axes[0]
        assert axis.images[0].get_array().tolist() == [[1, 0, 0], [0, 0.5, 0.5], [0, 0, 1]]
        assert question.pictures(lambda: iter(answered), 1) == {}
        plt.close(figure)
    assert "confusion_matrix" not in ClassPerStep().pictures(lambda: iter(answered), 3)


def test_questions_of_the_house_are_nobodys_subclass() -> None:
    for question in HOUSE:
        assert [other for other in TARGETS if question.is_among((other,))] == [type(question)]


@pytest.mark.parametrize("kind", [ClassAtEnd, ValueAtEnd])
def test_an_answer_is_read_on_at_least_one_step(kind: type) -> None:
    with pytest.raises(ValueError, match="answer_steps = 0 must be at least 1"):
        kind(0)


# a question of another kind: no classes and no targets, judged by an energy ------------------------------------------
class Energy(Question):
    """Which spins have the lowest energy? Targets [B, 0]: nothing is known; scores [B, K] are the spins."""

    sentence = "spins of low energy"
    monitor: Monitor = ("val/energy", "min")

    def check(self, targets: Tensor, outputs: int) -> None:
        if targets.shape[1:] != (0,):
            raise InputError(f"targets {list(targets.shape)}: {self.sentence} have none")

    def metrics(self, outputs: int) -> dict[str, Metric]:
        class MeanEnergy(MeanMetric):
            def update(self, scores: Tensor, targets: Tensor) -> None:
                super().update(-(scores[:, 1:] * scores[:, :-1]).sum(-1))

        return {"energy": MeanEnergy()}


class Sampler(OwnSteps):
    """Answers the question above, with the readout as it is."""

    answers = (Energy,)

    def blocks(self) -> Blocks:
        return Blocks(LIF, Integrator)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        return scores.new_zeros(())

    def training_step(self, batch: Batch, batch_idx: int) -> None: ...


SPINS = DataSpec("ring", "task", (4,), classes=3, time_steps=2, question=Energy())


def make(kind: type, data: DataSpec) -> object:
    return kind(MLP([]), data, None, torch.optim.SGD)


def test_the_contract_holds_for_an_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    method: Sampler = make(Sampler, SPINS)  # type: ignore[assignment]
    assert method.monitor == ("val/energy", "min")
    logged = {}
    monkeypatch.setattr(Sampler, "log", lambda self, name, value, **options: logged.update({name: (value, options)}))
    method.log_scores("val", torch.tensor([[1.0, 1, 1], [1, -1, 1]]), torch.empty(2, 0), torch.tensor(0.0))
    assert set(logged) == {"val/loss", "val/energy"}
    assert float(logged["val/energy"][0].compute()) == 0  # -2 and 2
    assert logged["val/energy"][1]["prog_bar"] and not logged["val/loss"][1]["prog_bar"]
    with pytest.raises(InputError, match="spins of low energy have none"):
        method.log_scores("test", torch.ones(2, 3), torch.zeros(2), torch.tensor(0.0))
    with pytest.raises(InputError, match="Energy has no usual loss"):
        Energy().loss(torch.ones(2, 3), torch.empty(2, 0))


def test_who_does_not_answer_refuses_in_one_line() -> None:
    with pytest.raises(UnansweredError) as refusal:
        make(STBP, SPINS)
    expected = "asks for spins of low energy, and this method answers with a class of the whole sequence"
    others = "a class at the end or real values at the end or real values at every step"
    assert str(refusal.value) == f"data=ring {expected} or {others}"


def test_a_question_that_no_method_of_the_house_answers_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from snnlab.data.tasks.adding import Adding

    monkeypatch.setattr(Adding, "spec", property(lambda self: SPINS))
    with pytest.raises(
        InputError, match=r"asks for spins of low energy.*; no method here does; .* Energy in its answers"
    ):
        build(compose(["method=stbp", "data=adding"]).config)
