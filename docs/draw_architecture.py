"""Draw docs/architecture.svg from docs/rooms.yaml and the imports that the code has.

    python docs/draw_architecture.py

A box is a room, at the place that rooms.yaml gives it; an arrow points to a room that it imports, as measured. Arrows
that another path of arrows implies are left out, so that the order can be seen.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "src" / "snnlab"


def rooms() -> dict[str, dict]:
    """Every room by name: its floor, what it holds in a line, and the rooms that it may know."""
    return yaml.safe_load((HERE / "rooms.yaml").read_text())


def room_of(path: Path) -> str:
    """The room of a file: its folder below snnlab, or its own name where it lies at the top or is a room by itself."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return "/".join(parts) if "/".join(parts) in rooms() else parts[0]


def imports(path: Path) -> set[str]:
    """The modules of snnlab that a file names in its imports, those inside functions and for types included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "snnlab":
            found |= {f"snnlab.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name for name in found if name.startswith("snnlab.")}


def measured() -> dict[str, set[str]]:
    """The rooms that each room imports."""
    arrows: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        room = room_of(path)
        arrows.setdefault(room, set()).update(name.split(".")[1] for name in imports(path))
    return {room: others - {room} for room, others in arrows.items()}


def shortest(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """The arrows that no longer way implies."""

    def reach(start: str, seen: frozenset[str] = frozenset()) -> set[str]:
        found: set[str] = set()
        for other in arrows.get(start, set()) - seen:
            found |= {other} | reach(other, seen | {start})
        return found

    return {
        room: {o for o in others if not any(o in reach(p) for p in others - {o})} for room, others in arrows.items()
    }


def boxes() -> dict[str, dict]:
    """The rooms that have a box."""
    return {name: room for name, room in rooms().items() if "at" in room}


def arrows_text() -> str:
    """The arrows of the picture in words; the picture carries them, so that a test can tell whether it is old."""
    drawn = shortest({n: others & boxes().keys() for n, others in measured().items() if n in boxes()})
    return "; ".join(f"{name} to {', '.join(sorted(others))}" for name, others in sorted(drawn.items()) if others)


def colour(name: str) -> str:
    floor = boxes()[name]["at"][1]
    return "#f6dedb" if floor == 8 else "#fdeccf" if floor >= 6 else "#e3f1dc" if floor >= 4 else "#dbe9f6"


def draw(out: Path) -> None:
    """Write the picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    plt.rcParams |= {"svg.hashsalt": "snnlab", "svg.fonttype": "none", "font.family": "sans-serif"}
    width, height, right, up = 2.0, 0.6, 2.5, 1.05
    place = {name: (room["at"][0] * right, room["at"][1] * up) for name, room in boxes().items()}
    columns, floors = zip(*place.values(), strict=True)
    figure, axes = plt.subplots(figsize=(0.82 * (max(columns) - min(columns) + right), 0.9 * (max(floors) + up)))
    arrows = shortest({n: others & boxes().keys() for n, others in measured().items() if n in boxes()})
    for name, others in sorted(arrows.items()):
        for other in sorted(others):
            (x, y), (u, v) = place[name], place[other]
            start, end = (x, y - height / 2), (u, v + height / 2)
            bend = 0.0 if y - v < 1.5 * up else 0.12 if u < x else -0.12
            look = {"arrowstyle": "-|>", "mutation_scale": 9, "color": "0.45", "lw": 0.9, "zorder": 1}
            axes.add_patch(FancyArrowPatch(start, end, connectionstyle=f"arc3,rad={bend}", **look))
    for name, (x, y) in place.items():
        form = "round,pad=0.02,rounding_size=0.08"
        look = {"boxstyle": form, "facecolor": colour(name), "edgecolor": "0.35", "lw": 0.8, "zorder": 2}
        axes.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, **look))
        axes.text(x, y + 0.12, name, ha="center", va="center", fontsize=9.5, weight="bold", zorder=3)
        axes.text(x, y - 0.14, boxes()[name]["short"], ha="center", va="center", fontsize=6.8, color="0.2", zorder=3)
    axes.set_xlim(min(columns) - right / 2, max(columns) + right / 2)
    axes.set_ylim(-height, max(floors) + height)
    axes.set_axis_off()
    about = {"Description": arrows_text()} if out.suffix == ".svg" else {}
    figure.savefig(out, bbox_inches="tight", metadata={"Date": None, **about} if about else None)
    plt.close(figure)


def table() -> str:
    """The rooms as a Markdown table."""
    lines = ["| room | holds | may know |", "| --- | --- | --- |"]
    for name, room in boxes().items():
        known = ", ".join(f"`{other}`" for other in room["may_know"]) or "-"
        lines.append(f"| `{name}` | {room['holds']} | {known} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Draw, and renew the table of architecture.md."""
    draw(HERE / "architecture.svg")
    page = HERE / "architecture.md"
    begin, end = "<!-- rooms -->\n", "<!-- /rooms -->\n"
    before, _, rest = page.read_text().partition(begin)
    page.write_text(before + begin + table() + end + rest.partition(end)[2])


if __name__ == "__main__":
    sys.exit(main())
