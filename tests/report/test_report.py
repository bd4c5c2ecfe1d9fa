"""The site of hand-written runs: what stands on it, what does not leak into it, where it is put."""

from __future__ import annotations

import itertools
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from report.made_up import EVIL, config, curves, picture, site_of_runs, write
from snnlab.config.paths import conf_dir
from snnlab.errors import InputError
from snnlab.report import cite, site
from snnlab.report.__main__ import main
from snnlab.report.runs import Contrast, pictures_of, slugs_of, tables_of
from snnlab.report.text import told
from snnlab.tables import papers
from snnlab.tables.rows import look_up, read_runs


class Page(HTMLParser):
    """Links, scripts and handlers of a page, and the names that it can be entered at."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links, self.ids, self.tags, self.handlers, self.inline = [], [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        self.tags.append(tag)
        self.links += [known[key] for key in ("href", "src") if known.get(key)]
        self.ids += [known["id"]] if "id" in known else []
        self.handlers += [key for key in known if key.startswith("on")]
        if tag == "script" and "src" not in known and known.get("type") != "application/json":
            self.inline.append(known)


@pytest.fixture(autouse=True, scope="module")
def _no_papers():
    """Whether a run is a row of a paper's table is found by composing that row, which takes its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(papers, "names", list)
        yield


@pytest.fixture(scope="module")
def folder(_no_papers, tmp_path_factory):
    """A site of the made-up runs."""
    root = tmp_path_factory.mktemp("report")
    assert main([str(site_of_runs(root / "runs")), "-o", str(root / "site")]) == 0
    return root / "site"


def pages(folder: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(folder.rglob("*.html"))}


def test_every_link_leads_somewhere_on_the_site(folder):
    found = pages(folder)
    assert len(found) == 4 + 2 + 6
    for path, page in found.items():
        for link in page.links:
            if link.startswith(("https://doi.org/", "https://arxiv.org/", "data:,")):
                continue
            assert not re.match(r"[a-z]+:|/", link), (path.name, link)
            name, _, place = link.partition("#")
            to = (path.parent / unquote(name)).resolve() if name else path
            assert to.is_file() and to.is_relative_to(folder), (path.name, link)
            if place and to.name != "compare.html":
                assert place in found[to].ids, (path.name, link)


def test_what_a_record_says_is_text_and_never_a_part_of_a_page(folder):
    for path, page in pages(folder).items():
        assert not page.handlers and not page.inline, path.name
        assert "<script>window" not in path.read_text() and "<img src=x" not in path.read_text(), path.name
    evil = next((folder / "runs").glob("other-script*.html")).read_text()
    assert "&lt;script&gt;window.evil = 1&lt;/script&gt;" in evil and "{{ 7 * 7 }}" in evil and "\\u202e" in evil
    said = next((folder / "runs").glob("other-script*.js")).read_text()
    assert said.isascii() and said.startswith("report.take(")


def test_paths_of_the_machine_stay_where_they_are(folder):
    for path in folder.rglob("*"):
        if path.suffix in (".html", ".js", ".json", ".bib") and path.name != "plotly.min.js":
            text = path.read_text(encoding="utf-8")
            for secret in ("/home/somebody", "secret place", str(folder.parent), str(Path.home()) + "/"):
                assert secret not in text, (path.name, secret)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("data.root=/home/me/my data/x", "data.root=…/x"),
        ("/home/me/x.npy: no such file", "…/x.npy: no such file"),
        ("no file 'C:\\Users\\me\\x.npy' here", "no file '…/x.npy' here"),
        ("~me/x and file:///home/me/y", "…/y"),
        ("test/accuracy of 3 spikes/step, 1/2, a / b", "test/accuracy of 3 spikes/step, 1/2, a / b"),
        ("see https://doi.org/10.1/x", "see https://doi.org/10.1/x"),
        ("\\\\host\\share\\x", "…/x"),
        ("../runs/a", "../runs/a"),
        ("a\nb\x1b[31m", "a\\nb\\x1b[31m"),
        ("x" * 400, "x" * 299 + "…"),
    ],
)
def test_a_text_of_a_record(text, wanted):
    assert told(text) == wanted


