"""The devices that kernels run on here: one test body for all of them."""

import pytest
import torch

from pyasr.ops import cuda


@pytest.fixture(params=["cpu", "cuda"])
def device(request) -> str:
    if request.param == "cuda" and not cuda.is_built():
        pytest.skip("built without CUDA")
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    return request.param
