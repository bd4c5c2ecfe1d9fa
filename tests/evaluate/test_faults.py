"""The question faults: nothing moves at p = 0, more breaks more, NaN is wrong, and what has no place is said."""

import pytest
import torch

from snnlab.errors import InputError
from snnlab.evaluate.analysis import Stored
from snnlab.evaluate.ask import ask
from snnlab.evaluate.faults import RATES, Scorer, broken, interval
from snnlab.runs.stored import open_run

SHORT = ["samples=60", "repetitions=2", "rates=[0,0.3]", "seconds=[1,1.0e+8]", "sigmas=[0,1]"]


def opened(folder):
    parts = open_run(folder)
    return Stored(parts.method.eval(), parts.data, parts.config, str(folder), None, None)


def logits(run, kind=None, point=0.0):
    scorer = Scorer(run, "val", 40)
    if kind is None:
        return torch.cat([scores for scores, _ in scorer.scores()])
    with broken(run, kind, point, (0.05, 0.5), torch.Generator().manual_seed(0)) as break_batch:
        return torch.cat([scores for scores, _ in scorer.scores(break_batch)])


def test_where_nothing_breaks_every_logit_is_the_same_to_the_bit(stbp_run, bntt_run):
    for run in (opened(stbp_run), opened(bntt_run)):
        whole = logits(run)
        for kind in (*RATES, "read_noise", "drift"):
            assert torch.equal(logits(run, kind, 1.0 if kind == "drift" else 0.0), whole), kind
            assert not torch.equal(logits(run, kind, 1e6 if kind == "drift" else 0.5), whole), kind
        assert torch.equal(logits(run), whole)


def test_more_breaks_more_and_the_same_seed_breaks_the_same(stbp_run):
    content, figures = ask(stbp_run, "faults", SHORT)
    values = content["values"]
    assert values["samples"] == 60 and values["split"] == "val" and set(figures) == {"faults"}
    for kind in (*RATES, "drift", "read_noise"):
        whole, hurt = values[f"{kind} accuracy"]
        assert whole == values["accuracy"] and hurt < whole
        for low, mean, high in zip(*(values[f"{kind} {end}"] for end in ("low", "accuracy", "high")), strict=True):
            assert 0 <= low <= mean <= high <= 1
    assert [len(axis.lines) for axis in figures["faults"].axes] == [5, 2, 2]  # a line each, and the whole run's
    assert ask(stbp_run, "faults", SHORT)[0]["values"] == values


def test_scores_that_are_not_finite_are_wrong_answers(stbp_run):
    run = opened(stbp_run)
    scorer = Scorer(run, "val", 40)
    assert scorer.accuracy() > 0.2
    run.method.scores = lambda frames: torch.full((frames.shape[1], 10), torch.nan)
    assert scorer.accuracy() == 0
    with torch.no_grad():
        run.method.network.layers["readout_weight"].weight.fill_(torch.nan)
    del run.method.scores
    assert scorer.accuracy() <= 1


def test_what_has_no_place_in_the_run_is_said(tmp_path_factory, stbp_run):
    content, figures = ask(stbp_run, "faults", ["encoder=direct", "encoder.time_steps=8", "kinds=[event_loss]"])
    assert content["values"]["without event_loss"] == "the network's input is numbers, and no events"
    assert not figures


def test_the_interval_is_students():
    mean, low, high = interval([0.5, 0.6, 0.7])
    assert mean == pytest.approx(0.6) and high - mean == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-6)
    assert mean - low == pytest.approx(high - mean) and interval([0.4]) == (0.4, 0.4, 0.4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["rates=[1.5]"], "rates = .* are probabilities"),
        (["seconds=[0]"], "seconds = .* must be at least 1"),
        (["kinds=[nix]"], r"faults.kinds = .*choose some of \[bit_flips, .*read_noise"),
        (["kinds=[]"], r"kinds = \[\] leaves nothing"),
        (["rates=[]"], r"rates = \[\] leaves nothing"),
        (["exponent=100"], r"exponent = 100 must lie in \(0, 10\)"),
        (["exponent_spread=-1"], r"exponent_spread = -1 must lie in \[0, 10\)"),
        (["seconds=[1e-4]"], r"seconds = \[0.0001\] must be at least 1"),
        (["sigmas=[-1]"], "sigmas = .* must be 0 or more"),
        (["repetitions=1"], "repetitions = 1 must be at least 2"),
        (["samples=0"], "samples = 0 must be at least 1"),
        (["exponent=0"], "exponent = 0"),
        (["kinds=[rust]"], "kinds"),
        (["split=train"], "split"),
    ],
)
def test_what_cannot_be_asked_is_named(stbp_run, options, words):
    with pytest.raises(InputError, match=words):
        ask(stbp_run, "faults", options)
