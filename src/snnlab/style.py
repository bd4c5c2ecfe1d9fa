"""How every picture looks: colours that colour-blind people tell apart (Okabe, Ito), letters of 7 points at least.

Light to import; matplotlib is loaded by the functions that need it.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

INK, MUTED, PALE = "#1b1b1f", "#6b7280", "#d4d4d8"
BLUE, RED, GREEN, PINK, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
CYCLE = (BLUE, RED, GREEN, PINK, ORANGE, SKY)
TRAIN, VALIDATION = BLUE, RED
ON, OFF = RED, BLUE  # events: brighter, darker
RIGHT, WRONG = GREEN, RED
SHARES = "Blues"  # a share of 0 is white
SMALL = 7  # points; nothing is smaller
MOST_UNITS, MOST_STEPS = 64, 400  # of a raster
STYLE: Any = {
    "figure.dpi": 130,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "image.cmap": SHARES,
    "axes.prop_cycle": f"cycler('color', {list(CYCLE)})",
}


@contextmanager
def own_backend() -> Iterator[None]:
    """Draw without a window for a while, then with what was there: a notebook goes on to show its pictures.

    Figures that were made meanwhile are closed for pyplot; who holds one may still save it.
    """
    import matplotlib

    before = matplotlib.get_backend(auto_select=False) or matplotlib.rcParamsOrig["backend"]  # to be found when needed
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawn = plt.get_fignums()
    try:
        yield
    finally:
        for number in set(plt.get_fignums()).difference(drawn):
            plt.close(number)
        matplotlib.rcParams["backend"] = before  # a backend that is loaded only now looks whether it was chosen
        with suppress(ImportError):  # of a window, where there is no screen
            plt.switch_backend(before)


def heading(figure: Any, text: str, note: str = "") -> None:
    """Write ``text`` and, in lines of its own, a ``note`` above a figure, broken where its width ends."""
    width = max(int(figure.get_figwidth() * 72 / 4.4), 20)  # letters of 8.5 points
    lines = [line for part in (text, note) if part for line in textwrap.wrap(part, width)]
    figure.suptitle(literal("\n".join(lines)), fontsize=8.5, x=0.01, ha="left", color=INK)


def drawn(figure: Any, form: str = "png") -> memoryview:
    """The bytes of a figure's file, which is then written whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form)
    return buffer.getbuffer()


def broken(text: str, width: int, lines: int = 2) -> str:
    """``text`` in at most so many lines of so many letters; what is left of it is an ellipsis."""
    return literal("\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" …"))) if text else ""


def literal(text: str) -> str:
    """A text in which matplotlib sees no formula: names come from files, and a $ in one is a $."""
    return text.replace("$", r"\$")


def events() -> Any:
    """The colours of more OFF than ON events (blue) over none (white) to more ON (red)."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("events", [OFF, "#ffffff", ON])


def frame(axis: Any, picture: Any, lowest: float | None = None, highest: float | None = None) -> None:
    """Draw a tensor [C, H, W]: grey, the darker the more, between two values or its own; RGB; ON against OFF events."""
    import numpy as np

    pixels = picture.float().cpu().numpy()
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    if pixels.shape[0] == 2:
        limit = max(float(np.abs(pixels[1] - pixels[0]).max()), 1e-6)
        axis.imshow(pixels[1] - pixels[0], cmap=events(), vmin=-limit, vmax=limit, interpolation="nearest")
    elif pixels.shape[0] == 3:
        axis.imshow(np.clip(pixels.transpose(1, 2, 0), 0, 1), interpolation="nearest")
    else:
        axis.imshow(pixels[0], cmap="Greys", vmin=lowest, vmax=highest, interpolation="nearest")


def polarity_legend(figure: Any) -> None:
    """What the two colours of events mean, below a figure."""
    from matplotlib.patches import Patch

    patches = [Patch(color=ON, label="ON: brighter"), Patch(color=OFF, label="OFF: darker")]
    figure.legend(handles=patches, loc="outside lower right", ncols=2, fontsize=SMALL, frameon=False)


def whole_numbers(axis: Any) -> None:
    """Let an axis (``axes.xaxis``) count in whole numbers, as units and epochs do."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))


def prefixed(axis: Any, unit: str) -> None:
    """Let an axis (``axes.xaxis``) of an energy count in nJ or uJ in place of 1e-9; one of another unit is left."""
    if unit.startswith("J"):
        from matplotlib.ticker import EngFormatter

        axis.set_major_formatter(EngFormatter(unit))


def raster(axes: Any, spikes: Any, most: int = MOST_UNITS) -> str:
    """Draw spikes [T, N], legible at any size, and say what is shown: ``64 of 412 that fire, of 2,048``.

    Of many units some are drawn, evenly spread over those that fire; of many steps some are drawn as one, the darker
    the more spikes are in them.
    """
    import numpy as np

    values = spikes.float().cpu().numpy()
    steps, units = values.shape
    firing = np.flatnonzero(values.any(0)) if units > most else np.arange(units)
    choice = firing if len(firing) else np.arange(units)
    shown = choice[np.unique(np.linspace(0, len(choice) - 1, min(len(choice), most)).round().astype(int))]
    drawn = values[:, shown]
    if steps > MOST_STEPS:
        starts = np.unique(np.linspace(0, steps - 1, MOST_STEPS).astype(int))
        drawn = np.maximum.reduceat(drawn, starts) if drawn.mean() < 0.02 else np.add.reduceat(drawn, starts)
    axes.imshow(
        drawn.T,
        aspect="auto",
        origin="lower",
        cmap="Greys",
        vmin=0,
        vmax=max(float(drawn.max(initial=0)), 1e-9),
        extent=(-0.5, steps - 0.5, -0.5, len(shown) - 0.5),
        interpolation="nearest",
    )
    ticks = np.unique(np.linspace(0, len(shown) - 1, min(len(shown), 4)).round().astype(int))
    axes.set_yticks(ticks, [str(shown[tick]) for tick in ticks])
    whole_numbers(axes.xaxis)
    if len(shown) == units:
        return f"{units:,} units"
    if len(firing) in (0, units):
        return f"{len(shown)} of {units:,} units"
    return f"{len(shown)} of {len(firing):,} that fire, of {units:,}"
