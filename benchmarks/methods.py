"""Ways of training by four workers, ours and torch's: loss at equal samples, and at equal simulated time.

    python benchmarks/methods.py FOLDER --exp EXP [--only NAME,...] [--steps N] [--rates LR,...]

EXP is a folder of a recipe that has made senones (AN4's, for the committed figures): its features and targets are the
task, a small LSTM the model, the same batches, warm-up, schedule and learning rates tried for every method; the best
rate by the last dev loss is shown. torch's hooks run in four gloo processes; the rest is emulated in this one, DDP too.
Each training leaves a file in FOLDER and is not done again; methods.csv, methods.md and methods.png are made of what is
there.

The clock of the second comparison is the planner's (pyasr/run/plan.py), for the student of 24 M weights on GPUs: a step
here counts as a step of 2,048 frames a worker there. How exchanging compares with computing depends on the model's size
only through the messages' delay. The clock begins after the warm-up: plain all-reduce, averaged models for BMUF.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing
from methods_data import Data, load
from methods_page import Setting, draw, read_losses, table, write_losses
from methods_torch import TORCH, TorchWorkers

from pyasr.base.artifact import atomic_path
from pyasr.dist.comm import Comm
from pyasr.dist.emulate import run_emulated
from pyasr.dist.options import BMUFOptions, DistOptions, GTCOptions
from pyasr.dist.workers import Workers
from pyasr.nn.model import AcousticModel
from pyasr.nn.options import NetworkOptions

SIZE, WARMUP, SYNC_EVERY, GROUP, DENSITY = 4, 40, 20, 2, 5e-3
LOOKS = 12
NETWORK = NetworkOptions(layers=2, units=160, delay_frames=0)

_GTC = GTCOptions(density=DENSITY, warmup_steps=WARMUP)
_BMUF = BMUFOptions(sync_every=SYNC_EVERY, warm_start=WARMUP // SYNC_EVERY)
EMULATED = {
    "DDP": DistOptions(method="ddp"),
    "GTC": DistOptions(method="gtc", gtc=_GTC),
    "BMUF": DistOptions(method="bmuf", bmuf=_BMUF),
    "GTC + BMUF": DistOptions(method="gtc+bmuf", group_size=GROUP, gtc=_GTC, bmuf=_BMUF),
}
NAMES = ("DDP", *TORCH, "GTC", "BMUF", "GTC + BMUF")


def train(workers: Workers | TorchWorkers, data: Data, lr: float, steps: int) -> list[tuple[int, float]]:
    """(step, dev loss) of worker 0, LOOKS times; losses are of nats a frame."""
    torch.manual_seed(1)
    model = AcousticModel(data.dev_frames.shape[-1], data.num_senones, NETWORK)
    optimiser = workers.attach(model, torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9))
    found = []
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / WARMUP) * (1.0 - step / steps)
        frames, senones = data.batch(step, workers.rank, workers.size)
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(workers.model(frames).flatten(0, 1), senones.flatten())
        _, finite = workers.backward(loss, clip_norm=1.0)
        if finite:
            optimiser.step()
        else:
            workers.skip()
        if (step + 1) % (steps // LOOKS) == 0 and workers.rank == 0:
            with workers.global_model(), torch.inference_mode():
                outputs = model(data.dev_frames).flatten(0, 1)
                dev = torch.nn.functional.cross_entropy(outputs, data.dev_senones.flatten(), ignore_index=-1)
            found.append((step + 1, float(dev)))
    return found


def train_emulated(name: str, data: Data, lr: float, steps: int) -> list[tuple[int, float]]:
    def worker(comm: Comm) -> list[tuple[int, float]]:
        return train(Workers(EMULATED[name], comm), data, lr, steps)

    return run_emulated(SIZE, worker)[0]


def _process(rank: int, name: str, data: Data, lr: float, steps: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=SIZE, timeout=timedelta(seconds=300)
    )
    found = train(TorchWorkers(name, WARMUP, SYNC_EVERY), data, lr, steps)
    if rank == 0:
        (folder / "found.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def train_by_processes(name: str, data: Data, lr: float, steps: int) -> list[tuple[int, float]]:
    with tempfile.TemporaryDirectory() as folder:
        arguments = (name, data, lr, steps, Path(folder))
        torch.multiprocessing.start_processes(_process, arguments, nprocs=SIZE, start_method="fork")
        return json.loads((Path(folder) / "found.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="made where it does not exist")
    parser.add_argument("--exp", type=Path, help="of a recipe; without it nothing is trained")
    parser.add_argument("--only", help=f"some of: {', '.join(NAMES)}; separated by commas")
    parser.add_argument("--steps", type=int, default=480, help="of each training (default 480)")
    parser.add_argument("--rates", default="1.0,0.5", help="learning rates (default 1.0,0.5)")
    arguments = parser.parse_args()
    if arguments.steps % (LOOKS * SYNC_EVERY):
        parser.error(
            f"--steps {arguments.steps}: a multiple of {LOOKS * SYNC_EVERY}, so that looks are at ends of blocks"
        )
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    chosen = arguments.only.split(",") if arguments.only else NAMES
    if unknown := sorted(set(chosen) - set(NAMES)):
        parser.error(f"no method {', '.join(unknown)}; there are {', '.join(NAMES)}")
    data = load(arguments.exp, arguments.folder / "data.pt") if arguments.exp else None
    for lr in map(float, arguments.rates.split(",")) if data else ():
        for name in chosen:
            path = arguments.folder / f"{name}, lr {lr}.json"
            if path.exists():
                if json.loads(path.read_text())[-1][0] != arguments.steps:
                    parser.error(f"{path} is of another number of steps; take another folder")
                continue
            begun = time.monotonic()
            how = train_emulated if name in EMULATED else train_by_processes
            found = how(name, data, lr, arguments.steps)
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(found))
            took_s = time.monotonic() - begun
            print(f"{name}, learning rate {lr}: dev loss {found[-1][1]:.4f} ({took_s:.0f} s)", flush=True)
    losses = {name: collect(arguments.folder, name) for name in NAMES}
    write_losses({name: by_rate for name, by_rate in losses.items() if by_rate}, arguments.folder / "methods.csv")
    make_page(arguments.folder / "methods.csv", arguments.folder)


def collect(folder: Path, name: str) -> dict[float, list[tuple[int, float]]]:
    paths = sorted(folder.glob(f"{name}, lr *.json"), reverse=True)
    return {float(path.stem.split(" lr ")[1]): json.loads(path.read_text()) for path in paths}


def make_page(table_of_losses: Path, folder: Path) -> None:
    losses = read_losses(table_of_losses)
    if not losses:
        raise SystemExit("nothing is trained yet: --exp")
    setting = Setting(NAMES, SIZE, WARMUP, SYNC_EVERY, GROUP, DENSITY)
    (folder / "methods.md").write_text(table(losses, setting))
    draw(losses, setting, folder / "methods.png")
    print(table(losses, setting), end="")


if __name__ == "__main__":
    main()
