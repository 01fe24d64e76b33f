"""The separable branches on the CPU: little is kept, and each gradient takes its quickest form."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sdedge.kernels.batch_norm import backward, reciprocal_deviation
from sdedge.kernels.channels_last import (
    add_scaled_,
    affine,
    channel_sums,
    channels_last,
    row,
    rows,
    statistics,
)
from sdedge.kernels.dispatch import refuse_second_derivative
from sdedge.kernels.separable.depthwise import convolve, input_gradient, weight_gradients


def separable_cpu(
    inputs: list[Tensor],
    depthwise: list[Tensor],
    pointwise: list[Tensor],
    norms: list[Tensor] | None,
    stride: int,
    dilation: int,
    training: bool,
) -> tuple[list[Tensor], list[Tensor]]:
    """See `sdedge.kernels.separable.separable`."""
    kernels = [kernel.to(inputs[0].dtype) for kernel in (*depthwise, *pointwise)]
    settings = _Settings(len(inputs), stride, dilation, training, norms)
    results = _Separable.apply(settings, *inputs, *kernels)
    branches = len(depthwise)
    return list(results[:branches]), list(results[branches:])


class _Settings(NamedTuple):
    sources: int
    stride: int
    dilation: int
    training: bool
    statistics: list[Tensor] | None  # of the sources

    def rectify(self, source: int, x: Tensor) -> Tensor:
        """relu(x), or of x normalised with its statistics."""
        if self.statistics is None:
            return F.relu(x)
        scale = reciprocal_deviation(self.statistics[source])
        return affine(x, *row(torch.stack((scale, -self.statistics[source][0] * scale)), x)).relu_()


class _Separable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, settings: _Settings, *tensors: Tensor) -> tuple[Tensor, ...]:
        sources, stride, dilation, training, _ = settings
        count = (len(tensors) - sources) // 2
        xs = [channels_last(x) for x in tensors[:sources]]
        depthwise, pointwise = tensors[sources : sources + count], tensors[sources + count :]
        outputs = [xs[0]] * count
        for i, x in enumerate(xs):
            h = settings.rectify(i, x)
            for e in range(i, count, sources):
                d = convolve(h, depthwise[e], stride, dilation)
                outputs[e] = channels_last(F.conv2d(d, pointwise[e]))
        output_statistics = [statistics(z) for z in outputs] if training else []
        ctx.settings = settings
        ctx.save_for_backward(*xs, *depthwise, *pointwise)
        ctx.mark_non_differentiable(*output_statistics)
        ctx.set_materialize_grads(False)
        return *outputs, *output_statistics

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("separable")
        settings, tensors, wanted = ctx.settings, ctx.saved_tensors, ctx.needs_input_grad[1:]
        sources = settings.sources
        count = (len(tensors) - sources) // 2
        gradients: list[Tensor | None] = [None] * len(tensors)
        for i, x in enumerate(tensors[:sources]):
            some = [
                (sources + e, sources + count + e, channels_last(g))
                for e in range(i, count, sources)
                if (g := upstream[e]) is not None
            ]
            if not some:
                continue
            at_depthwise, at_pointwise, gs = (list(items) for items in zip(*some, strict=True))
            depthwise, pointwise = ([tensors[a] for a in at] for at in (at_depthwise, at_pointwise))
            h = settings.rectify(i, x)
            gds = [F.conv2d(g, w.transpose(0, 1)) for g, w in zip(gs, pointwise, strict=True)]
            at_kernels = at_depthwise + at_pointwise
            if any(wanted[at] for at in at_kernels):
                of_kernels = _kernel_gradients(settings, h, depthwise, pointwise, gs, gds)
                for at, gradient in zip(at_kernels, of_kernels, strict=True):
                    gradients[at] = gradient if wanted[at] else None
            if wanted[i]:
                gradients[i] = _source_gradient(settings, i, x, h, depthwise, gds)
        return None, *gradients


def _kernel_gradients(
    settings: _Settings,
    h: Tensor,  # the rectified source
    depthwise: list[Tensor],
    pointwise: list[Tensor],
    gs: list[Tensor],  # of the outputs
    gds: list[Tensor],  # of the depthwise outputs
) -> list[Tensor]:
    """Gradients of the depthwise and of the pointwise kernels that read one source."""
    _, stride, dilation, _, _ = settings
    of_depthwise = weight_gradients(h, gds, depthwise[0], stride, dilation)
    of_pointwise = [
        torch.ops.aten.convolution_backward(
            g, convolve(h, inner, stride, dilation), outer, None, [1, 1], [0, 0], [1, 1], False,
            [0, 0], 1, [False, True, False],
        )[1]
        for g, inner, outer in zip(gs, depthwise, pointwise, strict=True)
    ]  # fmt: skip
    return of_depthwise + of_pointwise


def _source_gradient(
    settings: _Settings,
    source: int,
    x: Tensor,
    h: Tensor,  # the rectified source
    depthwise: list[Tensor],
    gds: list[Tensor],  # of the depthwise outputs
) -> Tensor:
    """Through the depthwise kernels, the rectifier and, where there is one, the batch norm."""
    _, stride, dilation, training, norms = settings
    gh, *others = (
        input_gradient(gd, h, kernel, stride, dilation)
        for gd, kernel in zip(gds, depthwise, strict=True)
    )
    for other in others:
        gh += other
    g: Tensor = torch.ops.aten.threshold_backward(gh, h, 0)
    if norms is None:
        return g
    sum_gx = channel_sums(torch.mul(g, x, out=gh))
    one = torch.ones((), dtype=x.dtype)
    count = x.numel() // x.shape[1]
    coefficients = backward(norms[source], one, channel_sums(g), sum_gx, count, training=training)
    a, b, c = row(torch.stack(coefficients[:3]), x)
    if not training:
        rows(g).mul_(a)
        return g
    gx = affine(x, b, c)
    add_scaled_(gx, g, a)
    return gx
