"""Reconstruction loss of masked image modelling (Semantic-DARTS, section on the loss).

Also the loss of masked autoencoders: He et al., https://arxiv.org/abs/2111.06377
"""

import torch
from torch import Tensor

from sdedge.errors import KernelError
from sdedge.kernels.dispatch import Impl, choose
from sdedge.kernels.masked_mse.reference import masked_mse_reference

__all__ = ["masked_mse"]


def masked_mse(
    prediction: Tensor, target: Tensor, mask: Tensor, patch_size: int, impl: Impl = "auto"
) -> Tensor:
    """Return sum(mask * l) / sum(mask), where l is the mean squared error of each patch.

    A mask of ones gives the plain mean squared error; a mask of zeros gives loss 0 and zero
    gradients. Nothing waits for the device. Contiguous and channels-last images are read as they
    are, others are copied. Only the reference has a second derivative.

    Args:
        prediction: (N, C, H, W), floating.
        target: (N, C, H, W), floating; its dtype may differ.
        mask: (N, L) of bool or of floats 0 and 1, where 1 counts; L = H/P * W/P patches, row by
            row. It gets no gradient.
        patch_size: P, in pixels; divides H and W.
        impl: see `sdedge.kernels.dispatch.resolve`.

    Returns:
        A scalar tensor, float32 (float64 if prediction or target is).

    Raises:
        KernelError: the arguments do not fit together, or `impl` cannot run on them.
    """
    _check(prediction, target, mask, patch_size)
    dtype = torch.promote_types(prediction.dtype, target.dtype)
    if choose("masked_mse", impl, prediction.device, dtype) == "triton":
        from sdedge.kernels.masked_mse.fused import masked_mse_fused  # imports triton

        return masked_mse_fused(prediction, target, mask, patch_size)
    return masked_mse_reference(prediction, target, mask, patch_size)


def _check(prediction: Tensor, target: Tensor, mask: Tensor, patch_size: int) -> None:
    shape = tuple(prediction.shape)
    if len(shape) != 4 or 0 in shape[1:] or tuple(target.shape) != shape:
        raise KernelError(
            f"masked_mse: prediction is {shape} and target {tuple(target.shape)}; "
            "give two tensors of one shape (N, C, H, W), of which only N may be 0"
        )
    n, _, height, width = shape
    if patch_size < 1 or height % patch_size or width % patch_size:
        raise KernelError(
            f"masked_mse: patch_size={patch_size} does not divide images of {height} x {width}"
        )
    patches = (n, (height // patch_size) * (width // patch_size))
    if tuple(mask.shape) != patches:
        raise KernelError(
            f"masked_mse: mask is {tuple(mask.shape)}; prediction {shape} with "
            f"patch_size={patch_size} needs {patches}"
        )
    if mask.requires_grad or not (mask.dtype == torch.bool or mask.is_floating_point()):
        raise KernelError(
            f"masked_mse: mask is {mask.dtype} with requires_grad={mask.requires_grad}; "
            "give bool or floats 0 and 1 without a gradient"
        )
    if not prediction.is_floating_point() or not target.is_floating_point():
        raise KernelError(
            f"masked_mse: prediction is {prediction.dtype} and target {target.dtype}; "
            "give floating dtypes"
        )
    if not prediction.device == target.device == mask.device:
        raise KernelError(
            f"masked_mse: prediction is on {prediction.device}, target on {target.device}, "
            f"mask on {mask.device}; move them to one device"
        )
