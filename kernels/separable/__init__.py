"""ReLU, depthwise and pointwise convolution, for all branches of one kind that read one source.

The operation that the DARTS space is made of (DARTS, appendix A.1.1), without its batch norm:
what comes out is raw, with the statistics that a consumer needs to normalise it. So a normalised
tensor is never stored.
"""

from collections.abc import Sequence

from torch import Tensor

from sdedge.errors import KernelError
from sdedge.kernels.dispatch import Impl, choose
from sdedge.kernels.separable.reference import separable_reference

__all__ = ["separable"]


def separable(
    inputs: Sequence[Tensor],
    depthwise: Sequence[Tensor],
    pointwise: Sequence[Tensor],
    statistics: Sequence[Tensor] | None = None,
    *,
    stride: int = 1,
    dilation: int = 1,
    training: bool = True,
    impl: Impl = "auto",
) -> tuple[list[Tensor], list[Tensor]]:
    """Convolve E branches: z_e = pointwise_e(depthwise_e(relu(normalised input_e))).

    With `statistics`, each input is first batch-normalised with its own: in training the gradient
    flows through them too, as in batch norm; else they are constants. Nothing is saved for the
    backward pass but the inputs. Only the reference has a second derivative; the others say so.

    Args:
        inputs: E tensors (N, C, H, W), or one that all branches read; channels-last is not copied.
        depthwise: E kernels (C, 1, k, k), k odd.
        pointwise: E kernels (C', C, 1, 1).
        statistics: one (2, C) of mean and biased variance for each input, or None.
        stride: 1 or 2; the padding keeps ceil(H / stride) rows.
        dilation: of the depthwise kernels.
        training: whether statistics are those of the batch.
        impl: see `sdedge.kernels.dispatch.resolve`.

    Returns:
        E raw outputs (N, C', H', W') in the dtype of the inputs, and, in training, the statistics
        of each, (2, C') in float32 (float64 for float64 inputs), without a gradient; else [].

    Raises:
        KernelError: the arguments do not fit together, or `impl` cannot run on them.
    """
    _check(inputs, depthwise, pointwise, statistics, stride)
    arguments = (
        list(inputs),
        list(depthwise),
        list(pointwise),
        None if statistics is None else list(statistics),
        stride,
        dilation,
        training,
    )
    match choose("separable", impl, inputs[0].device, inputs[0].dtype, cpu=True):
        case "triton":
            from sdedge.kernels.separable.fused import separable_fused  # imports triton

            return separable_fused(*arguments)
        case "cpu":
            from sdedge.kernels.separable.cpu import separable_cpu

            return separable_cpu(*arguments)
        case _:
            return separable_reference(*arguments)


def _check(
    inputs: Sequence[Tensor],
    depthwise: Sequence[Tensor],
    pointwise: Sequence[Tensor],
    statistics: Sequence[Tensor] | None,
    stride: int,
) -> None:
    branches = len(depthwise)
    if not branches or len(pointwise) != branches or len(inputs) not in (1, branches):
        raise KernelError(
            f"separable: {len(inputs)} inputs, {branches} depthwise and {len(pointwise)} pointwise "
            "kernels; give as many of each, at least one, or one input for all"
        )
    first = inputs[0]
    for x in inputs:
        if x.ndim != 4 or (x.shape, x.dtype, x.device) != (first.shape, first.dtype, first.device):
            raise KernelError(
                f"separable: an input is {tuple(x.shape)} {x.dtype} on {x.device}, the first "
                f"{tuple(first.shape)} {first.dtype} on {first.device}; give (N, C, H, W) alike"
            )
    channels = first.shape[1]
    for d, p in zip(depthwise, pointwise, strict=True):
        k = d.shape[-1]
        if (
            tuple(d.shape) != (channels, 1, k, k)
            or d.shape != depthwise[0].shape
            or not k % 2
            or p.shape != (pointwise[0].shape[0], channels, 1, 1)
        ):
            raise KernelError(
                f"separable: kernels are {tuple(d.shape)} and {tuple(p.shape)}, for inputs of "
                f"{channels} channels; give (C, 1, k, k) with k odd and (C', C, 1, 1), alike in "
                "all branches"
            )
    if stride not in (1, 2):
        raise KernelError(f"separable: stride is {stride}; it must be 1 or 2")
    if statistics is not None and [s.shape for s in statistics] != [(2, channels)] * len(inputs):
        raise KernelError(
            f"separable: statistics are {[tuple(s.shape) for s in statistics]}; give one "
            f"(2, {channels}) for each of the {len(inputs)} inputs"
        )
