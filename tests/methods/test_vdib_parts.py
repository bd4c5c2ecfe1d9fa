"""Decoders, feedback weights and the judge of VDIB."""

from __future__ import annotations

import logging

import pytest
import torch

from snnlab.data.contract import DataModule
from snnlab.data.encoders import Latency
from snnlab.data.images.digits import Digits
from snnlab.data.loader import with_loader
from snnlab.errors import InputError
from snnlab.methods.vdib import decoders, judge
from snnlab.methods.vdib.feedback import HiddenCredit


@pytest.mark.parametrize("kind", decoders.KINDS)
@pytest.mark.parametrize(("window", "n_out"), [(30, 16), (5, 10), (1, 1), (8, 7)])
def test_decoders_shape_and_count(kind: decoders.DecoderKind, window: int, n_out: int) -> None:
    decoder = decoders.make_decoder(kind, window, n_out, 12)
    assert decoder(torch.rand(3, window, n_out)).shape == (3, 12)
    assert decoder(torch.rand(4, 2, 3, window, n_out)).shape == (4, 2, 3, 12)
    parameters = sum(p.numel() for p in decoder.parameters())
    assert decoders.memory_bytes(kind, window, n_out, 12) == 16 * parameters


def test_rate_decoder_does_not_hear_timing() -> None:
    y = (torch.rand(2, 10, 4) < 0.3).float()
    rate, logistic = (decoders.make_decoder(kind, 10, 4, 6) for kind in ("rate", "logistic"))
    shuffled = y[:, torch.randperm(10)]
    torch.testing.assert_close(rate(y), rate(shuffled))
    assert not torch.allclose(logistic(y), logistic(shuffled))


def test_windows_end_at_their_step() -> None:
    y = torch.arange(1.0, 5).view(4, 1, 1)  # [T, B, N]
    assert decoders.windows(y, 3)[:, 0, :, 0].tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert decoders.windows(torch.zeros(6, 4, 2, 5), 3).shape == (6, 4, 2, 3, 5)


def test_the_papers_mlp_on_mnist_dvs_is_refused() -> None:
    assert decoders.memory_bytes("mlp", 200, 256, 784) == pytest.approx(16 * 1.33e9, rel=0.01)
    assert decoders.memory_bytes("mlp", 80, 256, 784) == pytest.approx(16 * 218e6, rel=0.01)
    with pytest.raises(InputError, match=r"over 200 steps of 256 neurons.* needs 21\.\d GB.*the limit is 8\.0 GB"):
        decoders.check_memory("mlp", 200, 256, 784, None, 8_000_000_000)


def test_time_encoding() -> None:
    """Unit test 7: index T - round(x (T - 1)); pixel 1 at index 1, dark pixels silent, index 0 never used."""
    steps = 30
    x = torch.linspace(0, 1, 256).view(1, 1, 16, 16)
    spikes = Latency(steps)(x).flatten(1)  # [T, 256]
    rounded = (x.flatten() * (steps - 1)).round()
    assert spikes.sum(0).tolist() == (rounded > 0).float().tolist()
    lit = rounded > 0
    assert spikes.argmax(0)[lit].tolist() == (steps - rounded[lit]).long().tolist()
    assert spikes[:, -1].argmax() == 1
    assert spikes[0].sum() == 0


@pytest.mark.parametrize("mode", ["dfa", "fa", "drtp"])
def test_feedback_modes(mode: str) -> None:
    torch.manual_seed(0)
    sizes = [(4,), (2, 3)]
    feedback = HiddenCredit(mode, sizes, outputs=5, classes=3, lags=4)  # type: ignore[arg-type]
    credit, lag0 = torch.randn(7, 2, 5), torch.randn(5, 6)
    boxes = [torch.ones(7, 2, 4), (torch.rand(7, 2, 2, 3) < 0.5).float()]
    labels = torch.tensor([2, 0])
    first, last = feedback(credit, lag0, boxes, labels)
    assert first.shape == (7, 2, 4)
    assert last.shape == (7, 2, 2, 3)
    expected_last = credit @ (feedback.weight(1) if mode == "dfa" else lag0)
    torch.testing.assert_close(last.flatten(2), expected_last)
    expected_first = {
        "dfa": lambda: credit @ feedback.weight(0),
        "fa": lambda: (last * boxes[1]).flatten(2) @ feedback.weight(0),
        "drtp": lambda: (feedback.weight(0)[labels] / 14).expand(7, 2, 4),
    }[mode]()
    torch.testing.assert_close(first, expected_first)
    assert not list(feedback.parameters())  # fixed


