"""The recipe: everything that can be chosen about a run, in one schema, read from a TOML file.

Each package declares its own options; here they become the sections of one file. Where recipes are found,
and how `--set` changes them, is here as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic

import pyasr
from pyasr.align.options import GmmOptions, SenoneOptions
from pyasr.base.config import Options, line_of, parse_value, read_toml, validate
from pyasr.base.errors import ConfigError
from pyasr.corpora.options import CorpusOptions, DemoOptions, ValidationOptions
from pyasr.decode.options import DecodeOptions, NetworkDecodeOptions
from pyasr.features.options import FeatureOptions
from pyasr.lang.options import LangOptions
from pyasr.targets.options import TargetOptions
from pyasr.train.options import SmbrOptions, TrainSections


class TestOptions(Options):
    """Test conditions beside the clean one; they need noise, from --noise-dir or the corpus itself."""

    __test__ = False  # no test class, though its name begins like one

    snr_db: tuple[int, ...] = (20, 10, 5)


class Recipe(Options):
    """A recipe.toml. Folders are relative to the file; --corpus-dir and --noise-dir take their place."""

    seed: int = pydantic.Field(1, ge=0)
    corpus_dir: Path | None = None
    noise_dir: Path | None = None
    corpus: CorpusOptions = DemoOptions()
    validation: ValidationOptions = ValidationOptions()
    lang: LangOptions = LangOptions()
    features: FeatureOptions = FeatureOptions()
    gmm: GmmOptions = GmmOptions()
    senones: SenoneOptions = SenoneOptions()
    train: TrainSections = TrainSections()
    targets: TargetOptions = TargetOptions()
    smbr: SmbrOptions = SmbrOptions()
    decode: DecodeOptions = DecodeOptions()
    decode_network: NetworkDecodeOptions = NetworkDecodeOptions()
    test: TestOptions = TestOptions()

    @pydantic.model_validator(mode="after")
    def _check(self) -> Recipe:
        if self.targets.stacking == "first" and self.train.supervised.augment.speeds != (1.0,):
            raise ValueError(
                "targets.stacking = 'first' stores posteriors of one phase of the speech as it is: without other"
                " speeds (train.supervised.augment.speeds = [1.0])"
            )
        return self


def recipe_folders() -> list[Path]:
    """Where recipes are looked for by name: beside the package in a checkout, inside it when installed."""
    package = Path(pyasr.__file__).resolve().parent
    return [package.parent / "recipes", package / "recipes"]


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path to a .toml file, or the name of one that comes with pyasr."""
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"--recipe {name}: no such file")
        return path.resolve()
    files = {
        path.parent.name: path for folder in reversed(recipe_folders()) for path in folder.glob("*/recipe.toml")
    }
    if name not in files:
        raise ConfigError(
            f"--recipe {name}: no recipe of that name; there are {', '.join(sorted(files))}, or give a path to a"
            " .toml file"
        )
    return files[name]


def recipe_name(path: Path) -> str:
    """NAME of NAME/recipe.toml; otherwise the file's name without its suffix."""
    return path.parent.name if path.name == "recipe.toml" else path.stem


def load_recipe(path: Path, settings: list[str] | None = None) -> Recipe:
    """Read and check a recipe; `settings` are "section.key=value" that take the place of what is written.

    ConfigError names every mistake: the key, the file and line (or the setting), the nearest valid name.
    """
    values = read_toml(path)
    set_keys = {}
    for setting in settings or []:
        key, value = parse_setting(setting)
        _insert(values, key, value, setting)
        set_keys[key] = setting

    def where(key: tuple[str, ...]) -> str:
        for set_key, setting in set_keys.items():
            if key[: len(set_key)] == set_key:
                return f"--set {setting}"
        line = line_of(path, key)
        return f"{path}:{line}" if line else str(path)

    recipe = validate(Recipe, values, where)
    return recipe.model_copy(
        update={name: _absolute(getattr(recipe, name), path.parent) for name in ("corpus_dir", "noise_dir")}
    )


def _absolute(folder: Path | None, base: Path) -> Path | None:
    return None if folder is None else (base / folder.expanduser()).resolve()


def parse_setting(setting: str) -> tuple[tuple[str, ...], Any]:
    """("gmm", "tri", "num_leaves"), 600 of "gmm.tri.num_leaves=600"; a value that is not TOML is taken as text."""
    key, equals, text = setting.partition("=")
    names = tuple(part.strip() for part in key.split("."))
    if not equals or not all(names):
        raise ConfigError(f"--set {setting}: expected section.key=value, for example gmm.tri.num_leaves=600")
    return names, parse_value(text.strip())


def _insert(values: dict[str, Any], key: tuple[str, ...], value: Any, setting: str) -> None:
    for name in key[:-1]:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {setting}: {name} is a value, not a section")
    values[key[-1]] = value
