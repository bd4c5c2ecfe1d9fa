"""Operations that raise on a GPU where ``trainer.deterministic=true`` asks for deterministic ones.

They are those of the list in the docstring of ``torch.use_deterministic_algorithms``, by the words there.
"""

from __future__ import annotations

from typing import Any


def always(_args: Any) -> bool:
    return True


def real(args: Any) -> bool:
    return bool(args[0].is_floating_point())


# the operations behind each, with the condition that it names
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


def raises(name: str, args: Any, kwargs: Any) -> bool:
    """Whether the operation ``name`` of aten has no deterministic form for these arguments."""
    condition = CONDITIONS.get(name)
    return condition is not None and bool(condition((*args, *kwargs.values())))
