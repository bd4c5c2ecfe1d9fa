"""A paper's table as data: ``conf/table/NAME.yaml`` says its rows, how each is run, and what the paper has beside it.

title, cite, page      what it is; the paper; the page of docs/ that explains it
about                  what a reader has to know of all rows
run                    overrides that all rows share, as on the command line
metric, columns        the figure that counts, and those shown behind it
tolerance              how far ours may lie from the paper's
versus                 the key of a row, or best: the difference to it, seed by seed, is a column
budgets                by name (small, full): ``run``, more overrides, and ``seeds``
rows                   each a ``name`` and ``run``; else ``key`` (by which others name it), ``group``, ``metric``,
                       ``versus``, ``hash`` (first digits, of the data it is meant for), ``note``;
                       ``small`` / ``full``: more overrides at that budget, and ``seeds`` of its own;
                       ``skip``: by budget, why it is not run;
                       ``ask``: a question of ``snnlab.evaluate`` and its options, whose values are then figures,
                       as ``early_exit/steps_saved``;
                       ``paper``: by figure ``value``, ``status`` and ``source``, and maybe ``std``, ``tolerance``;
                       ``bound``: by figure, what ours has to keep where no paper's is known: ``">= 0.97"``;
                       ``also``: further figures that are shown
@KEY                   in ``run`` or ``ask``: the folder of the run of that row with the same seed
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationError

from snnlab.config.own import content_of
from snnlab.config.paths import conf_dir
from snnlab.errors import InputError, nearest, one_line

if TYPE_CHECKING:
    from snnlab.evaluate.analysis import Asked

GROUP = "table"
BUDGETS = ("small", "full")
BEST = "best"  # in place of a key
OWN = ("seed", "resume", "dry_run")  # what a table says of every run by itself
EVERY = "all"  # in place of a name
Budget = Literal["small", "full"]


def _words(value: Any) -> Any:
    """Overrides as they are typed, in one text or a list of them."""
    return value.split() if isinstance(value, str) else [] if value is None else value


def _no_own(words: list[str]) -> list[str]:
    for word in words:
        if (key := word.partition("=")[0].lstrip("+")) in OWN:
            raise ValueError(
                f"{word}: {key} is the table's to say; {'give seeds' if key == 'seed' else 'leave it out'}"
            )
    return words


def _once(seeds: list[int]) -> list[int]:
    if twice := [seed for seed in seeds if seeds.count(seed) > 1]:
        raise ValueError(f"the seed {twice[0]} is there twice; give each once")
    return seeds


def _number(bound: str) -> str:
    float(bound.split()[1])  # a ValueError says what is none
    return bound


Words = Annotated[list[str], BeforeValidator(_words)]
Overrides = Annotated[Words, AfterValidator(_no_own)]
Seeds = Annotated[list[Annotated[int, Field(strict=True, ge=0)]], Field(min_length=1), AfterValidator(_once)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PaperValue(_Part):
    """A figure of the paper: ``status`` says how well it is known.

    paper: read in the paper; author's code: its log, notebook or file; secondary: quoted elsewhere; unverified: from
    memory.
    """

    value: FiniteFloat
    status: Literal["paper", "author's code", "secondary", "unverified"]
    source: str = ""
    std: FiniteFloat | None = Field(default=None, ge=0)
    tolerance: FiniteFloat | None = Field(default=None, ge=0)


Bound = Annotated[str, Field(pattern=r"^(>=|<=) -?[0-9.e+-]+$"), AfterValidator(_number)]


class AtBudget(_Part):
    """More overrides, and the seeds."""

    run: Overrides = []
    seeds: Seeds | None = None


class RowPlan(_Part):
    """One row: what is run, and what it is held against."""

    name: str = Field(min_length=1)
    run: Overrides = []
    key: str = ""
    group: str = ""
    metric: str = ""
    versus: str = ""
    hash: str = ""
    note: str = ""
    small: AtBudget = AtBudget()
    full: AtBudget = AtBudget()
    skip: dict[Budget, str] = {}
    ask: Words = []
    paper: dict[str, PaperValue] = {}
    bound: dict[str, Bound] = {}
    also: list[str] = []

    def at(self, budget: str) -> AtBudget:
        """What the row adds at a budget."""
        found: AtBudget = getattr(self, budget)
        return found


class PaperTable(_Part):
    """A table and its rows."""

    name: str
    title: str
    cite: str
    page: str = ""
    about: str = ""
    run: Overrides = []
    metric: str = "test/accuracy"
    columns: list[str] = []
    heads: dict[str, str] = {}
    tolerance: FiniteFloat = Field(default=0.005, ge=0)
    versus: str = ""
    budgets: dict[Budget, AtBudget]
    rows: list[RowPlan] = Field(min_length=1)

    def overrides(self, row: RowPlan, budget: str) -> list[str]:
        """What a row is run with at a budget, less its seed; of a key given twice the last value."""
        shared = self.budgets.get(budget, AtBudget())  # type: ignore[call-overload]
        words = [*self.run, *row.run, *shared.run, *row.at(budget).run]
        last = {word.partition("=")[0].lstrip("+"): word for word in words}
        return list(last.values())

    def metric_of(self, row: RowPlan) -> str:
        """The figure of a row that counts."""
        return row.metric or self.metric

    def seeds(self, row: RowPlan, budget: str) -> list[int]:
        """The seeds of a row at a budget."""
        own = row.at(budget).seeds
        shared = self.budgets.get(budget, AtBudget()).seeds  # type: ignore[call-overload]
        return own if own is not None else shared if shared is not None else [0]

    def why_not(self, row: RowPlan, budget: str) -> str:
        """Why a row is not run at a budget; "" where it is."""
        if budget not in self.budgets:
            return f"it has no {budget} budget"
        return row.skip.get(budget, "")  # type: ignore[call-overload]

    def by_key(self, key: str) -> RowPlan:
        """The row that others name by a key."""
        return next(row for row in self.rows if row.key == key)


def names(config_dir: Path | None = None) -> list[str]:
    """The tables there are, those of one's own folder of configs among them."""
    folders = [conf_dir(), *([config_dir] if config_dir else [])]
    return sorted({path.stem for folder in folders for path in (folder / GROUP).glob("*.yaml")})