def test_a_page_of_a_run_says_what_it_was_and_in_what_it_differs(folder):
    page = (folder / "runs" / "decays-d0.4_1.html").read_text()
    assert "<code>method.decay</code></th><td><code>0.4</code></td><td>0.2" in page.replace("\n", "")
    for figure in ("0.6100", "12.3 k spikes", "48.4 nJ", "12.5 s"):
        assert figure in page, figure
    assert page.count('class="chart"') == 2 and "confusion matrix" in page and "decays-d0.4_1/01.png" in page
    assert "wu2018stbp" in page and "alpaydin1998digits" in page and "@software{snnlab" in page
    chip = (folder / "runs" / "other-chip.html").read_text()
    assert "It does not fit" in chip and ">70,000<" in chip and "too much</span>: 64 fit" in chip
    assert chip.count(">simulated</span>") >= 2 and chip.count(">subset</span>") >= 2


def test_marks_stand_wherever_the_figures_do(folder):
    for name in ("runs.html", "tables/other.html", "index.html"):
        assert ">simulated</span>" in (folder / name).read_text(), name
    said = (folder / "runs" / "other-chip.js").read_text()
    assert json.loads(said.partition(", ")[2].rpartition(")")[0])["marks"] == ["simulated", "subset"]


def test_the_same_runs_make_the_same_bytes_wherever_they_lie(folder, tmp_path):
    assert main([str(site_of_runs(tmp_path / "elsewhere" / "runs")), "-o", str(tmp_path / "again")]) == 0
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert files == {p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file()}
    for name in files:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_a_papers_table(tmp_path, monkeypatch):
    """Ours beside the paper's, of the runs that are the rows; what was not run says so."""
    from snnlab.config.compose import compose
    from snnlab.report import papers as pages

    figure = "test/accuracy"
    known = {figure: {"value": 0.97, "status": "unverified", "source": "<b>memory</b>"}}
    rows = [
        {"name": "a & b", "run": "data=digits", "paper": known, "note": "one <i>note</i>"},
        {"name": "other", "run": "data=mnist", "paper": known},
    ]
    table = papers.PaperTable(
        name="made",
        title="A table",
        cite="Somebody",
        run=["method=stbp"],
        budgets={"small": {"seeds": [0, 1]}},
        rows=rows,
    )
    monkeypatch.setattr(papers, "names", lambda: ["made"])
    monkeypatch.setattr(pages, "read", lambda _: table)
    for seed in (0, 1):
        content = compose(["method=stbp", "data=digits", f"seed={seed}"]).plain()
        part = {"source": "bundled", "altered": False, "subset": True, "hash": "x"}
        write(tmp_path / "runs" / f"{seed}", seed, 0.96 + 0.01 * seed, content, provenance=part)
    assert main([str(tmp_path / "runs"), "-o", str(tmp_path / "site")]) == 0
    page = (tmp_path / "site" / "papers" / "made.html").read_text()
    for words in ("96.50 ± 0.71", "97.00 (unverified)", "-0.50", '"verdict yes">within<', "not run", ">subset</span>"):
        assert words in page, words
    assert "a &amp; b" in page and "&lt;b&gt;memory" in page and "one &lt;i&gt;note" in page
    assert "../runs/runs-0.html" in page and '"x": [97.0, 97.0]' in page and '"array": [0.7071' in page
    assert "papers/made.html#small" in (tmp_path / "site" / "index.html").read_text()


