"""Take a stored run elsewhere: ``python -m snnlab.export RUN [--format FORMAT] [--verify LIBRARIES]``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from snnlab.command import CONFIG_DIR, config_dir_of, parse, run, set_up_logging
from snnlab.errors import InputError, RunFailure, nearest, plain
from snnlab.version import __version__

FORMATS = ("nir", "numpy", "torchscript", "onnx")
HELP = """usage: python -m snnlab.export RUN [--format nir|numpy|torchscript|onnx] [KEY=VALUE ...]
       python -m snnlab.export --from FILE.nir             what is in a graph, and how it is trained

Writes the network of the stored run in the folder RUN, its weights as they are used, into RUN/exports/<date>/.
  RUN         a run's folder; outputs/latest is the run below outputs that was started last
  --format    nir (the usual): a graph that other simulators read (docs/export.md)
              numpy: the whole numbers of the run's hardware=..., with a README of the layout
              torchscript: for torch alone, for sequences of the data's length
              onnx: the same for onnxruntime, which runs the test samples here, compared bin by bin
  --verify norse,snntorch   run test samples through these libraries, compare spikes bin by bin
  --samples N  of the test split, for --verify, torchscript and onnx; 100
  --out DIR   another folder, which is made
  KEY=VALUE   changes the stored config, e.g. hardware=int8, encoder.time_steps=20
  --config-dir DIR    one more folder of configs, for methods and data of your own
  --debug     show tracebacks
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line of ``python -m snnlab.export`` and return its exit code."""
    return run("snnlab.export", export, arguments, interrupted="interrupted; what is there is not whole")


def export(arguments: list[str]) -> int:
    """Write what the command line asks for.

    Raises:
        InputError: a run that is none, a layer without an exact form, a library that is not there.
        RunFailure: where a library's spikes differ.
    """
    line = parse(arguments, ("-h --help",), (CONFIG_DIR, "-f --format", "--verify", "--samples", "-o --out", "--from"))
    if "help" in line.flags or not (line.words or "from" in line.values):
        print(HELP, end="")
        return 0 if "help" in line.flags else 2
    if "from" in line.values:
        if line.words or line.overrides:
            raise InputError(f"--from: {(line.words + line.overrides)[0]!r} is of no use beside a graph")
        return show(line.values["from"])
    if len(line.words) > 1:
        raise InputError(f"{line.words[1]!r} cannot be read as key=value; export one run at a time")
    form = line.values.get("format", "nir")
    if form not in FORMATS:
        raise InputError(f"--format {form}: there is no such format; nearest: {nearest(form, FORMATS)}")
    if "verify" in line.values and form != "nir":
        raise InputError(f"--verify reads graphs: use --format nir, not {form}")
    from snnlab.checkpoint import check_links
    from snnlab.export.verify import chosen
    from snnlab.runs.record import RunRecord, make_folder
    from snnlab.runs.stored import load_parts, open_run

    set_up_logging()
    samples = count_of(line.values.get("samples", "100"))
    libraries = chosen(line.values.get("verify", ""))
    record = RunRecord.read(line.words[0])
    stored = record.folder
    check_links(stored)
    seen = bool(libraries) or form in ("torchscript", "onnx")
    folder = config_dir_of(line)
    parts = (open_run if seen else load_parts)(stored, line.overrides, folder)
    if parts.method.needs_data and not seen:
        parts = open_run(stored, line.overrides, folder)
    method, spec = parts.method.eval(), parts.data.spec
    time_step, told = spec.time_step, ""
    if time_step is None:
        from snnlab.export.nir_graph import TIME_STEP

        time_step, told = TIME_STEP, f"time step    {TIME_STEP:g} s, as {spec.name} has none of its own"
    frames: Any = test_frames(parts, samples) if seen else None
    content = prepared(form, parts, time_step, frames, stored)
    output = out_of(line.values.get("out")) or make_folder(stored / "exports", f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
    report = content.write(output)
    report["overrides"], report["time_step"] = list(line.overrides), time_step
    for text in (*content.lines, *([told] if told else [])):
        print(plain(text))
    failed = report.get("verify", {}).get("mismatches", 0)
    if libraries:
        from snnlab.export.verify import verify

        verdict = verify(output / "network.nir", method.network, frames, libraries)
        print("\n".join(map(plain, verdict.lines())))
        report["verify"], failed = verdict.as_dict(), verdict.mismatches
    from snnlab.atomic import write_text

    write_text(output / "export.json", json.dumps(report, indent=2) + "\n")
    print(f"record       {output / 'export.json'}")
    if failed:
        raise RunFailure(f"{failed:,} bins differ; the table says where, docs/export.md whose rule it may be")
    return 0


def count_of(text: str) -> int:
    """The number of ``--samples``."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 100_000 and len(text) < 9):
        raise InputError(f"--samples {text} must be a whole number from 1 to 100,000; 100 is usual")
    return int(text)


