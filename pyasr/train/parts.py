"""Checkpoints of several workers: a file of each and, last, a manifest that makes them one.

    checkpoint/000012/worker-0.pt, worker-1.pt, ..., manifest.json

A folder without its manifest was not finished and is not read; the one before it is removed only after the manifest is
on the disk. The folder has to be one that all workers see. A single worker writes one file, as ever.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pyasr.base.artifact import read_json, write_json
from pyasr.base.errors import DataError, PyasrError
from pyasr.dist.comm import Comm
from pyasr.train.checkpoint import load_checkpoint, save_checkpoint

_MANIFEST = "manifest.json"
CHECKPOINTS = ("checkpoint.pt", "checkpoint")
"""Of a single worker, and of several."""
SHARED = ("best", "log")
"""What worker 0 alone writes, for all."""
OF_ONE_MODEL = ("model", "optimiser")
"""What worker 0 alone writes where all workers have the same."""


class Checkpoints:
    """Those of one training in a folder; key: digest of what the training is made from."""

    def __init__(self, folder: str | Path, key: str, comm: Comm) -> None:
        self.single, self.parted = (Path(folder) / name for name in CHECKPOINTS)
        self.key, self.comm = key, comm

    def save(self, state: dict[str, Any], one_model: bool = True) -> None:
        """Write this worker's state; all workers call it. DataError on all when one of them could not write."""
        if self.comm.size == 1:
            save_checkpoint(self.single, self.key, state)
            shutil.rmtree(self.parted, ignore_errors=True)
            return
        serial = max([int(folder.name) for folder in self._folders()], default=0) + 1
        # Worker 0's view of the disk counts: a shared one may show a removed folder a while longer to others.
        serials = self.comm.gather(torch.tensor([serial])).wait()
        folder = self.parted / f"{int(serials[0]):06d}"
        omitted = () if self.comm.rank == 0 else SHARED + (OF_ONE_MODEL if one_model else ())
        error = self._try(
            lambda: save_checkpoint(
                folder / _part(self.comm.rank), self.key, {n: v for n, v in state.items() if n not in omitted}
            )
        )
        self._agree(error, folder)
        error = self._try(lambda: self._finish(folder)) if self.comm.rank == 0 else None
        self._agree(error, folder)

    def load(self) -> list[dict[str, Any]] | None:
        """The states of all workers of the newest checkpoint, by rank; None when there is none of this training.

        Of as many workers as there are now, the other workers' are None. DataError when it is damaged.
        """
        states = self._read()
        # Nobody goes on before all have read: of a training that was done, worker 0 removes the checkpoint at once.
        self.comm.gather(torch.tensor([int(states is not None)])).wait()
        return states

    def _read(self) -> list[dict[str, Any]] | None:
        candidates = sorted(self._folders(), reverse=True)
        complete = next((folder for folder in candidates if (folder / _MANIFEST).exists()), None)
        if complete is None:
            state = load_checkpoint(self.single, self.key)
            return None if state is None else [state]
        manifest = read_json(complete / _MANIFEST)
        if manifest.get("key") != self.key:
            return None
        size = manifest["workers"]
        wanted = {0, self.comm.rank} if size == self.comm.size else set(range(size))
        parts = {rank: load_checkpoint(complete / _part(rank), self.key) for rank in wanted}
        missing = [_part(rank) for rank, part in parts.items() if part is None]
        if missing:
            raise DataError(f"{complete}: no {', '.join(missing)}; delete the folder to train from the beginning")
        return [{**parts[0], **parts[rank]} if rank in parts else None for rank in range(size)]

    def remove(self) -> None:
        """When the training is done."""
        if self.comm.rank == 0:
            self.single.unlink(missing_ok=True)
            shutil.rmtree(self.parted, ignore_errors=True)

    def _finish(self, folder: Path) -> None:
        write_json(folder / _MANIFEST, {"key": self.key, "workers": self.comm.size})
        for other in self._folders():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
        self.single.unlink(missing_ok=True)

    def _folders(self) -> list[Path]:
        return [path for path in self.parted.glob("*") if path.name.isdecimal()]

    @staticmethod
    def _try(write: Callable[[], None]) -> PyasrError | None:
        try:
            write()
        except PyasrError as error:
            return error
        return None

    def _agree(self, error: PyasrError | None, folder: Path) -> None:
        """Raise on all workers when one has failed: none goes on with a checkpoint that will not be complete."""
        failed = [int(flag) for flag in self.comm.gather(torch.tensor([int(error is not None)])).wait()]
        if any(failed) and self.comm.rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
        if error is not None:
            raise error
        if any(failed):
            raise DataError(
                f"checkpoint {self.parted}: worker {failed.index(1)} could not write its part; the checkpoint before it"
                " stays; see that worker's error"
            )


def _part(rank: int) -> str:
    return f"worker-{rank}.pt"