def test_hostile_folders(tmp_path, capsys):
    """Files that are too large, no files, no pictures, links out of the folder; a record that is broken is left out."""
    secret = tmp_path / "secret.png"
    picture(secret)
    run = write(tmp_path / "runs" / "a", metrics={"test": {"accuracy": 0.5, "deep": {str(i): i for i in range(500)}}})
    (run / "figures").mkdir()
    (run / "figures" / "out.png").symlink_to(secret)
    picture(run / "figures" / "vast.png", 60_000, 60_000)
    (run / "figures" / "text.png").write_text("<svg onload=alert(1)>" * 9)
    os.mkfifo(run / "figures" / "pipe.png")
    os.mkfifo(run / "metrics.csv")
    (run / "figures" / "long.png").write_bytes(secret.read_bytes() + b"\0" * (8 << 20))
    picture(run / "figures" / "für 日本.png")
    assert [name for name, *_ in pictures_of({"folder": str(run)})] == ["für 日本"]
    for name, text in (("nan", '{"schema": 1, "seed": NaN}'), ("none", "{}"), ("huge", " " * (1 << 23)), ("no", "")):
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "run.json").write_text(text)
    (tmp_path / "runs" / "link").mkdir()
    (tmp_path / "runs" / "link" / "run.json").symlink_to(run / "run.json")
    assert main([str(tmp_path / "runs"), "-o", str(tmp_path / "site")]) == 0
    assert capsys.readouterr().err.count("left out") == 5
    assert "5 folders could not be read" in " ".join((tmp_path / "site" / "index.html").read_text().split())
    assert len(list((tmp_path / "site" / "runs").glob("*.html"))) == 1


def test_parts_of_a_record_may_be_anything(tmp_path, capsys):
    keys = ["git", "versions", "memory", "kernels", "fit_report", "parameters", "label", "recipe", "resumed"]
    values = [None, 3, "x", [1], {"needs": 3, "commit": [], "peak_bytes": {}, "cpu": EVIL}, {"needs": [1, {"need": 1}]}]
    for seed, (key, value) in enumerate(itertools.product(keys, values)):
        write(tmp_path / "runs" / f"{seed}", seed, **{key: value})
    assert main([str(tmp_path / "runs"), "-o", str(tmp_path / "site")]) == 0
    left_out = capsys.readouterr().err.splitlines()  # a label that is no text, which no table reads either
    assert len(list((tmp_path / "site" / "runs").glob("*.html"))) == len(keys) * len(values) - len(left_out)
    assert all("must be" in line for line in left_out)


def test_runs_without_figures_or_of_one_row(tmp_path):
    write(
        tmp_path / "runs" / "a", status="running", metrics={"train": {}, "val": {}, "test": {}}, timing={}, started=""
    )
    assert main([str(tmp_path / "runs"), "-o", str(tmp_path / "site")]) == 0
    page = (tmp_path / "site" / "runs" / "runs-a.html").read_text()
    assert "There are none: running." in page and "It is the one row of runs" in page


def test_a_run_made_twice_counts_once_and_is_found_once(tmp_path):
    write(tmp_path / "runs" / "a", 0, 0.5)
    write(tmp_path / "runs" / "b", 0, 0.7, started="2026-11-29T10:00:00")
    folders = [tmp_path / "runs", tmp_path / "runs" / "a"]
    (table,) = tables_of(folders, read_runs(folders))
    assert len(table.runs) == 2 and [run["metrics"]["test"]["accuracy"] for run in table.rows.popitem()[1].runs] == [
        0.7
    ]
    assert main([*map(str, folders), "-o", str(tmp_path / "site")]) == 0
    assert "made again since" in (tmp_path / "site" / "runs" / "runs-a.html").read_text()


def test_a_chip_is_a_difference_and_its_limits_are_none(tmp_path):
    limits = {"_target_": "snnlab.hardware.target.Target", "name": "loihi2", "cores": 128, "weight_bits": 8}
    write(tmp_path / "runs" / "a", hardware="loihi2", content=config() | {"hardware": limits})
    write(tmp_path / "runs" / "b", content=config(decay=0.4))
    (table,) = tables_of([tmp_path / "runs"], read_runs([tmp_path / "runs"]))
    assert Contrast(table).between(0, 1) == [("hardware", "loihi2", "none"), ("method.decay", "0.2", "0.4")]


def test_names_of_files():
    assert slugs_of(["a/b", "a b", "A-B", "日本", "日 本", "..", "x" * 300]) == [
        *("a-b", "a-b-2", "A-B-3", "unnamed", "unnamed-2", "unnamed-3", "x" * 120)
    ]  # fmt: skip


