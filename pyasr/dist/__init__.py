"""Training on many machines: gradient threshold compression, blockwise model-update filtering, and both.

Both, over a DeviceMesh of machines by GPUs:

    mesh = init_device_mesh("cuda", (machines, gpus), mesh_dim_names=("across", "within"))
    ddp = DistributedDataParallel(model, process_group=mesh.get_group("within"))
    ddp.register_comm_hook(GTCState(model, tau=1e-3, process_group=mesh.get_group("within")), gtc_hook)
    optimizer = BMUF(optimizer, sync_every=50, process_group=mesh.get_group("across"))
"""

from pyasr.dist.bmuf import BMUF
from pyasr.dist.gtc import GTCState, gtc_hook

__all__ = ["BMUF", "GTCState", "gtc_hook"]
