"""The log of a training: a row each time it looks at dev, in log.jsonl and as curves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from pyasr.base.artifact import write_jsonl

Row = dict[str, Any]


class TrainingLog:
    """folder: gets log.jsonl and tensorboard/; None: rows are in memory alone. say: told each row that is written."""

    def __init__(self, folder: Path | None, say: Callable[[Row], None]) -> None:
        self._folder, self._say = folder, say
        self._board: SummaryWriter | None = None
        self.rows: list[Row] = []

    @contextlib.contextmanager
    def drawing(self, step: int) -> Iterator[None]:
        """Draw curves within; what was drawn after `step`, by a run that was killed, is dropped."""
        if self._folder is None:
            yield
            return
        with SummaryWriter(str(self._folder / "tensorboard"), purge_step=step) as self._board:
            yield

    def add(self, row: Row) -> None:
        self.rows.append(row)
        if self._folder is None:
            return
        for name, value in row.items():
            if isinstance(value, (int, float)) and name not in ("phase", "sub_epoch", "step"):
                self._board.add_scalar(name, value, row["step"])
        write_jsonl(self._folder / "log.jsonl", self.rows)
        self._say(row)
