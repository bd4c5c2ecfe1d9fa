"""Noise and FGSM: direction of the attack by hand, curves of stored runs, refusals."""

import pytest
import torch

from snnlab.data.contract import Batch, DataSpec
from snnlab.data.encoders import SignedPoisson
from snnlab.errors import InputError
from snnlab.evaluate.ask import ask
from snnlab.evaluate.robustness import ascent
from snnlab.methods.bntt import BNTT
from snnlab.models.mlp import MLP

SHORT = ["noise=[0,0.6]", "fgsm=[0,0.15]", "samples=120"]


def test_the_attack_on_a_linear_readout_is_the_sign_of_its_weights():
    torch.manual_seed(0)
    spec = DataSpec("pictures", "image", (1, 2, 3), 2)
    method = BNTT(MLP([]), spec, SignedPoisson(6), torch.optim.SGD).eval()
    direction = ascent(method, Batch(torch.rand(2, 1, 2, 3), torch.tensor([0, 1])))
    W = method.network.layers["readout_weight"].weight  # [2, 6]
    away = (W[1] - W[0]).view(1, 2, 3).sign()  # of class 0; with two classes the sign is that of the difference
    assert torch.equal(direction.sign(), torch.stack([away, -away]))


def test_both_disturbances_hurt_and_size_zero_does_not(bntt_run):
    content, figures = ask(bntt_run, "robustness", SHORT)
    values = content["values"]
    assert values["samples"] == 120 and set(figures) == {"robustness"}
    for kind in ("noise", "fgsm"):
        clean, hurt = values[f"accuracy_{kind}"]
        assert clean > 0.8 and hurt < clean - 0.1
    again = ask(bntt_run, "robustness", SHORT)[0]["values"]
    assert again == values


def test_a_second_run_is_drawn_beside_the_first_on_the_same_images(bntt_run, stbp_run, norm_free_run):
    alone = ask(bntt_run, "robustness", SHORT)[0]["values"]
    content, figures = ask(bntt_run, "robustness", [*SHORT, f"against={stbp_run}"])
    values = content["values"]
    assert {k: v for k, v in values.items() if not k.startswith("against/")} == alone
    assert values["against/accuracy_noise"] != values["accuracy_noise"]
    legend = figures["robustness"].axes[1].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["BNTT", "STBP"]
    _, figures = ask(bntt_run, "robustness", [*SHORT, f"against={norm_free_run}"])
    legend = figures["robustness"].axes[1].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["BNTT", f"BNTT {norm_free_run.name}"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["noise=[-0.1]"], "noise = .* must be 0 or more, in units of the pixel"),
        (["samples=0"], "samples = 0 must be at least 1"),
        (["against=nowhere"], "nowhere"),
        (["encoder=latency", "encoder.time_steps=8"], "FGSM through encoder=latency is not defined"),
    ],
)
def test_what_cannot_be_asked_is_named(bntt_run, options, words):
    with pytest.raises(InputError, match=words):
        ask(bntt_run, "robustness", options)
