"""3x3 max and average pooling of one source, with the statistics of their batch norms.

Both have no parameters, so every edge that leaves a source at one stride shares them.
"""

from torch import Tensor

from sdedge.errors import KernelError
from sdedge.kernels.dispatch import Impl, choose
from sdedge.kernels.pools.reference import pools_reference

__all__ = ["pools"]


def pools(
    x: Tensor, *, stride: int = 1, training: bool = True, impl: Impl = "auto"
) -> tuple[list[Tensor], list[Tensor]]:
    """Pool 3x3 windows with padding 1; the average counts the pixels inside the image alone.

    The gradient of a maximum goes to the first of equal pixels, row by row. Only the
    reference has a second derivative; the others say so.

    Args:
        x: (N, C, H, W); channels-last is not copied.
        stride: 1 or 2.
        training: whether statistics are wanted.
        impl: see `sdedge.kernels.dispatch.resolve`.

    Returns:
        [maximum, average], each (N, C, ceil(H / stride), ceil(W / stride)) in the dtype of x, and,
        in training, the statistics of either, (2, C) of mean and biased variance in float32
        (float64 for float64), without a gradient; else [].

    Raises:
        KernelError: x or the stride is not as above, or `impl` cannot run on x.
    """
    if x.ndim != 4 or not x.is_floating_point() or stride not in (1, 2):
        raise KernelError(
            f"pools: x is {tuple(x.shape)} {x.dtype} and the stride {stride}; give a floating "
            "(N, C, H, W), and 1 or 2"
        )
    match choose("pools", impl, x.device, x.dtype, cpu=True):
        case "triton":
            from sdedge.kernels.pools.fused import pools_fused  # imports triton

            return pools_fused(x, stride, training)
        case "cpu":
            from sdedge.kernels.pools.cpu import pools_cpu

            return pools_cpu(x, stride, training)
        case _:
            return pools_reference(x, stride, training)
