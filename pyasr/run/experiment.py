"""An experiment: a recipe run over folds, seeds and settings, described in one TOML file.

    recipe = "an4"                     # a recipe's name, or a .toml file
    table = "results.csv"              # the committed table that gets the rows; measures.csv beside it gets the rest
    folds = [0, 1, 2]                  # none: the corpus' official split
    seeds = [1]

    [[setting]]                        # none: one setting, "default", the recipe as it is
    name = "small"
    set = ["gmm.sat.num_gauss=2000"]   # as --set has it
    folds = [0]                        # none: those of the experiment
    systems = ["student"]              # none: those of the experiment, and there all that the recipe makes
    like = "plain"                     # an earlier setting, whose `set` comes before this one's

With `like = "other.toml"`, a file in the same folder, that file's keys count here as well, but for its settings; both
put their runs into one folder and share stages. The file may also hold the claims that the rows test ([[claim]],
`pyasr.report.claim_options`). Folders and files in it are relative to the file.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import pydantic

from pyasr.base.artifact import digest, plain
from pyasr.base.config import Options, line_of, read_toml, validate
from pyasr.base.errors import ConfigError
from pyasr.report.claim_options import ClaimOptions
from pyasr.report.table_file import RunKey
from pyasr.run.crew import Crew
from pyasr.run.recipe import Recipe, find_recipe, load_recipe, parse_setting, recipe_name
from pyasr.run.stage import Context
from pyasr.run.stages import SYSTEMS, systems_of

DEFAULT_SETTING = "default"

Name = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    names = [getattr(value, "name", value) for value in values]
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"given twice: {', '.join(twice)}")
    return values


_OWN = {"name", "setting", "claim", "like"}
"""Keys that a file does not take from the one that it is like."""

Distinct = pydantic.AfterValidator(_distinct)
Folds = Annotated[tuple[Annotated[int, pydantic.Field(ge=0)], ...], Distinct]
Systems = Annotated[tuple[str, ...], Distinct]


class SettingOptions(Options):
    """One setting of the grid.

    set: "section.key=value", as --set takes them, after the experiment's own and those of the setting `like`.
    folds, systems: in the place of the experiment's.
    """

    name: Name
    like: str | None = None
    set: tuple[str, ...] = ()
    folds: Folds = ()
    systems: Systems = ()


class ExperimentOptions(Options):
    """An experiment file.

    recipe: a name, or a .toml file. name: default the file's name without .toml. exp: the folder of the run folders,
    default exp/NAME in the current folder. table: default results.csv beside this file; what else is known of the
    networks goes into measures.csv beside that. corpus_dir, noise_dir, executor: as on the command line of a recipe.
    folds: values of corpus.fold; none: it is left as the recipe has it. set: settings of every run. systems and
    conditions: whose rows go into the tables; none: all that there are. Of other systems only what these need is made.
    like: another experiment file of the same folder: what it says counts where this one says nothing, what it sets is
    set first, and its rows count for claims. claim: what the rows are to show.
    """

    recipe: str
    name: Name | None = None
    exp: Path | None = None
    table: Path = Path("results.csv")
    corpus_dir: Path | None = None
    noise_dir: Path | None = None
    executor: str = "processes"
    folds: Folds = ()
    seeds: Annotated[tuple[Annotated[int, pydantic.Field(ge=0)], ...], pydantic.Field(min_length=1), Distinct] = (1,)
    set: tuple[str, ...] = ()
    setting: Annotated[tuple[SettingOptions, ...], Distinct] = ()
    systems: Systems = ()
    conditions: Annotated[tuple[str, ...], Distinct] = ()
    like: Annotated[str, pydantic.Field(pattern=r"^[^/]+\.toml$")] | None = None
    claim: Annotated[tuple[ClaimOptions, ...], Distinct] = ()


@dataclass(frozen=True)
class ExperimentRun:
    """One run: a recipe with everything set, in a folder of its own.

    settings: {option: value} by which its setting differs from the recipe. options: digest of all options but fold
    and seed; folders are no options. systems and conditions: those whose rows are expected.
    """

    setting: str
    fold: int | None
    seed: int
    settings: dict[str, Any]
    options: str
    command: str
    context: Context
    systems: tuple[str, ...]
    conditions: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.context.exp.name

    def key(self, experiment: str) -> RunKey:
        """Which run its rows are of."""
        return experiment, self.setting, self.fold, self.seed


@dataclass(frozen=True)
class Experiment:
    """A checked experiment file: its runs, in the order in which they are run."""

    name: str
    recipe_name: str
    exp: Path
    table: Path
    conditions: tuple[str, ...]
    runs: tuple[ExperimentRun, ...]
    folds: tuple[int, ...] = ()
    like: Path | None = None
    claims: tuple[ClaimOptions, ...] = ()

    @property
    def measures(self) -> Path:
        """The table of measures, beside that of results."""
        return self.table.with_name("measures.csv")


def load_experiment(
    path: Path,
    exp: Path | None = None,
    table: Path | None = None,
    corpus_dir: Path | None = None,
    noise_dir: Path | None = None,
    executor: str | None = None,
    only: Sequence[str] = (),
) -> Experiment:
    """Read and check an experiment file; the arguments, if given, take the place of what is written.

    only: names of settings; none: all of them.
    Every run's recipe is checked, too, before anything runs. Folds come first, then seeds, then settings: runs that
    share most follow each other, and the first rows are a fair sample. ConfigError names what is wrong and where.
    """
    options = _read(path)
    base = path.resolve().parent
    name = options.name or path.stem
    recipe_path = find_recipe(str(base / options.recipe) if options.recipe.endswith(".toml") else options.recipe)
    given = {"corpus_dir": corpus_dir or _beside(base, options.corpus_dir),
             "noise_dir": noise_dir or _beside(base, options.noise_dir)}  # fmt: skip
    root = (exp or _beside(base, options.exp) or Path("exp") / _first_name(path, options)).resolve()
    _check_settings(path, options)
    settings = options.setting or (SettingOptions(name=DEFAULT_SETTING),)
    if unknown := sorted(set(only) - {setting.name for setting in settings}):
        names = ", ".join(setting.name for setting in settings)
        raise ConfigError(f"{path}: no setting {', '.join(unknown)}; there are {names}")
    folds_of = {setting.name: setting.folds or options.folds or (None,) for setting in settings}
    runs = []
    for fold in dict.fromkeys(fold for folds in folds_of.values() for fold in folds):
        for seed in options.seeds:
            for setting in settings:
                if fold in folds_of[setting.name] and (not only or setting.name in only):
                    run = _make_run(path, options, setting, fold, seed, recipe_path, root, given, executor)
                    runs.append(run)
    return Experiment(
        name=name,
        recipe_name=recipe_name(recipe_path),
        exp=root,
        table=(table or base / options.table).resolve(),
        conditions=options.conditions,
        runs=tuple(runs),
        folds=options.folds,
        like=path.parent / options.like if options.like else None,
        claims=options.claim,
    )


def with_crew(experiment: Experiment, crew: Crew) -> Experiment:
    """Its runs train their networks with these workers."""
    runs = (replace(run, context=replace(run.context, shared_crew=crew)) for run in experiment.runs)
    return replace(experiment, runs=tuple(runs))


def _read(path: Path) -> ExperimentOptions:
    def where(key: tuple[str, ...]) -> str:
        if key[:1] in (("setting",), ("claim",)) and len(key) > 1:
            return f"{path}: [[{key[0]}]] number {int(key[1]) + 1}"
        line = line_of(path, key)
        return f"{path}:{line}" if line else str(path)

    values = read_toml(path)
    if isinstance(values.get("like"), str):
        other = _read(path.parent / values["like"])
        if other.like:
            raise ConfigError(f"{path}: like: {values['like']} is like {other.like}; name that one")
        theirs = {key: value for key, value in plain(other).items() if key in other.model_fields_set - _OWN}
        both = {"set": [*theirs.get("set", []), *values.get("set", [])]}
        values = {**theirs, **values, **both}
    return validate(ExperimentOptions, values, where)


def _first_name(path: Path, options: ExperimentOptions) -> str:
    """The name of the experiment that it is like, in whose folder the runs are; else its own."""
    if options.like is None:
        return options.name or path.stem
    return _first_name(path.parent / options.like, _read(path.parent / options.like))


def _check_settings(path: Path, options: ExperimentOptions) -> None:
    for of in (options, *options.setting):
        if unknown := [system for system in of.systems if system not in SYSTEMS]:
            where = f"setting {of.name}: " if isinstance(of, SettingOptions) else ""
            raise ConfigError(f"{path}: {where}systems: {', '.join(unknown)} unknown; there are {', '.join(SYSTEMS)}")
    names = [setting.name for setting in options.setting]
    for number, setting in enumerate(options.setting):
        if setting.like is not None and setting.like not in names[:number]:
            raise ConfigError(f"{path}: setting {setting.name}: like: no setting {setting.like} before it")
    if options.like is not None:
        theirs = [setting.name for setting in _read(path.parent / options.like).setting] or [DEFAULT_SETTING]
        if twice := [name for name in names or [DEFAULT_SETTING] if name in theirs]:
            raise ConfigError(f"{path}: setting {', '.join(twice)}: {options.like} has one of that name")


def _sets(options: ExperimentOptions, setting: SettingOptions) -> list[str]:
    """All that is set for a setting, the experiment's first."""
    if setting.like is None:
        return [*options.set, *setting.set]
    other = next(found for found in options.setting if found.name == setting.like)
    return [*_sets(options, other), *setting.set]