def read(name: str, config_dir: Path | None = None) -> PaperTable:
    """Read a table.

    Raises:
        InputError: when there is none of this name, its file is none, or a table of ours has the name of one's own;
            names the file and the key.
    """
    known = names(config_dir)
    if name not in known:
        raise InputError(f"table {name}: there is no such table; nearest: {nearest(name, known)}")
    path = conf_dir() / GROUP / f"{name}.yaml"
    own = path if config_dir is None else config_dir / GROUP / path.name
    if path.is_file() and own.is_file() and own.read_bytes() != path.read_bytes():
        raise InputError(f"{own}: {name} is a table of snnlab, which comes first; rename the file")
    path = path if path.is_file() else own
    try:
        table = PaperTable(**{**content_of(path), "name": name})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from error
    check_keys(table, path)
    return table


def check_keys(table: PaperTable, path: Path) -> None:
    """Refuse rows that name each other wrongly, or cannot be told apart.

    Raises:
        InputError: naming the row.
    """
    keys = [row.key for row in table.rows if row.key]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise InputError(f"{path}: two rows have the key {twice[0]}; give each its own")
    titles = [(row.group, row.name) for row in table.rows]
    if same := [title for title in titles if titles.count(title) > 1]:
        raise InputError(f"{path}: two rows are called {same[0][1]!r}; give each its own name, or a group")
    before = set[str]()
    if table.name == EVERY:
        raise InputError(f"{path}: {EVERY} stands for all tables; rename the file")
    if BEST in keys:
        raise InputError(f"{path}: the key {BEST} stands for the best row of a group; give the row another")
    for row in table.rows:
        for key in references([*row.run, *row.small.run, *row.full.run, *row.ask]):
            if key not in before:
                raise InputError(f"{path}: row {row.name!r}: @{key} is the key of no row above it")
        before |= {row.key} - {""}
        versus, metric = row.versus or table.versus, table.metric_of(row)
        if versus not in ("", BEST, *keys):
            raise InputError(f"{path}: row {row.name!r}: versus: {versus} is neither best nor the key of a row")
        if row.versus in keys and not is_alike(other := table.metric_of(table.by_key(row.versus)), metric):
            raise InputError(f"{path}: row {row.name!r}: versus: {row.versus} is of {other}, the row of {metric}")
        for figure, paper in row.paper.items():
            if is_accuracy(figure) and not 0 <= paper.value <= 1:
                raise InputError(f"{path}: row {row.name!r}: {figure}: {paper.value:g} is no share of 1")
        for figure, bound in row.bound.items():
            if is_accuracy(figure) and bound.startswith(">=") and float(bound.split()[1]) <= 0:
                raise InputError(f"{path}: row {row.name!r}: {figure}: {bound} cannot be missed; name it in also")
        if row.ask:
            check_question(row, path)


def check_question(row: RowPlan, path: Path) -> None:
    """Refuse what a row asks where no run could answer it: a question that is none, an option that is wrong.

    Raises:
        InputError: naming the row and the question.
    """
    try:
        asked = question_of(row)
        for word in row.ask[1:]:
            name = word.partition("=")[0]
            if "=" not in word or ("=@" in word and name not in asked.others):
                raise InputError(f"{word} is no option of {row.ask[0]}; a change of the run is KEY=VALUE")
    except InputError as error:
        raise InputError(f"{path}: row {row.name!r}: ask: {one_line(error)}") from error


def question_of(row: RowPlan) -> Asked:
    """What a row asks, each @KEY in it a folder of that name.

    Raises:
        InputError: when there is no such question, or an option is missing or of the wrong type.
    """
    from snnlab.evaluate.analysis import read as read_question

    return read_question(row.ask[0], resolved(row.ask[1:], {key: key for key in references(row.ask)}))


def is_accuracy(figure: str) -> bool:
    """Whether a figure is a share that is told in percent."""
    return "accuracy" in figure


def is_alike(figure: str, other: str) -> bool:
    """Whether a difference of two figures says anything: they are one, or shares of samples both."""
    return figure == other or (is_accuracy(figure) and is_accuracy(other))


def references(words: Sequence[str]) -> list[str]:
    """The keys of rows that some words name, as ``against=@ann``."""
    return [word.partition("=@")[2] for word in words if "=@" in word]


def resolved(words: Sequence[str], folders: Mapping[str, str]) -> list[str]:
    """Words with the folder of its run in place of each key."""
    return [f"{word.partition('=@')[0]}={folders[word.partition('=@')[2]]}" if "=@" in word else word for word in words]