def test_feedback_from_first_weights_reaches_back_over_the_lags() -> None:
    """g[t] = sum over m of e[t + m] B[m], by hand; credit of steps that never come is nothing."""
    torch.manual_seed(0)
    feedback = HiddenCredit("initial", [(4,), (2, 3)], outputs=5, classes=3, lags=3)
    path = [torch.randn(3, 5, 4), torch.randn(3, 5, 2, 3)]
    feedback.take(path)
    credit = torch.randn(7, 2, 5)
    found = feedback(credit, torch.randn(5, 6), [], torch.tensor([2, 0]))
    for weights, grads in zip(path, found, strict=True):
        expected = torch.zeros_like(grads)
        for t in range(7):
            for lag in range(min(3, 7 - t)):
                expected[t] += torch.einsum("bk,k...->b...", credit[t + lag], weights[lag])
        torch.testing.assert_close(grads, expected)
    assert not list(feedback.parameters())
    assert {"weight0", "weight1"} <= set(feedback.state_dict())  # a run that goes on finds them


def test_judge_reads_any_size() -> None:
    lenet = judge.LeNet(1, 10)
    for size in (8, 28, 32):
        assert lenet(torch.rand(2, 1, size, size)).shape == (2, 10)
    padded = judge.to_32(torch.ones(1, 1, 28, 28))
    assert padded[0, 0, :2].sum() == 0
    assert padded.sum() == 28 * 28


def test_judge_is_trained_once_and_the_same_each_time(tmp_path, monkeypatch, caplog) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("snnlab"), "propagate", True)
    caplog.set_level(logging.INFO, "snnlab")
    monkeypatch.setattr(judge, "MOST_EPOCHS", 6)
    data: DataModule = with_loader(Digits, root=tmp_path, cache=tmp_path / "cache", seed=5)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first = judge.load_judge(data)
    told = list(dict.fromkeys(record.getMessage() for record in caplog.records))
    assert len(told) == 2 and "the judge is trained first, a classifier of digits" in told[0]  # it takes a while
    assert torch.equal(before, torch.random.get_rng_state())  # cached or not, a run sees the same random numbers
    path = judge.judge_path(data)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache"]  # no log, no checkpoint
    assert data.splits is not None
    test = data.splits.test.batch(range(300))
    right = (first(test.inputs).argmax(1) == test.labels).float().mean()
    assert right > 0.9
    stored = path.stat().st_mtime_ns
    again = judge.load_judge(data)
    assert path.stat().st_mtime_ns == stored
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    other = path.with_name("another data set.pt")
    torch.save({"of": other.name, "weights": judge.LeNet(1, 10).state_dict()}, path)
    assert judge._stored(data, path) is None
    path.write_bytes(b"broken")
    mended = judge.load_judge(with_loader(Digits, root=tmp_path, cache=tmp_path / "cache", seed=9, batch_size=7))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), mended.parameters(), strict=True))


def test_a_judge_that_cannot_be_kept_judges(tmp_path, monkeypatch, caplog, full_disk) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(judge, "train_judge", lambda images: judge.LeNet(1, 10))
    data: DataModule = with_loader(Digits, root=tmp_path, cache=tmp_path / "cache")
    data.setup()
    with full_disk():
        assert judge.load_judge(data)(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    assert "the disk is full; free some space" in caplog.text
    assert not any(path.is_file() for path in (tmp_path / "cache").rglob("*"))