def _beside(base: Path, folder: Path | None) -> Path | None:
    return None if folder is None else (base / folder.expanduser()).resolve()


def _make_run(
    path: Path,
    options: ExperimentOptions,
    setting: SettingOptions,
    fold: int | None,
    seed: int,
    recipe_path: Path,
    root: Path,
    given: dict[str, Path | None],
    executor: str | None,
) -> ExperimentRun:
    sets = _sets(options, setting)
    settings = {".".join(key): value for key, value in map(parse_setting, sets)}
    for key, instead in (("seed", "seeds"), ("corpus.fold", "folds")):
        if key in settings:
            raise ConfigError(f"{path}: setting {setting.name}: {key} has a key of its own: {instead} = [...]")
    grid = [f"seed={seed}", *([] if fold is None else [f"corpus.fold={fold}"])]
    try:
        recipe = load_recipe(recipe_path, [*sets, *grid])
    except ConfigError as error:
        raise ConfigError(f"{path}: setting {setting.name}: {error}") from error
    folders = {name: folder or getattr(recipe, name) for name, folder in given.items()}
    for name, folder in folders.items():
        if folder is not None and not folder.is_dir():
            raise ConfigError(f"{path}: {name} {folder}: no such folder")
    parts = [setting.name] if options.setting else []
    parts += [f"fold{fold}"] if fold is not None else []
    context = Context(
        recipe=recipe,
        exp=root / "-".join([*parts, f"seed{seed}"]),
        executor_spec=executor or options.executor,
        **{name: folder.resolve() if folder else None for name, folder in folders.items()},
    )
    return ExperimentRun(
        setting=setting.name,
        fold=fold,
        seed=seed,
        settings=settings,
        options=_digest_options(recipe),
        command=_command(options.recipe, context, [*sets, *grid]),
        context=context,
        systems=tuple(name for name in systems_of(recipe) if name in (setting.systems or options.systems or SYSTEMS)),
        conditions=_conditions(path, options, context),
    )


