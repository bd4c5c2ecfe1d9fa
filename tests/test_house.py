"""The house keeps its rules: imports flow one way, every config composes and builds, the README's commands exist."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.config.parts import instantiate_part
from snnlab.config.paths import conf_dir
from snnlab.config.schema import arguments_of
from snnlab.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "snnlab"

# A room may import from itself, from the files that everybody may know, and from the rooms that docs/rooms.yaml names.
EVERYBODY = {"errors", "atomic", "checkpoint", "ranks", "style", "version"}
MAY_IMPORT = {
    room: set(law["may_know"]) for room, law in yaml.safe_load((ROOT / "docs/rooms.yaml").read_text()).items()
}


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"snnlab.{a.name}" for a in node.names] if node.module == "snnlab" else [node.module]
        rooms |= {name.split(".")[1] for name in names if name.startswith("snnlab.")}
    return rooms


def name(path: Path) -> str:
    """A module as MAY_IMPORT writes it: ``data/__main__``."""
    return path.relative_to(SOURCE).with_suffix("").as_posix()


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_flow_one_way(room):
    file = SOURCE / f"{room}.py"
    files = [file] if file.is_file() else list((SOURCE / room).rglob("*.py"))
    files = [path for path in files if room == name(path) or name(path) not in MAY_IMPORT]
    assert files
    for path in files:
        foreign = imported_rooms(path) - MAY_IMPORT[room] - {room} - EVERYBODY
        assert not foreign, f"{path.relative_to(ROOT)} imports snnlab.{', snnlab.'.join(sorted(foreign))}"


def test_every_room_has_its_law_and_no_two_know_each_other():
    found = {path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in SOURCE.rglob("*.py")}
    assert found - EVERYBODY - {"__init__", "__main__"} == {room for room in MAY_IMPORT if "/" not in room}
    graph = {room: {*known} & MAY_IMPORT.keys() for room, known in MAY_IMPORT.items()}
    assert circles(graph) == []


def test_the_page_of_the_architecture_is_that_of_the_rooms():
    import importlib.util

    spec = importlib.util.spec_from_file_location("draw_architecture", ROOT / "docs/draw_architecture.py")
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    page = (ROOT / "docs/architecture.md").read_text()
    assert draw.table() in page, "run python docs/draw_architecture.py"
    drawn = (ROOT / "docs/architecture.svg").read_text()
    assert draw.arrows_text() in drawn, "run python docs/draw_architecture.py"
    for path in re.findall(r"`([\w/]+\.(?:py|yaml))`", page):
        assert (SOURCE / path).exists() or (ROOT / path).exists() or (ROOT / "docs" / path).exists(), path


def modules() -> dict[str, Path]:
    """Every module of the house by its dotted name; a package by that of its folder."""
    paths = {".".join(path.relative_to(SOURCE.parent).with_suffix("").parts): path for path in SOURCE.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in paths.items()}


def imports_of(tree: ast.AST, known: dict[str, Path]) -> set[str]:
    """The modules of the house that a module imports where it begins, those for type hints included.

    An import within a function happens later, when all modules are there, and is left out.
    """
    found = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & set(known)
            found |= inner or {node.module}
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            found |= imports_of(node, known)
    return found & set(known)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """One circle for each way back, as names in the order of the imports (a depth-first walk)."""
    found, state, way = [], dict.fromkeys(graph, 0), []

    def visit(module: str) -> None:
        state[module] = 1
        way.append(module)
        for other in sorted(graph[module]):
            if state[other] == 1:
                found.append([*way[way.index(other) :], other])
            elif state[other] == 0:
                visit(other)
        way.pop()
        state[module] = 2

    for module in sorted(graph):
        if state[module] == 0:
            visit(module)
    return found


def test_circles_are_found():
    known = dict.fromkeys(("snnlab.a", "snnlab.b", "snnlab.c"), Path())
    source = """if TYPE_CHECKING:
    from snnlab import a
