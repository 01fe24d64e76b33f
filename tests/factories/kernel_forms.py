"""The forms of a fused operator that its tests hold to float64, where each runs, and on what."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor

from sdedge.kernels import Impl, dispatch

# Takes [output, *gradients] of a fused form, of plain torch, and in float64.
Check = Callable[[list[Tensor], list[Tensor], list[Tensor]], None]

IMPLS = [route for route in get_args(dispatch.Route) if route != "reference"]

HALVES = [
    torch.float16,
    pytest.param(  # the interpreter truncates bfloat16 where hardware rounds
        torch.bfloat16, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
    ),
]


def device_for(impl: Impl) -> torch.device:
    return torch.device("cuda" if impl != "cpu" and torch.cuda.is_available() else "cpu")
