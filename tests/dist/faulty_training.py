"""A training under torchrun whose worker 1 fails once: FOLDER (with data.pickle) FAULT ("kill", "hang" or "none")."""

import os
import pickle
import signal
import sys
import time
from pathlib import Path

import torch

from pyasr.base.errors import PyasrError
from pyasr.dist.launch import join, leave
from pyasr.dist.options import DistOptions, GTCOptions
from pyasr.dist.workers import Workers
from pyasr.nn.model import AcousticModel
from pyasr.nn.options import NetworkOptions
from pyasr.train.loop import Trainer
from pyasr.train.options import OptimiserOptions, PhaseOptions, TrainOptions

TIMEOUT_S = 8.0


def main(folder: Path, fault: str) -> None:
    data = pickle.loads((folder / "data.pickle").read_bytes())
    dist = DistOptions(method="gtc", timeout_s=TIMEOUT_S, gtc=GTCOptions(density=0.05))
    workers = Workers(dist, join(TIMEOUT_S))
    options = TrainOptions(
        network=NetworkOptions(layers=1, units=8, delay_frames=1, dropout=0.1),
        optimiser=OptimiserOptions(kind="sgd", lr=0.3, warmup_steps=2),
        phases=(PhaseOptions(max_sub_epochs=2),),
        batch_s=2.0,
        workers=0,
        checkpoint_s=1e-9,
    )
    torch.manual_seed(1)
    model = AcousticModel(data.frontend.dim, 4, options.network)
    trainer = Trainer(model, data, options, 1, folder, "test", device="cpu", workers=workers)
    step, marker = trainer._step, folder / "failed"

    def failing_step(batch):
        if fault != "none" and workers.rank == 1 and trainer.position.step == 3 and not marker.exists():
            marker.write_text("")
            if fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(1000.0)
        step(batch)

    trainer._step = failing_step
    trainer._resume()
    print(f"worker {workers.rank} begins at step {trainer.position.step}", flush=True)
    trainer.run()
    if workers.rank == 0:
        torch.save(trainer.model.state_dict(), folder / "final.pt")
    leave()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2])
    except PyasrError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
