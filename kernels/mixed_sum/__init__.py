"""Weighted sum of feature maps: the mixed operation of DARTS (section 2.2, equation 2).

The maps may come raw, with the statistics of the batch norm that stands between them and the sum:
then a whole node of a cell is one pass over them, and no normalised map exists.

Liu, Simonyan, Yang: DARTS, differentiable architecture search, https://arxiv.org/abs/1806.09055
"""

from collections.abc import Sequence

from torch import Tensor

from sdedge.errors import KernelError
from sdedge.kernels.dispatch import Impl, choose
from sdedge.kernels.mixed_sum.reference import mixed_sum_reference

__all__ = ["mixed_sum"]


def mixed_sum(
    inputs: Sequence[Tensor],
    weights: Tensor,
    statistics: Sequence[Tensor | None] | None = None,
    *,
    training: bool = True,
    impl: Impl = "auto",
) -> Tensor:
    """Return sum_k weights[k] * inputs[k], or of batch_norm(inputs[k]) where it has statistics.

    Sums in float32 (float64 for float64 inputs) and rounds once. Inputs of any strides are taken;
    those that share the dense layout of inputs[0], be it contiguous or channels-last, are not
    copied; with statistics that layout is channels-last. Inputs are kept for the backward pass
    only where `weights` or a batch norm needs them: detach the weights in a step that trains other
    parameters. In training the gradient flows through statistics too, as in batch norm; else they
    are constants. Only the reference has a second derivative; the others say so.

    Args:
        inputs: K >= 1 tensors of one shape, one floating dtype and one device; (N, C, H, W) if
            there are statistics.
        weights: (K,) of any floating dtype, on the device of the inputs.
        statistics: for each input None or (2, C), mean and biased variance; or None for all.
        training: whether statistics are those of the batch.
        impl: see `sdedge.kernels.dispatch.resolve`.

    Returns:
        A tensor of the shape and dtype of the inputs.

    Raises:
        KernelError: the arguments do not fit together, or `impl` cannot run on them.
    """
    _check(inputs, weights, statistics)
    has_cpu = statistics is not None
    route = choose("mixed_sum", impl, inputs[0].device, inputs[0].dtype, cpu=has_cpu)
    if route == "triton":
        from sdedge.kernels.mixed_sum.fused import mixed_sum_fused  # imports triton

        return mixed_sum_fused(inputs, weights, statistics, training)
    if route == "cpu" and statistics is not None:
        from sdedge.kernels.mixed_sum.cpu import mixed_sum_cpu

        return mixed_sum_cpu(inputs, weights, statistics, training)
    return mixed_sum_reference(inputs, weights, statistics, training)


def _check(
    inputs: Sequence[Tensor], weights: Tensor, statistics: Sequence[Tensor | None] | None
) -> None:
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
    if statistics is None:
        return
    if len(statistics) != len(inputs) or first.ndim != 4:
        raise KernelError(
            f"mixed_sum: {len(statistics)} statistics for {len(inputs)} inputs of "
            f"{first.ndim} dimensions; give one, or None, for each input (N, C, H, W)"
        )
    for k, s in enumerate(statistics):
        if s is not None and (s.shape != (2, first.shape[1]) or s.device != device):
            raise KernelError(
                f"mixed_sum: statistics[{k}] is {_describe(s)}, but inputs of {shape[1]} channels "
                f"need (2, {shape[1]}) on {device}"
            )


def _describe(x: Tensor) -> str:
    return f"{tuple(x.shape)} {x.dtype} on {x.device}"
