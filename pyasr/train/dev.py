"""The look at dev that ends a sub-epoch."""

from __future__ import annotations

import torch

from pyasr.dist.workers import Workers
from pyasr.features.augment import AugmentOptions
from pyasr.nn.losses import hard_cross_entropy
from pyasr.nn.model import AcousticModel
from pyasr.train.data import BatchMaker
from pyasr.train.feed import make_batches
from pyasr.train.plan import batches_of_pass

DEV = "dev"


def dev_augment(augment: AugmentOptions) -> AugmentOptions:
    """How dev is heard: with the noise of training, but otherwise as it is."""
    return AugmentOptions(noise_p=augment.noise_p, snr_db=augment.snr_db, stack_phase=False)


@torch.no_grad()
def evaluate(
    model: AcousticModel, maker: BatchMaker, batch_s: float, seed: int, workers: Workers, readers: int
) -> tuple[float, float]:
    """Mean loss and accuracy in per cent of the frames of the source DEV of `maker`, with noise as drawn for pass 0.

    Each of the workers looks at its share. The model is in eval mode afterwards.
    """
    plans = batches_of_pass(maker.sources[DEV].durations_s, batch_s, seed, DEV, 0)[workers.rank :: workers.size]
    device = model.log_priors.device
    model.eval()
    loss, correct, frames = 0.0, 0, 0
    for batch in make_batches(maker, plans, min(readers, len(plans))):
        on_device = batch.to(device)
        logits = batch.rows(model(on_device.frames, on_device.lengths)).float()
        loss += float(hard_cross_entropy(logits, on_device.senones).sum())
        correct += int((logits.argmax(dim=1) == on_device.senones).sum())
        frames += batch.num_frames
    loss, correct, frames = workers.total([loss, correct, frames])
    return loss / frames, 100.0 * correct / frames
