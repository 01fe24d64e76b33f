"""Fold batch norm into the convolution before it: in evaluation both are one affine map.

With scale = gamma / sqrt(var + eps), BN(W * x) = (scale W) * x + (beta - scale mean).
"""

import copy

from torch import Tensor, nn

from sdedge.errors import ExportError
from sdedge.space.darts.network import Network
from sdedge.space.darts.operations import FactorizedReduce


def fold_batch_norm(network: Network) -> Network:
    """A copy for inference, on the CPU: no batch norm, no auxiliary head, same class scores.

    Folds in float64 and casts back. Raises ExportError when a batch norm follows something other
    than a convolution.
    """
    folded = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    folded.auxiliary = None
    for module in list(folded.modules()):
        if isinstance(module, nn.Sequential):
            _fold_sequence(module)
        elif isinstance(module, FactorizedReduce):
            _fold_reduction(module)
    left = [name for name, module in folded.named_modules() if isinstance(module, nn.BatchNorm2d)]
    if left:
        operation = network.operation_at(left[0])
        of = f"operation {operation}: " if operation else ""
        raise ExportError(
            f"{of}cannot fold batch norm {left[0]}: it does not follow a convolution in a "
            "Sequential"
        )
    return folded


def _fold_sequence(sequence: nn.Sequential) -> None:
    # From the back, because deleting a module renumbers those after it.
    for position in reversed(range(1, len(sequence))):
        conv, norm = sequence[position - 1], sequence[position]
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            _absorb(conv, *_scale_and_shift(norm))
            del sequence[position]


def _fold_reduction(reduction: FactorizedReduce) -> None:
    scale, shift = _scale_and_shift(reduction.bn)
    even = reduction.conv_even.out_channels
    _absorb(reduction.conv_even, scale[:even], shift[:even])
    _absorb(reduction.conv_odd, scale[even:], shift[even:])
    reduction.add_module("bn", nn.Identity())


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The affine map of `norm` in evaluation, as float64: two of (C,)."""
    if norm.running_mean is None or norm.running_var is None:
        raise ExportError("cannot fold a batch norm that keeps no running statistics")
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = norm.weight.double() * scale
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = norm.bias.double() + shift
    return scale, shift


def _absorb(conv: nn.Conv2d, scale: Tensor, shift: Tensor) -> None:
    """Make conv(x) become scale * conv(x) + shift; scale, shift: (out_channels,)."""
    dtype = conv.weight.dtype
    if conv.bias is not None:
        shift = conv.bias.double() * scale + shift
    weight = conv.weight.double() * scale[:, None, None, None]
    conv.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    conv.bias = nn.Parameter(shift.to(dtype), requires_grad=False)