def out_of(text: str | None) -> Path | None:
    """The folder of ``--out``, made."""
    if text is None:
        return None
    folder = Path(text).expanduser()
    if folder.exists():
        raise InputError(f"--out {folder} is there already; name a folder that is not")
    folder.mkdir(parents=True)
    return folder


def test_frames(parts: Any, samples: int) -> Any:
    """The first test samples as the network sees them, [T, B, ...], drawn with the run's seed."""
    import torch
    from lightning import seed_everything

    splits = parts.data.splits
    seed_everything(parts.config["seed"], verbose=False)
    with torch.no_grad():
        return parts.method.frames(splits.test.batch(range(min(samples, len(splits.test))))).float()


class Content:
    """Files on their way into a folder, and what is said of them."""

    def __init__(self, files: dict[str, Any], lines: list[str], report: dict[str, Any]) -> None:
        self.files, self.lines, self.report = files, lines, report

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the files; return what goes into export.json."""
        from snnlab.atomic import write_bytes

        for name, content in self.files.items():
            write_bytes(folder / name, content)
            self.lines.insert(0, f"wrote        {folder / name}, {len(content):,} bytes")
        return self.report


def prepared(form: str, parts: Any, time_step: float, frames: Any, run: Path) -> Content:
    """Make the files of a format; nothing is written yet."""
    import io

    method, target = parts.method, parts.target
    hardware = "none" if target is None else target.name
    report: dict[str, Any] = {"format": form, "hardware": hardware}
    if form == "torchscript":
        from snnlab.export.torchscript import to_torchscript

        content, shape = to_torchscript(method.network, frames), list(frames.shape)
        lines = [f"torchscript  frames {shape} -> outputs, equal to the network's to the bit; other batch sizes too"]
        return Content({"network.pt": content}, lines, {**report, "frames": shape})
    if form == "onnx":
        from snnlab.export.onnx_graph import to_onnx

        content, verdict = to_onnx(method.network, frames)
        found = {"layers": verdict.neurons, "mismatches": verdict.mismatches, "outputs": verdict.outputs}
        lines = [f"onnx         frames {list(frames.shape)} -> outputs, spikes/LAYER; other batch sizes too"]
        return Content({"network.onnx": content}, [*lines, *verdict.lines()], {**report, "verify": found})
    if form == "numpy":
        import numpy as np

        from snnlab.export.integers import README, integers

        arrays, lines = integers(method.network, target)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        readme = README.format(
            target=hardware,
            run=run.name,
            lines="\n".join(f"- {text}" for text in lines),
            time_step=time_step,
        )
        files = {"network.npz": buffer.getvalue(), "README.md": readme.encode()}
        weights = sum(array.size for key, array in arrays.items() if key.endswith("/levels"))
        return Content(files, [f"integers     {weights:,} weights of {hardware}", *lines], report)
    import nir

    from snnlab.export.nir_graph import to_nir

    whole = target is not None and target.whole_numbers
    about = {"made_by": f"snnlab {__version__}", "run": run.name, "hardware": hardware}
    graph, notes = to_nir(method.network, parts.data.spec.input_shape, time_step, whole, about)
    buffer = io.BytesIO()
    nir.write(buffer, graph)
    weights = sum(node.weight.size for node in graph.nodes.values() if hasattr(node, "weight"))
    lines = [f"graph        {len(graph.nodes)} nodes, {len(graph.edges)} edges, {weights:,} weights ({hardware})"]
    lines += [f"note         {text}" for text in notes]
    return Content({"network.nir": buffer.getvalue()}, lines, {**report, "weights": weights, "notes": notes})


def show(path: str) -> int:
    """Print what a graph holds, and the line that trains it."""
    from snnlab.models.nir import lines

    print("\n".join(map(plain, lines(path))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