def _digest_options(recipe: Recipe) -> str:
    values = plain(recipe)
    for name in ("seed", "corpus_dir", "noise_dir"):
        del values[name]
    values["corpus"].pop("fold", None)
    return digest(values)[:12]


def _command(recipe: str, context: Context, sets: Sequence[str]) -> str:
    words = ["recipes/run.sh", "--recipe", recipe]
    words += ["--corpus-dir", "CORPUS"] if context.corpus_dir else []
    words += ["--noise-dir", "NOISE"] if context.noise_dir else []
    for setting in sets:
        words += ["--set", setting]
    return shlex.join(words)


def _conditions(path: Path, options: ExperimentOptions, context: Context) -> tuple[str, ...]:
    """Those asked for, else clean and, where there is noise, the recipe's ratios."""
    noisy = tuple(f"snr{snr_db}" for snr_db in context.recipe.test.snr_db)
    unknown = [name for name in options.conditions if name not in ("clean", *noisy)]
    if unknown:
        raise ConfigError(
            f"{path}: conditions: {', '.join(unknown)} not made by this recipe (test.snr_db); there are"
            f" {', '.join(('clean', *noisy))}"
        )
    if options.conditions:
        return options.conditions
    has_noise = context.noise_dir is not None or getattr(context.recipe.corpus, "noise_clips", 0) > 0
    return ("clean", *noisy) if has_noise else ("clean",)
