"""The masked mean squared error in plain torch; also what runs on the CPU."""

import torch
from torch import Tensor


def masked_mse_reference(
    prediction: Tensor,  # (N, C, H, W)
    target: Tensor,  # (N, C, H, W)
    mask: Tensor,  # (N, L)
    patch_size: int,
) -> Tensor:
    """See `sdedge.kernels.masked_mse.masked_mse`."""
    dtype = torch.promote_types(torch.promote_types(prediction.dtype, target.dtype), torch.float32)
    n, c, height, width = prediction.shape
    square = (prediction.to(dtype) - target.to(dtype)).square()
    patches = square.reshape(
        n, c, height // patch_size, patch_size, width // patch_size, patch_size
    ).mean((1, 3, 5))  # (N, H/P, W/P)
    weights = mask.to(dtype)
    return (patches.flatten(1) * weights).sum() / weights.sum().clamp(min=1)
