"""Weighted sum of feature maps: the mixed operation of DARTS (section 2.2, equation 2).

Liu, Simonyan, Yang: DARTS, differentiable architecture search, https://arxiv.org/abs/1806.09055
"""

from collections.abc import Sequence

from torch import Tensor

from sdedge.errors import KernelError
from sdedge.kernels.dispatch import Impl, choose
from sdedge.kernels.mixed_sum.reference import mixed_sum_reference

__all__ = ["mixed_sum"]


def mixed_sum(inputs: Sequence[Tensor], weights: Tensor, impl: Impl = "auto") -> Tensor:
    """Return sum_k weights[k] * inputs[k].

    Sums in float32 (float64 for float64 inputs) and rounds once. Inputs of any strides are taken;
    those that share the dense layout of inputs[0], be it contiguous or channels-last, are not
    copied. Where `weights` needs no gradient, no input is kept for the backward pass: detach it
    in a step that trains other parameters. The Triton kernels have no second derivative and say so.

    Args:
        inputs: K >= 1 tensors of one shape, one floating dtype and one device.
        weights: (K,) of any floating dtype, on the device of the inputs.
        impl: see `sdedge.kernels.dispatch.resolve`.

    Returns:
        A tensor of the shape and dtype of the inputs.

    Raises:
        KernelError: the arguments do not fit together, or `impl` cannot run on them.
    """
    _check(inputs, weights)
    if choose("mixed_sum", impl, inputs[0].device, inputs[0].dtype) == "triton":
        from sdedge.kernels.mixed_sum.fused import mixed_sum_fused  # imports triton

        return mixed_sum_fused(inputs, weights)
    return mixed_sum_reference(inputs, weights)


def _check(inputs: Sequence[Tensor], weights: Tensor) -> None:
    if not inputs:
        raise KernelError("mixed_sum: inputs is empty; give at least one tensor")
    first = inputs[0]
    shape, dtype, device = first.shape, first.dtype, first.device
    for k, x in enumerate(inputs):
        if x.shape != shape or x.dtype != dtype or x.device != device:
            raise KernelError(
                f"mixed_sum: inputs[{k}] is {_describe(x)}, but inputs[0] is {_describe(first)}"
            )
    if not first.is_floating_point():
        raise KernelError(f"mixed_sum: inputs are {dtype}; give a floating dtype")
    if weights.shape != (len(inputs),):
        raise KernelError(
            f"mixed_sum: weights is {_describe(weights)}, but {len(inputs)} inputs need "
            f"shape ({len(inputs)},)"
        )
    if not weights.is_floating_point() or weights.device != device:
        raise KernelError(
            f"mixed_sum: weights is {_describe(weights)}; give a floating dtype on {device}"
        )


def _describe(x: Tensor) -> str:
    return f"{tuple(x.shape)} {x.dtype} on {x.device}"