def test_the_place_of_a_site(tmp_path, capsys):
    run = write(tmp_path / "runs" / "a")
    out = tmp_path / "site"
    out.mkdir()
    assert main([str(run), "-o", str(out)]) == 0  # an empty folder, then a site of ours
    assert main([str(run), "-o", str(out), "--title", "other"]) == 0
    assert "<h1>other</h1>" in (out / "index.html").read_text()
    capsys.readouterr()
    (out / "mine.txt").write_text("mine")
    for place, word in (
        (out, "'mine.txt'"),
        (tmp_path / "runs", "no site"),
        (run / "run.json", "a file"),
        ("/x/y", "no folder"),
    ):
        assert main([str(run), "-o", str(place)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and word in said, said
    assert (out / "mine.txt").read_text() == "mine" and sorted(path.name for path in tmp_path.iterdir()) == [
        "runs",
        "site",
    ]


def test_a_command_that_is_stopped_leaves_the_site_as_it_was(tmp_path):
    def files():
        yield "index.html", b"new"
        raise KeyboardInterrupt

    out = tmp_path / "site"
    site.publish([("index.html", b"old"), ("a/b.html", b"b")], out)
    with pytest.raises(KeyboardInterrupt):
        site.publish(files(), out)
    assert (out / "index.html").read_bytes() == b"old" and [path.name for path in tmp_path.iterdir()] == ["site"]
    out.rename(tmp_path / ".site-old.part")  # killed between the two moves
    (tmp_path / ".site-0123456789abcdef.part").mkdir()
    with pytest.raises(KeyboardInterrupt):
        site.publish(files(), out)
    assert (out / "a" / "b.html").read_bytes() == b"b" and [path.name for path in tmp_path.iterdir()] == ["site"]
    site.publish([("index.html", b"new")], out)
    assert not (out / "a").exists() and (out / "index.html").read_bytes() == b"new"


def test_a_full_disk(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "x")

    run = write(tmp_path / "runs" / "a")
    monkeypatch.setattr(Path, "write_bytes", full)
    assert main([str(run), "-o", str(tmp_path / "site")]) == 1
    assert capsys.readouterr().err == "snnlab.report: disk full while writing x; free some space and run again\n"
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_bibtex_of_what_was_used(tmp_path, capsys):
    films = {
        "source": "simulated",
        "altered": False,
        "subset": False,
        "notes": ["films of MNIST by the camera model, 1"],
    }
    write(tmp_path / "runs" / "a", method="vdib", data="mnist_dvs", provenance=films)
    write(tmp_path / "runs" / "b", method="ann", data="mine%")
    assert main([str(tmp_path / "runs"), "--cite"]) == 0
    out = capsys.readouterr().out
    keys = re.findall(r"^@\w+\{(\S+),$", out, re.MULTILINE)
    assert keys == ["snnlab", "skatchkovsky2021vdib", "lecun1998mnist", "serrano2015mnistdvs"]
    assert "% method=ann: no paper of its own" in out and "% data=mine : not among the references" in out
    assert "snnlab = {" not in out and list(tmp_path.iterdir()) == [tmp_path / "runs"]


@pytest.mark.parametrize("group", ["method", "data"])
def test_every_method_and_data_set_has_a_reference_or_says_why_none(group):
    known = {use for entry in cite.entries() for use in entry.uses} | set(cite.without())
    names = {f"{group}={path.stem}" for path in (conf_dir() / group).glob("*.yaml")}
    assert names <= known, f"give them an entry in src/snnlab/report/references.bib: {sorted(names - known)}"


def test_the_references_are_bibtex():
    text = (Path(cite.__file__).parent / "references.bib").read_text(encoding="utf-8")
    assert text.count("{") == text.count("}") and len(re.findall(r"^@(?!comment)", text, re.MULTILINE)) == len(
        cite.entries()
    )
    keys = [entry.key for entry in cite.entries()]
    assert len(keys) == len(set(keys))
    for entry in (*cite.entries(), cite.itself()):
        assert {"title", "author"} <= entry.fields.keys() and (entry.key == "snnlab" or "year" in entry.fields), (
            entry.key
        )
        assert "{" not in cite.as_text(entry) and "\\" not in cite.as_text(entry), entry.key
    root = Path(__file__).resolve().parents[2]
    version = re.search(r'^version = "(.*)"', (root / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert cite.itself().fields["version"] == version


def test_what_is_asked_wrongly(tmp_path, capsys):
    for line, word in (
        (["--cite"], "give folders of runs"),
        ([str(tmp_path)], "holds no run.json"),
        (["a", "--out"], "no such flag"),
    ):
        assert main(line) == 2
        assert word in capsys.readouterr().err
    with pytest.raises(InputError):
        site.check_place(tmp_path / "no" / "site")


def test_a_damaged_curve_costs_its_chart_alone(tmp_path):
    run = write(tmp_path / "runs" / "a")
    curves(run, 0.2)
    with (run / "metrics.csv").open("a") as file:
        file.write("3,x,0.1,0.9\n")
    assert main([str(run), "-o", str(tmp_path / "site")]) == 0
    page = next((tmp_path / "site" / "runs").glob("*.html")).read_text()
    assert page.count('class="chart"') == 2 and '"name": "train"' not in page


def test_memory_that_was_not_measured_is_none(tmp_path):
    write(tmp_path / "runs" / "a", memory={"peak_bytes": None})
    (run,) = read_runs([tmp_path / "runs"])
    assert run["memory"] == {} and look_up(run, "peak_bytes") is None


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"metrics": {"test": {"accuracy": 1e308, "loss": -1e308}}}, "metrics.test.accuracy = 1e+308 must be a number"),
        ({"metrics": {"test": 0.5}}, "metrics.test = 0.5 must be a mapping"),
        ({"timing": {"fit_seconds": {"x": 1}}}, "timing.fit_seconds"),
        ({"memory": {"peak_bytes": {"x": 1}}}, "memory.peak_bytes"),
        ({"provenance": {"sizes": {"train": {"x": 1}}}}, "provenance.sizes.train"),
        ({"overrides": [1, None]}, "overrides = [1, None] must be a list of texts"),
        ({"method": "\ud800"}, "holds '\\ud800', which is no text"),
    ],
)
def test_a_strangers_record_stops_no_other_run(tmp_path, capsys, part, words):
    write(tmp_path / "runs" / "a")
    write(tmp_path / "runs" / "b", 1, **part)
    assert main([str(tmp_path / "runs"), "-o", str(tmp_path / "site")]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("left out: ") and words in line


def test_a_figure_that_only_a_run_made_again_since_has(tmp_path):
    write(tmp_path / "runs" / "a")
    write(tmp_path / "runs" / "b", metrics={"val": {"loss": 0.4}}, started="2026-11-29T10:00:00")
    assert main([str(tmp_path / "runs"), "-o", str(tmp_path / "site")]) == 0
    listing = (tmp_path / "site" / "runs.html").read_text()
    assert ">0.5000<" in listing and "val loss" in (tmp_path / "site" / "index.html").read_text()


def test_curves_that_no_double_can_add_are_left_out(tmp_path):
    for seed, value in enumerate(("1.7e308", "1.7e308")):
        run = write(tmp_path / "runs" / f"{seed}", seed)
        (run / "metrics.csv").write_text(f"epoch,val/accuracy\n0,{value}\n1,0.5\n")
    assert main([str(tmp_path / "runs"), "-o", str(tmp_path / "site")]) == 0


def test_a_home_is_no_place_and_is_not_walked_through(tmp_path, monkeypatch):
    (tmp_path / "home" / "deep").mkdir(parents=True)
    monkeypatch.setattr(Path, "rglob", lambda *_: pytest.fail("walked through"))
    with pytest.raises(InputError, match=r"is no site that snnlab\.report wrote: it holds 'deep'"):
        site.check_place(tmp_path / "home")
