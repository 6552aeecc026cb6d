"""A teacher's outputs for batches of utterances, packed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pyasr.features.stack import stack_frames
from pyasr.nn.network import Network
from pyasr.ops import pack_topk


class Labeller:
    """network: on the device where it is to run; bf16 products on a GPU, float32 on the CPU.

    phases: 1 stores the frames of stacking phase 0; as many as frames are stacked stores all of them, row
    j * phases + p being stack j of phase p. temperature: divides the logits before they are normalised over all
    senones, which nothing can undo later.
    """

    def __init__(self, network: Network, k: int, phases: int, temperature: float = 1.0) -> None:
        self.network, self.k, self.phases, self.temperature = network, k, phases, temperature
        self.device = network.model.log_priors.device

    @torch.inference_mode()
    def logits(self, samples: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Of each utterance (n,) float32 at 16 kHz the logits (R, S) of its stacks, on the CPU, float32 or bfloat16."""
        model, frontend = self.network.model, self.network.frontend
        stack = frontend.options.stack
        framed = map(frontend.frames, samples)
        stacked = [[stack_frames(frames, stack, phase) for phase in range(self.phases)] for frames in framed]
        sequences = [torch.from_numpy(s) for of_cut in stacked for s in of_cut if len(s)]
        outputs = iter(self._forward([model.with_delay(s) for s in sequences], [len(s) for s in sequences]))
        found = []
        for of_cut in stacked:
            rows = sum(map(len, of_cut))
            # Rounding in bf16 is far below what packing rounds to.
            dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
            logits = torch.empty(rows, model.num_senones, dtype=dtype)
            for phase, s in enumerate(of_cut):
                if len(s):
                    logits[phase :: self.phases] = next(outputs)
            found.append(logits)
        return found

    def _forward(self, sequences: list[torch.Tensor], lengths: list[int]) -> list[torch.Tensor]:
        if not sequences:
            return []
        frames = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True).to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits = self.network.model(frames, torch.tensor(lengths)) / self.temperature
        return [row[:length] for row, length in zip(logits.cpu(), lengths)]

    def pack(self, logits: torch.Tensor) -> torch.Tensor:
        """uint8 (R, row_bytes)"""
        return pack_topk(logits, self.k, num_threads=1)
