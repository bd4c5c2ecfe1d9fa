"""Folders of runs that nobody has run: hand-written run.json files, curves and pictures."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

EVIL = '<script>window.evil = 1</script><img src=x onerror="window.evil = 1">" \' & \u202e {{ 7 * 7 }}'


def config(seed: int = 0, **method: Any) -> dict[str, Any]:
    return {
        "seed": seed,
        "method": {"_target_": "snnlab.methods.stbp.STBP", "optimizer": {"_target_": "torch.optim.Adam"}, **method},
        "data": {"_target_": "snnlab.data.images.digits.Digits", "seed": seed, "batch_size": 50},
        "model": {"_target_": "snnlab.models.mlp.MLP", "hidden": [8]},
        "trainer": {"max_epochs": 3},
        "paths": {"data": "/home/somebody/secret place/data", "output": "/home/somebody/outputs"},
    }


def write(folder: Path, seed: int = 0, accuracy: float = 0.5, content: dict | None = None, **more: Any) -> Path:
    """One run; ``more`` replaces parts of its record."""
    folder.mkdir(parents=True)
    record = {
        "schema": 1,
        "status": "completed",
        "method": "stbp",
        "model": "mlp",
        "data": "digits",
        "encoder": "none",
        "hardware": "none",
        "seed": seed,
        "config": content or config(seed),
        "overrides": ["method=stbp", f"seed={seed}", "paths.output=/home/somebody/outputs"],
        "provenance": {"source": "bundled", "altered": False, "subset": False, "hash": "ab" * 32},
        "metrics": {
            "train": {"loss": 0.3},
            "val": {"accuracy": accuracy - 0.01, "loss": 0.4},
            "test": {"accuracy": accuracy, "loss": 0.4, "spikes_per_inference": 12300.0, "energy_joule": 4.84e-8},
        },
        "timing": {"fit_seconds": 12.5, "samples_per_second": 100.0, "epochs": 3},
        "versions": {"python": "3.11.7", "snnlab": "0.1.0"},
        "machine": {"device": "cpu", "cpu": "a CPU", "cores": 2, "threads": 1},
        "started": f"2026-11-28T10:00:{seed:02d}",
    }
    (folder / "run.json").write_text(json.dumps(record | more))
    return folder


def curves(folder: Path, start: float) -> None:
    lines = [f"{epoch},{1 / (epoch + 1)},{0.9 / (epoch + 1)},{start + 0.1 * epoch}" for epoch in range(3)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,train/loss,val/loss,val/accuracy", *lines]) + "\n")


def picture(path: Path, width: int = 3, height: int = 2) -> None:
    """A grey PNG; one that says it is larger than it is has no more bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = zlib.compress((b"\0" + b"\x80" * min(width, 3)) * min(height, 2))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def site_of_runs(root: Path) -> Path:
    """Two tables: two recipes of two seeds with curves and a picture; a run on a chip, and one with evil texts."""
    for decay, start in ((0.2, 0.5), (0.4, 0.6)):
        for seed in (0, 1):
            folder = write(root / "decays" / f"d{decay}_{seed}", seed, start + 0.01 * seed, config(seed, decay=decay))
            curves(folder, start - 0.2)
            picture(folder / "figures" / "confusion_matrix.png")
    need = {"layer": "conv3", "what": "neurons", "need": 70000, "limit": 65536, "fits": False, "instead": "64 fit"}
    fit = {
        "target": "speck2f",
        "fits": False,
        "needs": [need, need | {"need": 10, "fits": True}],
        "cores": {"conv3": 2},
    }
    films = {"source": "simulated", "altered": False, "subset": True, "hash": "cd" * 32, "notes": [EVIL]}
    write(root / "other" / "chip", hardware="speck2f", fit_report=fit, data="mnist_dvs", provenance=films)
    write(root / "other" / EVIL.replace("/", "_")[:60], 3, status=EVIL, label=EVIL, method=EVIL, reason=EVIL)
    return root
