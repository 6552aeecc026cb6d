"""GTC within groups of two, BMUF across: over a DeviceMesh, and emulated."""

import torch
from torch.distributed.device_mesh import init_device_mesh

from pyasr.dist import BMUF, GTCState
from pyasr.dist.comm import ProcessGroupComm, tiers
from pyasr.dist.emulate import run_emulated


def train(rank, within, across, steps=7):
    """(the worker's weights at the end, its model's when the last block ended)."""
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 3)
    state = GTCState(model, 0.02, within)
    bmuf = BMUF(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5), 3, process_group=across)
    for step in range(steps):
        x = torch.randn(8, 5, generator=torch.Generator().manual_seed(10 * step + rank))
        bmuf.zero_grad()
        (model(x) - x[:, :3]).square().mean().backward()
        state.exchange({name: parameter.grad for name, parameter in model.named_parameters()})
        bmuf.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()]).tolist(), bmuf.global_weights.tolist()


def over_a_mesh(rank):
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("across", "within"))
    within, across = (ProcessGroupComm(mesh.get_group(name), deterministic=True) for name in ("within", "across"))
    return train(rank, within, across)


def test_mesh_and_emulation_agree(run_workers):
    found = run_workers(4, over_a_mesh)
    assert found == run_emulated(4, lambda comm: train(comm.rank, *tiers(comm, 2)))
    own, overall = zip(*found)
    assert own[0] == own[1] != own[2] == own[3], "one model in a group, two groups within a block"
    assert len(set(map(tuple, overall))) == 1
