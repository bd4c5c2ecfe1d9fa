"""Build the site of the documentation into site-docs/: the pages of docs/site.yaml, and a page for each public file.

Pages stay where GitHub shows them. They are copied into build/docs, and there a link to a file of the repository leads
to its page: of the site, of the reference (src/snnlab), or one that shows the file as it is.

usage: python docs/site.py           (make docs)
"""

from __future__ import annotations

import ast
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

ROOT = Path(__file__).resolve().parents[1]
BUILD, SITE = ROOT / "build" / "docs", ROOT / "site-docs"
# what a method, a neuron, data or a chip of one's own is written with
ROOMS = ("neurons", "layers", "weights", "simulators", "models", "initializers", "methods", "questions", "data")
ROOMS += ("hardware", "metrics", "regularizers")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".sh": "bash", ".json": "json", "": "text"}
CODE = re.compile(r"(^```.*?^```|^    .*?$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<=\]\()(?!\w+:)([^)\s#]+)(#[^)\s]*)?(?=\))")


class Pages:
    """Which page of the site shows a file of the repository, and the text of every page that there is to be."""

    def __init__(self, nav: list[Any]) -> None:
        self.texts: dict[str, str] = {}
        self.files: dict[str, Path] = {}  # what is copied as it is, by its place
        self.named = {source: place(source) for source in sources(nav)}
        self.modules = {module: f"reference/{module.replace('.', '/')}.md" for module in public()}
        for source in tuple(self.named):
            self.add(source)
        for module, page in self.modules.items():
            self.texts[page] = f"---\ntitle: {module.rpartition('.')[2]}\n---\n\n::: {module}\n"

    def add(self, source: str) -> None:
        """Copy a page, its links turned to the pages of what they lead to."""
        self.turn((ROOT / source).read_text(), source, self.named[source])

    def turn(self, text: str, source: str, page: str) -> None:
        """The text of a page from that of a source, its links turned."""
        self.texts[page] = ""  # so that a link back finds it
        parts = CODE.split(text)
        for at in range(0, len(parts), 2):
            parts[at] = LINK.sub(lambda link: self.turned(link, source, page), parts[at])
        self.texts[page] = "".join(parts)

    def turned(self, link: re.Match[str], source: str, page: str) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), unquote(link[1])))
        if target.startswith("..") or not (ROOT / target).exists():
            raise SystemExit(f"{source}: {link[0]} leads to nothing")
        return posixpath.relpath(self.page_of(target), posixpath.dirname(page) or ".") + (link[2] or "")

    def page_of(self, target: str) -> str:
        """The place in the site of a file or folder of the repository."""
        path = ROOT / target
        module = target.removeprefix("src/").removesuffix(".py").replace("/", ".")
        if target in self.named:
            return self.named[target]
        if target.startswith("src/") and module in self.modules:
            return self.modules[module]
        if path.suffix in (".png", ".svg"):
            self.files[target] = path
            return target
        if path.suffix == ".md":  # no page of the nav, and read from one
            self.named[target] = place(target)
            self.add(target)
            return self.named[target]
        page = f"files/{target}.md"
        if page not in self.texts and path.is_dir():
            names = sorted(p.name + "/" * p.is_dir() for p in path.iterdir() if p.name != "__pycache__")
            self.texts[page] = f"# {target}\n\n" + "".join(f"- `{name}`\n" for name in names)
        elif page not in self.texts and path.suffix == ".ipynb":
            self.turn(cells(path), target, page)
        elif page not in self.texts:
            fence = f"```{LANGUAGES.get(path.suffix, 'text')}\n{path.read_text().rstrip()}\n```\n"
            self.texts[page] = f"# {target}\n\n{fence}"
        return page


def cells(path: Path) -> str:
    """A notebook's cells one after the other, code as blocks."""
    found = json.loads(path.read_text())["cells"]
    joined = [("".join(cell["source"]), cell["cell_type"]) for cell in found]
    return "\n\n".join(f"```python\n{text}\n```" if kind == "code" else text for text, kind in joined) + "\n"


def sources(nav: Any) -> Iterator[str]:
    """The pages that a nav names."""
    if isinstance(nav, str):
        yield from [nav] if nav.endswith(".md") else []
    for part in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else []:
        yield from sources(part)


