"""Config in, built parts out: every part is made, and what cannot work is refused before any data is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from snnlab.config import schema
from snnlab.config.parts import instantiate_part
from snnlab.config.paths import conf_dir
from snnlab.errors import InputError, one_line


@dataclass
class Parts:
    """Everything a run is made of, built and checked, with no data read yet."""

    data: Any  # DataModule
    method: Any  # Method
    initializer: Any
    config: dict[str, Any]


def build(config: DictConfig) -> Parts:
    """Make data module, encoder, model, method and optimizer from a composed config; nothing is read.

    Raises:
        InputError: when a value is wrong or the parts do not fit.
    """
    import lightning as L
    import torch

    from snnlab import kernels
    from snnlab.methods.base.method import UnansweredError

    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    check_values(plain)  # type: ignore[arg-type]
    chosen = plain.get("kernels", "auto")
    path = kernels.Path(chosen)
    L.seed_everything(plain["seed"], verbose=False)
    data = instantiate_part("data", plain["data"])
    encoder = instantiate_part("encoder", plain["encoder"]) if "_target_" in plain["encoder"] else None
    model = instantiate_part("model", plain["model"])
    initializer = instantiate_part("init", plain["init"])
    try:
        with kernels.using(path):
            method = instantiate_part("method", plain["method"], model=model, data=data.spec, encoder=encoder)
    except UnansweredError as error:
        raise InputError(f"{error}; {_way_out(data.spec.question)}") from error
    method.network.kernels = path
    check_trainer(plain["trainer"])
    method.check_trainer(plain["trainer"])
    try:
        method.configure_optimizers()
    except (ValueError, TypeError) as error:
        names = [f"method.{key}" for key in plain["method"] if str(key).endswith("optimizer")]
        raise InputError(f"{', '.join(names)}: {one_line(error)}") from error
    if not method.trains and data.spec.sizes.get("val") == 0:
        raise InputError(
            "data.val_size = 0 leaves nothing to choose and check this method on; data.val_size=5000 is usual"
        )
    if method.trains:
        with torch.no_grad():
            frames = torch.zeros(1, 1, *data.spec.input_shape)
            initializer(method.network, frames)
    method.check_weights()  # an initialiser may limit them, too
    return Parts(data, method, initializer, plain)  # type: ignore[arg-type]


def check_values(config: Mapping[str, Any]) -> None:
    """Check what no part of the run reads: the keys of the house's own and the Trainer's.

    Raises:
        InputError: when a value has the wrong type, or a key of the Trainer does not exist.
    """
    import lightning as L

    schema.check_plain(config)
    schema.check_arguments("trainer", config["trainer"], L.Trainer)


def _way_out(question: Any) -> str:
    """Which methods of this house answer what a data set asks, by the names of their configs."""
    from hydra.utils import get_object

    configs = {path.stem: OmegaConf.load(path) for path in sorted((conf_dir() / "method").glob("*.yaml"))}
    targets = {name: get_object(OmegaConf.select(node, "_target_")) for name, node in configs.items()}
    found = [name for name, target in targets.items() if question.is_among(target.answers)]
    if not found:
        return f"no method here does; one that does has {type(question).__name__} in its answers"
    return f"choose method={' or '.join(found)}"


def check_trainer(trainer: Mapping[str, Any]) -> None:
    """Refuse what Lightning takes and a recorded run cannot: it has whole, validated epochs on one device.

    Raises:
        InputError: naming the argument and what would do instead.
    """
    epochs = trainer["max_epochs"]
    if epochs is None or epochs < 1:
        raise InputError(f"trainer.max_epochs = {epochs} must be at least 1; dry_run=true looks without training")
    for name in ("limit_train_batches", "limit_val_batches", "limit_test_batches"):
        if trainer[name] is not None and trainer[name] <= 0:
            raise InputError(f"trainer.{name} = {trainer[name]} leaves nothing to work on; null takes all batches")
    if trainer["accumulate_grad_batches"] < 1:
        raise InputError(f"trainer.accumulate_grad_batches = {trainer['accumulate_grad_batches']} must be at least 1")
    refused = {
        "max_steps": (-1, "use trainer.max_epochs and trainer.limit_train_batches"),
        "fast_dev_run": (False, "use dry_run=true, or trainer.max_epochs=1 with trainer.limit_train_batches=2"),
        "overfit_batches": (0.0, "use trainer.limit_train_batches"),
        "val_check_interval": (None, "each epoch is validated once, at its end"),
        "enable_checkpointing": (None, "the test is scored with a checkpoint"),
        "barebones": (False, "a run is recorded"),
        "num_nodes": (1, "a run uses one device; sweeps spread over machines"),
    }
    for name, (only, instead) in refused.items():
        if trainer[name] not in (only, True if name == "enable_checkpointing" else only):
            raise InputError(f"trainer.{name} = {trainer[name]} is not for a recorded run: {instead}")
    if trainer["devices"] not in (1, "1"):
        raise InputError(f"trainer.devices = {trainer['devices']}: a run uses one device; sweeps spread over machines")
