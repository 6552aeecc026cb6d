"""What a stage is, and what it is given."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pyasr.base.executor import make_executor
from pyasr.run.crew import Crew
from pyasr.run.recipe import Recipe

Digest = dict[str, Any]
"""What a stage reports when it ends: {"utterances": 848, "hours": 0.64, ...}; kept in its sidecar."""


@dataclass(frozen=True)
class Context:
    """What every stage is given: the recipe, where to read and write, and the executor for parallel work."""

    recipe: Recipe
    exp: Path
    corpus_dir: Path | None = None
    noise_dir: Path | None = None
    executor_spec: str = "processes"
    shared_crew: Crew | None = None

    @cached_property
    def crew(self) -> Crew:
        """The workers that train networks; of its own, unless there is one that several contexts share."""
        return self.shared_crew or Crew(self.recipe.train.every_dist())

    @cached_property
    def executor(self) -> Executor:
        """Made when first used: a run that skips everything starts no workers."""
        folders = (self.exp, self.corpus_dir, self.noise_dir)
        return make_executor(self.executor_spec, [folder for folder in folders if folder is not None])

    def __getstate__(self) -> dict[str, Any]:
        """Sent to another worker, a context is without what belongs to this process."""
        return {name: value for name, value in self.__dict__.items() if name not in ("crew", "shared_crew", "executor")}

    def close(self) -> None:
        """Let the workers, if there are any, end with the job that they are at."""
        if "executor" in self.__dict__:
            self.executor.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class Stage:
    """A row of the stage table. A stage reads artifacts and writes artifacts; nothing else ties it to others.

    entry: "module.function" below pyasr.run.steps, imported when the stage runs; called with a Context.
    reads: names of the stages whose artifacts are read.
    writes: files and folders below EXP, folders with a slash at the end. No two stages write the same.
    options: dotted names of the recipe's sections and keys that change what is written.
    external: which of "corpus_dir" and "noise_dir" are read.
    version: raised when the code writes something else for the same options.
    """

    name: str
    what: str
    entry: str
    writes: tuple[str, ...]
    reads: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    version: int = 1

    def function(self) -> Callable[[Context], Digest]:
        module, _, name = self.entry.partition(".")
        return getattr(importlib.import_module(f"pyasr.run.steps.{module}"), name)

    def missing_outputs(self, exp: Path) -> list[str]:
        """Declared outputs that do not exist; an empty folder counts as missing."""
        return [name for name in self.writes if not _exists(exp / name)]


def _exists(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()