def place(source: str) -> str:
    """Where a page of the repository lies in the site."""
    return {"README.md": "index.md", "README.zh-CN.md": "zh.md", "results/README.md": "results/index.md"}.get(
        source, source.removeprefix("docs/").lower()
    )


def public() -> list[str]:
    """The modules of the reference: snnlab itself, then those of each room that say something."""
    found = ["snnlab"]
    for room in ROOMS:
        for path in sorted((ROOT / "src/snnlab" / room).rglob("*.py")):
            if not path.name.startswith("_") and ast.get_docstring(ast.parse(path.read_text())):
                found.append(".".join(path.relative_to(ROOT / "src").with_suffix("").parts))
    return found


def nav_of(nav: Any, pages: Pages) -> Any:
    """The nav with places of the site, and the reference by its rooms."""
    if nav == "REFERENCE":
        tree: list[Any] = [{"snnlab": pages.modules["snnlab"]}]
        for room in ROOMS:
            inside = {
                m.removeprefix(f"snnlab.{room}."): p for m, p in pages.modules.items() if m.split(".")[1:2] == [room]
            }
            tree.append({room: [{name: page} for name, page in inside.items()]})
        return tree
    if isinstance(nav, dict):
        return {title: nav_of(part, pages) for title, part in nav.items()}
    return [nav_of(part, pages) for part in nav] if isinstance(nav, list) else place(nav)


class Links(HTMLParser):
    """Where a page leads to, what it loads, and the names in it that a link may lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.leads: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.names |= {found[key] for key in ("id", "name") if key in found}
        if "href" in found:
            (self.loads if tag == "link" else self.leads).append(found["href"])
        if "src" in found:
            self.loads.append(found["src"])


def faults(site: Path) -> list[str]:
    """What a reader would stumble over: links and headings that lead to nothing, what would come from a network."""
    pages = {path: Links(path.read_text()) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        here = path.relative_to(site)
        found += [f"{here}: loads {url}" for url in page.loads if re.match(r"(https?:)?//", url)]
        for url in [*page.leads, *page.loads]:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            to = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
            to = to / "index.html" if to.is_dir() else to
            if not to.is_file():
                found.append(f"{here}: {url} leads to nothing")
            elif parts.fragment and to in pages and unquote(parts.fragment) not in pages[to].names:
                found.append(f"{here}: {url}: no such heading")
    for path in site.rglob("*.css"):
        found += [
            f"{path.relative_to(site)}: loads {u}"
            for u in re.findall(r"(?:url\(|@import )[\"']?(https?:[^)\"']*)", path.read_text())
        ]
    return found


def assemble() -> Path:
    """Write all pages and the config into build/docs; return the config."""
    config = yaml.safe_load((ROOT / "docs/site.yaml").read_text())
    pages = Pages(config["nav"])
    shutil.rmtree(BUILD, ignore_errors=True)
    for page, text in pages.texts.items():
        path = BUILD / "pages" / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for target, source in pages.files.items():
        path = BUILD / "pages" / target
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
    config["nav"] = nav_of(config["nav"], pages)
    config |= {"docs_dir": "pages", "site_dir": "site"}
    for plugin in config["plugins"]:
        if isinstance(plugin, dict) and "mkdocstrings" in plugin:
            python = plugin["mkdocstrings"]["handlers"]["python"]
            python["paths"] = [str(ROOT / path) for path in python["paths"]]
            python["options"]["extensions"] = [str(ROOT / path) for path in python["options"]["extensions"]]
    shutil.copyfile(ROOT / "docs/site.css", BUILD / "pages/site.css")
    path = BUILD / "mkdocs.yml"
    path.write_text(yaml.safe_dump(config, allow_unicode=True, sort_keys=False))
    return path


def main() -> int:
    """Build, check, and put the result in its place. Exit code 1 where anything is wrong."""
    config = assemble()
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "--config-file", str(config)]
    built = subprocess.run(command, cwd=BUILD, env={**os.environ, "NO_COLOR": "1"})
    wrong = faults(BUILD / "site") if built.returncode == 0 else ["zensical refused it"]
    print("\n".join(wrong))
    if wrong:
        return 1
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.copytree(BUILD / "site", SITE)
    print(f"{len(list(SITE.rglob('*.html')))} pages in {SITE.name}/index.html; every link leads somewhere")
    return 0


if __name__ == "__main__":
    sys.exit(main())
