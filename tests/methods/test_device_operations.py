"""What each method does to a device: nothing that has no deterministic form on a GPU, and few reads.

Every operation of a training, validation and test step is recorded, as each neuron's loop has it (``kernels=step``),
and held against the list in the docstring of ``torch.use_deterministic_algorithms``.
"""

from __future__ import annotations

import re
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from small_runs import FEW, METHODS, small_run
from snnlab.config.compose import compose
from snnlab.evaluate.ask import ask
from snnlab.runs import wiring


def always(_args: Any) -> bool:
    return True


def real(args: Any) -> bool:
    return bool(args[0].is_floating_point())


# operations of torch's list, by the words there, with the condition that it names
WITHOUT_FORM: dict[str, dict[str, Any]] = {
    "torch.nn.AvgPool3d": {"avg_pool3d_backward": always},
    "torch.nn.AdaptiveAvgPool2d": {"_adaptive_avg_pool2d_backward": always},
    "torch.nn.AdaptiveAvgPool3d": {"_adaptive_avg_pool3d_backward": always},
    "torch.nn.AdaptiveMaxPool2d": {"adaptive_max_pool2d_backward": always},
    "torch.nn.FractionalMaxPool2d": {"fractional_max_pool2d_backward": always},
    "torch.nn.FractionalMaxPool3d": {"fractional_max_pool3d_backward": always},
    "torch.nn.MaxUnpool1d": {"max_unpool2d": always},
    "torch.nn.MaxUnpool2d": {"max_unpool2d": always},
    "torch.nn.MaxUnpool3d": {"max_unpool3d": always},
    "torch.nn.functional.interpolate": {
        f"upsample_{kind}_backward": always for kind in ("linear1d", "bilinear2d", "bicubic2d", "trilinear3d")
    },
    "torch.nn.ReflectionPad1d": {"reflection_pad1d_backward": always},
    "torch.nn.ReflectionPad2d": {"reflection_pad2d_backward": always},
    "torch.nn.ReflectionPad3d": {"reflection_pad3d_backward": always},
    "torch.nn.NLLLoss": {"nll_loss2d_forward": always},  # that over pixels; over samples it does not raise
    "torch.nn.CTCLoss": {"_ctc_loss_backward": always, "_cudnn_ctc_loss": always},
    "torch.nn.EmbeddingBag": {"_embedding_bag_dense_backward": always},
    "torch.Tensor.put_": {"put_": always, "put": always},
    "torch.histc": {"histc": always},
    "torch.bincount": {"bincount": lambda args: len(args) > 1 and args[1] is not None},
    "torch.median": {"median": lambda args: len(args) > 1},
    "torch.nn.functional.grid_sample": {"grid_sampler_2d_backward": always, "grid_sampler_3d_backward": always},
    "torch.cumsum": {"cumsum": real, "cumsum_": real},
    "torch.Tensor.scatter_reduce": {
        name: (lambda args: "prod" in args) for name in ("scatter_reduce", "scatter_reduce_")
    },
    "torch.Tensor.resize_": {"resize_": lambda args: bool(args[0].is_quantized)},
}
CONDITIONS = {name: holds for named in WITHOUT_FORM.values() for name, holds in named.items()}
READS = ("_local_scalar_dense", "nonzero", "equal", "_unique2", "masked_select", "is_nonzero")

# reads of one training step that the rule needs, as many as there are, and why
NEEDED = {
    "vdsp": 10 * 4,  # who won a step decides which row of the weight is moved, sample by sample
    # inputs that are silent in the whole batch are left out; of the CPU alone, where all of this runs, are the reads of
    # rows without an error spike and of how many steps three filters have seen (test_second_device.py)
    "ssnn_bp": 1 + 2 + 3,
}


class Recorder(TorchDispatchMode):
    """Operations that have no deterministic form, and the reads."""

    def __init__(self) -> None:
        super().__init__()
        self.raising: set[str] = set()
        self.reads: list[str] = []
        self.counters: set[int] = set()  # where optimizers count their steps, on the CPU wherever the parameters lie

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if (condition := CONDITIONS.get(name)) is not None and condition((*args, *(kwargs or {}).values())):
            self.raising.add(name)
        masks = name.startswith("index") and any(
            isinstance(i, Tensor) and i.dtype == torch.bool
            for i in (args[1] if isinstance(args[1], list | tuple) else ())
        )
        if (name in READS and args[0].data_ptr() not in self.counters) or masks:
            self.reads.append(name)
        return func(*args, **(kwargs or {}))


class Record(L.Callback):
    """Every step is recorded; the reads are those of the second training step."""

    def __init__(self) -> None:
        self.mode = Recorder()
        self.reads: list[str] | None = None

    def begin(self, trainer: L.Trainer, *_: Any) -> None:
        states = [state for optimizer in trainer.optimizers for state in optimizer.state.values()]
        self.mode.counters = {s["step"].data_ptr() for s in states if isinstance(s.get("step"), Tensor)}
        self.mode.reads = []
        self.mode.__enter__()

    def end(self, *_: Any) -> None:
        self.mode.__exit__(None, None, None)

    on_validation_batch_start = on_test_batch_start = begin
    on_validation_batch_end = on_test_batch_end = end

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.begin(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.end()
        if batch_idx == 1:
            self.reads = list(self.mode.reads)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """As torch's, which reads the labels to check them on the CPU and not on a GPU."""
    return (labels.unsqueeze(-1) == torch.arange(classes, device=labels.device)).long()


def test_the_list_is_torchs() -> None:
    text = torch.use_deterministic_algorithms.__doc__ or ""
    raising = text[
        text.index("normally-nondeterministic operations will throw a") : text.index(
            "In addition, several operations fill"
        )
    ]
    found = set(re.findall(r"^        \* :\w+:`([\w.]+)`", raising, re.MULTILINE))
    assert found == set(WITHOUT_FORM)


@pytest.mark.parametrize("method", METHODS)
def test_steps_have_deterministic_forms_and_read_little(
    method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("snnlab.kernels", "snnlab.kernels.watch"):
        monkeypatch.setattr(f"{place}.read_freely", lambda device: False)
    monkeypatch.setattr(torch.nn.functional, "one_hot", one_hot)
    record, wire = Record(), wiring.wire

    def add(parts: Any, folder: Any, logger: Any = None, more: Any = (), **arguments: Any) -> Any:
        return wire(parts, folder, logger, [*more, record], **arguments)

    monkeypatch.setattr(wiring, "wire", add)
    wiring.run(compose(small_run(method)))
    assert not record.mode.raising
    assert record.reads is not None
    assert len(record.reads) <= NEEDED.get(method, 0), record.reads


@pytest.mark.parametrize("question", ["accuracy_over_time", "robustness", "spikes_over_time"])
def test_questions_have_deterministic_forms(question: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    folder = wiring.run(compose(["method=stbp", "data=digits", "model.hidden=[8]", *FEW])).folder
    with Recorder() as recorder:
        ask(folder, question)
    assert not recorder.raising