def late():
    from snnlab.c import x
"""
    assert imports_of(ast.parse(source), known) == {"snnlab.a"}
    graph = {"snnlab.a": {"snnlab.b"}, "snnlab.b": {"snnlab.a"}, "snnlab.c": {"snnlab.a"}}
    assert circles(graph) == [["snnlab.a", "snnlab.b", "snnlab.a"]]


ROOMS = sorted({path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in SOURCE.rglob("*.py")})


@pytest.mark.parametrize("room", ROOMS)
def test_no_module_imports_itself_by_way_of_others_type_hints_included(room):
    known = modules()
    graph = {name: imports_of(ast.parse(path.read_text()), known) - {name} for name, path in known.items()}
    found = [" -> ".join(circle) for circle in circles(graph)]
    found = [circle for circle in found if f"snnlab.{room}" in circle]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("part", "may_know"), [("formats", {"files", "limits", "recordings"}), ("publish", {"files", "limits"})]
)
def test_a_reader_of_files_knows_no_data_set(part, may_know):
    paths = list((SOURCE / "data" / part).glob("*.py"))
    assert paths
    for path in paths:
        used = imports_of(ast.parse(path.read_text()), modules())
        known = {name.split(".")[2] for name in used if name.startswith("snnlab.data.")}
        assert known <= may_know | {part}, path


def test_only_the_composition_rooms_read_configs():
    allowed = {"stored.py", "sweep.py"}
    for path in SOURCE.rglob("*.py"):
        if path.name not in allowed and path.parent.name != "config":
            assert not re.search(r"^\s*(from|import) (hydra|omegaconf)", path.read_text(), re.MULTILINE), path


COMPARED = re.compile(
    r"\.asks\b|(?<!for )\bquestion\s*(==|!=|is\b|in\b)|isinstance\([^)]*question|type\([^)]*question\)"
    r"|[\"'](class_per_step|class_at_end|value_at_end|class_of_sequence)[\"']"
)


def test_nobody_compares_what_is_asked():
    """Whoever wants to know something about a question asks it; the one look at its class is in questions/ as well."""
    allowed = "type(question).__name__"  # its name, in what is said to the user
    found = [
        f"{path.relative_to(SOURCE)}: {line.strip()}"
        for path in SOURCE.rglob("*.py")
        if path.parent.name != "questions"
        for line in path.read_text().splitlines()
        if COMPARED.search(line.replace(allowed, ""))
    ]
    assert not found, found


def method_names() -> dict[str, str]:
    """Where each method of the house lives, below methods/, by the names it goes by: its config, its class."""
    names = {}
    for choice in choices("method"):
        *_, home, last = yaml.safe_load((conf_dir() / "method" / f"{choice}.yaml").read_text())["_target_"].split(".")
        names |= dict.fromkeys((choice, last.lower()), home)
    return names


def words_of(tree: ast.Module) -> Iterator[str]:
    """Every identifier and every string of a file but its docstrings."""
    documented = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    docstrings = {id(node.body[0].value) for node in documented if ast.get_docstring(node, clean=False) is not None}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value
        for field in ("id", "attr", "arg", "name", "module"):
            if isinstance(value := getattr(node, field, None), str):
                yield value


def test_shared_rooms_know_no_method_by_name():
    """What people type is left out: the help of ``train.py`` and the workloads of ``bench`` are command lines."""
    names = method_names()
    plain = {"ann", "conversion"}  # words of their own: looked for as a module or a choice only
    named = "|".join(sorted(set(names) - plain, key=len, reverse=True))
    known = re.compile(rf"(?<![a-z0-9])({named})(?![a-z0-9])|(methods\.|method=)({'|'.join(plain)})\b", re.IGNORECASE)
    found = []
    for path in SOURCE.rglob("*.py"):
        room, *below = path.relative_to(SOURCE).parts
        if (room == "methods" and below[0] != "base") or room in ("train.py", "bench"):
            continue
        if path == SOURCE / "config/moved.py":  # names what stored runs name
            continue
        words = [word for word in words_of(ast.parse(path.read_text())) if known.search(word)]
        found += [f"{path.relative_to(SOURCE)}: {word[:80]!r}" for word in words]
    assert not found, found


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


# data without still images, and data without one natural image per class
NO_IMAGES = ("cifar10_dvs", "dvs_gesture", "mnist_dvs", "nmnist", "randman", "shd", "ssc", "store_recall")
NO_SIGNALS = ("dvs_gesture", "randman", "shd", "ssc")
# Pairs that make no sense, and the words with which they are refused; beside them a method refuses what a data set asks
# for and it does not answer.
REFUSED = {
    **{("vdib", data): "needs one natural image per class" for data in NO_SIGNALS},
    ("vdib", "yin_yang"): "needs the natural image behind each sample",
    **{("conversion", data): "has no still images" for data in NO_IMAGES},
}
RATES = {"ann", "burstccn", "conversion", "pal"}  # no spiking layer: never, or not before the learning is over


def own_pictures(root: Path) -> Path:
    """Make a folder of pictures of two classes, 16 x 16, for data=folder."""
    from PIL import Image

    for number in range(8):
        path = root / "own" / f"class {number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (16, 16), 30 * number).save(path)
    return root / "own"


@pytest.mark.parametrize(("method", "data"), itertools.product(choices("method"), choices("data")))
def test_every_method_composes_and_builds_with_every_data_set(method, data, empty_data):
    from hydra.utils import get_object

    own = [f"data.folder={own_pictures(empty_data)}"] if data == "folder" else []
    config = compose([f"method={method}", f"data={data}", *own]).config
    asked, answers = instantiate_part("data", config.data).spec.question, get_object(config.method._target_).answers
    words = REFUSED.get((method, data)) if asked.is_among(answers) else f"asks for {asked.sentence}"
    if words:
        with pytest.raises(InputError, match=words) as refusal:
            build(config)
        if not asked.is_among(answers):
            named = str(refusal.value).split("choose method=")[1].split(" or ")
            assert named
            targets = [compose([f"method={m}"]).config.method._target_ for m in named]
            assert all(asked.is_among(get_object(target).answers) for target in targets)
        return
    parts = build(config)
    assert parts.data.spec.name == data
    assert len(parts.method.network.neurons()) >= 1 or method in RATES


@pytest.mark.parametrize(
    ("group", "choice"), [(g, c) for g in ("model", "encoder", "init", "hardware", "logger") for c in choices(g)]
)
def test_every_other_choice_composes(group, choice):
    config = compose(
        ["method=stbp", "data=digits", f"{group}={choice}"]
        + (["encoder.time_steps=4"] if group == "encoder" and choice != "none" else [])
    ).config
    refusals = {
        ("encoder", "none"): "still images",
        ("model", "vgg11"): "too small for 4 pools",
        ("model", "local"): "does not fit into",
        ("model", "nir"): "name the graph",
        ("hardware", "brainscales2"): "and no sampler",
        ("hardware", "speck2f"): "use method.decay=1.0",
        ("hardware", "truenorth"): "use method.decay=1.0",
        ("hardware", "xylo"): "use method.reset=soft",
    }
    if (group, choice) in refusals:
        with pytest.raises(InputError, match=refusals[group, choice]):
            build(config)
    else:
        build(config)


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_composes_and_builds(experiment, empty_data):
    build(compose([f"experiment={experiment}"]).config)


@pytest.mark.parametrize("path", sorted(conf_dir().glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_config_lists_every_argument_of_its_class(path):
    from hydra.utils import get_object

    node = yaml.safe_load(path.read_text()) or {}
    if "_target_" not in node:
        return
    arguments = set(arguments_of(get_object(node["_target_"]))[0]) - {"model", "encoder"}
    if path.parent.name == "method":
        arguments -= {"data"}
    if path.parent.name != "hardware":  # of some sixty limits a chip has a few; any may be given all the same
        assert arguments <= set(node), f"missing: {arguments - set(node)}"
    assert set(node) - {"_target_", "recipes"} <= arguments


def test_a_config_of_data_lists_the_arguments_of_the_loader_once_for_all():
    from snnlab.data.loader import Loader

    fields = set(inspect.signature(Loader).parameters)
    assert fields == {"root", "cache", "batch_size", "seed", "num_workers"}
    for path in (conf_dir() / "data").glob("*.yaml"):
        node = yaml.safe_load(path.read_text())
        assert fields <= set(node), path
        from hydra.utils import get_object

        assert not fields & set(inspect.signature(get_object(node["_target_"])).parameters), path


def test_the_commands_of_the_readme_exist():
    text = (ROOT / "README.md").read_text()
    assert text.index("make run") < text.index("make test")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)", text)) <= targets
    for module in set(re.findall(r"python -m (snnlab[\w.]*)", text)):
        relative = Path(*module.split(".")[1:])
        assert (SOURCE / relative / "__main__.py").exists() or (SOURCE / relative).with_suffix(".py").exists(), module
    for command in re.findall(r"python -m snnlab((?: [\w.]+=[^\s`]+)+)", text):
        options = [option for option in command.split() if "," not in option]
        compose(options)


def test_public_classes_and_functions_say_what_they_do():
    missing = []
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        if not ast.get_docstring(tree) and path.name != "__init__.py":
            missing.append(str(path.relative_to(ROOT)))
        missing += [
            f"{path.relative_to(ROOT)}:{node.name}"
            for node in tree.body
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node)
        ]
    assert not missing, missing


def test_the_console_script_and_the_version_agree():
    import tomllib

    import snnlab

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["snnlab"] == "snnlab.__main__:main" and project["version"] == snnlab.__version__
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().split()


# what asks for a weight by its class, and may: torch's own arithmetic of exactly this class is what the line relies on
OF_A_CLASS = re.compile(r"(isinstance\(.*|type\(\w+\)(\.forward)? (is|in|==) .*)nn\.(Linear|Conv\w*)")
WALKS = re.compile(r"\.layers\.(items|values|children)\(\)|\bnetwork\.(named_)?(modules|children)\(\)")
OTHER_LAYERS = {"evaluate/comparison.py": "found.layers.items()"}  # a dict of spike counts


def test_nobody_asks_for_a_weight_by_its_class():
    """But weights/, and the fast paths that say why beside the line."""
    found = [
        (path.relative_to(SOURCE).as_posix(), line.strip(), before.strip())
        for path in SOURCE.rglob("*.py")
        if "weights" not in path.relative_to(SOURCE).parts
        for before, line in itertools.pairwise(path.read_text().splitlines())
        if OF_A_CLASS.search(line)
    ]
    unreasoned = [(path, line) for path, line, before in found if "#" not in line + before]
    fast = {"layers/over_time.py", "layers/spike_linear.py", "neurons/egru.py"}
    assert {path for path, _, _ in found} == fast | {"export/nir_graph.py"}
    assert not unreasoned


def test_one_place_walks_the_chain():
    """The network itself and layers/chain.py; weights/ looks inside one module at a time."""
    walking = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        for line in path.read_text().splitlines()
        if WALKS.search(line) and OTHER_LAYERS.get(path.relative_to(SOURCE).as_posix(), "\n") not in line
    }
    assert walking == {"layers/network.py", "layers/chain.py"}


def test_the_links_of_the_pages_lead_somewhere():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "results").glob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())]
    dead = [f"{p.relative_to(ROOT)}: {at}" for p, at in links if "://" not in at and not (p.parent / at).exists()]
    assert len(links) > 50 and not dead, dead
