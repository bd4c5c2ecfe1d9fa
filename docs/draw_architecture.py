"""Draw docs/architecture.svg from docs/rooms.yaml and the imports that the code has.

    python docs/draw_architecture.py

A box is a room, on the floor that rooms.yaml gives it; an arrow points to a room that it imports, as measured. Arrows
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
    """The room of a file: its folder below snnlab, or the name of a file that lies at the top."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[0]


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


def draw(out: Path) -> None:
    """Write the picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    plt.rcParams |= {"svg.hashsalt": "snnlab", "svg.fonttype": "none", "font.family": "sans-serif"}
    house = rooms()
    floors: dict[float, list[str]] = {}
    for name, room in house.items():
        floors.setdefault(room["floor"], []).append(name)
    width, height, gap = 2.3, 0.62, 0.22
    total = max(len(names) for names in floors.values()) * (width + gap)
    figure, axes = plt.subplots(figsize=(total * 0.98, len(floors) * 1.12 + 0.2))
    place = {}
    for row, floor in enumerate(sorted(floors, reverse=True)):
        names = floors[floor]
        left = (total - len(names) * (width + gap)) / 2
        for column, name in enumerate(names):
            place[name] = (left + column * (width + gap) + width / 2, -row * 1.12)
    arrows = shortest({n: others & house.keys() for n, others in measured().items() if n in house})
    for name, others in sorted(arrows.items()):
        for other in sorted(others):
            (x, y), (u, v) = place[name], place[other]
            start, end = (x, y - height / 2), (u, v + height / 2)
            if v >= y:  # on the same floor
                side = 1 if u > x else -1
                start, end = (x + side * width / 2, y), (u - side * width / 2, v)
            bend = 0.0 if abs(y - v) < 1.2 else 0.08 * (1 if u >= x else -1)
            patch = FancyArrowPatch(
                start, end, arrowstyle="-|>", mutation_scale=9, color="0.55", lw=0.9,
                connectionstyle=f"arc3,rad={bend}", zorder=1,
            )  # fmt: skip
            axes.add_patch(patch)
    shades = {"core": "#dbe9f6", "science": "#e3f1dc", "work": "#fdeccf", "command": "#f6dedb"}
    for name, (x, y) in place.items():
        room = house[name]
        axes.add_patch(
            FancyBboxPatch(
                (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0.02,rounding_size=0.08",
                facecolor=shades[room["kind"]], edgecolor="0.35", lw=0.8, zorder=2,
            )  # fmt: skip
        )
        axes.text(x, y + 0.13, name, ha="center", va="center", fontsize=10, weight="bold", zorder=3)
        axes.text(x, y - 0.15, room["short"], ha="center", va="center", fontsize=6.8, color="0.2", zorder=3)
    axes.set_xlim(-0.1, total)
    axes.set_ylim(-(len(floors) - 1) * 1.12 - 0.5, 0.5)
    axes.set_axis_off()
    figure.savefig(out, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def table() -> str:
    """The rooms as a Markdown table."""
    lines = ["| room | holds | may know |", "| --- | --- | --- |"]
    for name, room in rooms().items():
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
