"""data.sequence=rows: the order of rows and colours, the spec, and runs that need no further flag."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from snnlab.callbacks.figures import first_samples, input_figure
from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.data.__main__ import main
from snnlab.data.augmentation import ImageAugmentation
from snnlab.data.contract import Batch
from snnlab.data.images.cifar10 import CIFAR10
from snnlab.data.images.digits import Digits
from snnlab.data.images.mnist import MNIST
from snnlab.data.images.module import RowsDataset, rows
from snnlab.data.loader import with_loader
from snnlab.errors import InputError
from snnlab.questions.class_of_sequence import ClassOfSequence


def test_step_t_is_row_t() -> None:
    images = torch.arange(2 * 3 * 4 * 5).float().reshape(2, 3, 4, 5)
    sequence = rows(images)
    assert sequence.shape == (4, 2, 15)
    for t in range(4):
        for sample in range(2):
            for colour in range(3):
                assert torch.equal(sequence[t, sample, 5 * colour : 5 * colour + 5], images[sample, colour, t])


def test_the_spec_has_a_time_axis() -> None:
    spec = with_loader(MNIST, "x", "x", sequence="rows").spec
    assert (spec.name, spec.kind, spec.input_shape, spec.time_steps) == ("mnist", "sequence", (28,), 28)
    assert spec.signal_shape == spec.prototype_shape == (1, 28, 28)
    assert with_loader(CIFAR10, "x", "x", sequence="rows").spec.input_shape == (96,)
    assert with_loader(MNIST, "x", "x").spec.kind == "image"
    with pytest.raises(InputError, match=r"^data\.sequence = columns: choose one of none, rows"):
        with_loader(Digits, "x", "x", sequence="columns")


def test_rows_are_the_images() -> None:
    still, data = with_loader(Digits, "x", "x"), with_loader(Digits, "x", "x", sequence="rows")
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        image, sequence = (next(iter(getattr(d, loader)())) for d in (still, data))
        assert torch.equal(sequence.inputs[:, :, :].permute(1, 0, 2), image.inputs[:, 0])  # [B, H, W]
        assert torch.equal(sequence.signals, image.inputs)
        assert torch.equal(sequence.labels, image.labels)
    assert data.provenance == still.provenance
    assert isinstance(data.splits.test, RowsDataset)
    sample, label = data.splits.test[3]
    assert torch.equal(sample, still.splits.test[3][0][0])
    assert label == still.splits.test[3][1]
    assert data.images().spec == still.spec  # what a judge of natural images trains on
    assert torch.equal(data.images().splits.val.images, still.splits.val.images)
    assert torch.equal(data.prototypes(), still.prototypes())


def test_augmented_rows_are_the_rows_of_the_augmented_images() -> None:
    data = with_loader(Digits, "x", "x", sequence="rows", augmentation=ImageAugmentation(1, cutout=2))
    data.setup()
    batch = data.splits.train.batch(range(30))
    shown = data.augmented(batch)
    assert not torch.equal(shown.signals, batch.signals)
    assert torch.equal(shown.inputs, rows(shown.signals))


def test_pictures_of_a_sequence_take_samples_not_steps() -> None:
    batch = Batch(torch.rand(8, 20, 8), torch.arange(20) % 10, torch.rand(20, 1, 8, 8))
    few = first_samples(batch, 5, ClassOfSequence())
    assert torch.equal(few.inputs, batch.inputs[:, :5])
    assert len(few.labels) == 5
    assert input_figure(few.inputs, few.labels, ClassOfSequence()) is not None


def test_show_draws_the_images(tmp_path: Path) -> None:
    out = tmp_path / "rows.png"
    assert main(["show", "digits", "sequence=rows", "--out", str(out)]) == 0
    assert out.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("data", ["digits", "mnist", "cifar10"])  # one with a recipe of its name, one with colours
@pytest.mark.parametrize(
    ("method", "model"),
    [("stbp", "recurrent_mlp"), ("stbp", "mlp"), ("vdib", "mlp"), ("bntt", "mlp"), ("ottt", "mlp")],
)
def test_rows_compose_and_build_without_another_flag(method, model, data, empty_data) -> None:
    parts = build(compose([f"method={method}", f"data={data}", "data.sequence=rows", f"model={model}"]).config)
    assert parts.method.encoder is None
    assert not parts.method.spiking_input  # analog rows are no spikes: the first layer's operations do not count
    assert parts.data.spec.kind == "sequence"


def test_an_encoder_for_rows_is_refused_and_still_images_keep_theirs(empty_data) -> None:
    with pytest.raises(InputError, match=r"encoder=rate encodes still images, .* use encoder=none"):
        build(compose(["method=stbp", "data=mnist", "data.sequence=rows", "encoder=rate"]).config)
    assert compose(["method=stbp", "data=mnist"]).choices["encoder"] == "rate"
    rows_of_mnist = compose(["method=stbp", "data=mnist", "data.sequence=rows"])
    assert rows_of_mnist.choices["model"] == "recurrent_mlp"  # the recipe "sequence", not the one of still images
    assert compose(["method=stbp", "data=mnist", "data.sequence=none"]).choices["encoder"] == "rate"
    with pytest.raises(InputError, match=r"use model=mlp"):
        build(compose(["method=stbp", "data=mnist", "data.sequence=rows", "model=small_conv"]).config)
    with pytest.raises(InputError, match=r"data\.sequence = columns: choose one of none, rows"):
        compose(["method=stbp", "data=mnist", "data.sequence=columns"])


def test_a_run_over_rows(run_command) -> None:
    """Trains, tests and draws: two epochs on a few batches of the bundled digits."""
    code, out, error = run_command(
        "method=stbp",
        "data=digits",
        "data.sequence=rows",
        "model=recurrent_mlp",
        "model.hidden=[32]",
        "logger=none",
        "data.augmentation.crop_padding=1",
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=4",
        "trainer.accelerator=cpu",
    )
    assert code == 0, error
    assert "could not be drawn" not in error + out
    (figures,) = Path("outputs").rglob("figures")
    assert {"input.png", "spikes.png", "confusion_matrix.png"} <= {path.name for path in figures.iterdir()}
