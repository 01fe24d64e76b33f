"""A toy kernel op in one file: reference, Triton kernels, fused form, form for the CPU, dispatch.

x + s * y; its gradients are g, s * g and sum(g * y).
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from sdedge.errors import KernelError
from sdedge.kernels import Impl
from sdedge.kernels.dispatch import LAUNCH_OPTIONS, choose, refuse_second_derivative

BLOCK = 1024


def scaled_add(x: Tensor, y: Tensor, scale: Tensor, impl: Impl = "auto") -> Tensor:
    """x + scale * y for tensors of one shape, and a scale of one element."""
    if x.shape != y.shape or scale.numel() != 1:
        raise KernelError(
            f"scaled_add: x is {tuple(x.shape)}, y {tuple(y.shape)} and scale "
            f"{tuple(scale.shape)}; give two tensors of one shape and a scalar"
        )
    route = choose("scaled_add", impl, x.device, x.dtype, cpu=True)
    if route == "triton":
        fused: Tensor = _Fused.apply(x, y, scale)
        return fused
    if route == "cpu":
        written: Tensor = _OnCpu.apply(x, y, scale)
        return written
    return scaled_add_reference(x, y, scale)


def scaled_add_reference(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    """In fp32 or wider, rounded once."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return (x.to(wide) + scale.to(wide) * y.to(wide)).to(x.dtype)


@triton.jit
def scaled_add_fwd_kernel(
    p_x: tl.tensor,  # (size,)
    p_y: tl.tensor,  # (size,)
    p_scale: tl.tensor,  # (1,)
    p_z: tl.tensor,  # (size,)
    size: tl.constexpr,
    block: tl.constexpr,
) -> None:
    o_i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = o_i < size
    b_x = tl.load(p_x + o_i, mask=inside, other=0.0).to(tl.float32)
    b_y = tl.load(p_y + o_i, mask=inside, other=0.0).to(tl.float32)
    tl.store(p_z + o_i, b_x + tl.load(p_scale).to(tl.float32) * b_y, mask=inside)


@triton.jit
def scaled_add_bwd_kernel(
    p_g: tl.tensor,  # (size,)
    p_y: tl.tensor,  # (size,)
    p_scale: tl.tensor,  # (1,)
    p_gy: tl.tensor,  # (size,)
    p_partial: tl.tensor,  # (programs,) fp32, of the gradient of the scale
    size: tl.constexpr,
    block: tl.constexpr,
) -> None:
    program = tl.program_id(0).to(tl.int64)
    o_i = program * block + tl.arange(0, block)
    inside = o_i < size
    b_g = tl.load(p_g + o_i, mask=inside, other=0.0).to(tl.float32)
    b_y = tl.load(p_y + o_i, mask=inside, other=0.0).to(tl.float32)
    tl.store(p_gy + o_i, tl.load(p_scale).to(tl.float32) * b_g, mask=inside)
    tl.store(p_partial + program, tl.sum(b_g * b_y, 0))


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        x, y = x.contiguous(), y.contiguous()
        z = torch.empty_like(x)
        programs = triton.cdiv(x.numel(), BLOCK)
        ctx.launch = programs, {"size": x.numel(), "block": BLOCK, **LAUNCH_OPTIONS}
        ctx.save_for_backward(y, scale)
        scaled_add_fwd_kernel[(programs,)](x, y, scale, z, **ctx.launch[1])
        return z

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        refuse_second_derivative("scaled_add")
        y, scale = ctx.saved_tensors
        programs, options = ctx.launch
        g = g.contiguous()
        gy = torch.empty_like(y)
        partial = torch.empty(programs, dtype=torch.float32, device=y.device)
        scaled_add_bwd_kernel[(programs,)](g, y, scale, gy, partial, **options)
        return g, gy, partial.sum().to(scale.dtype).reshape(scale.shape)


class _OnCpu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(y, scale)
        return torch.add(x, y, alpha=scale.item())

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        refuse_second_derivative("scaled_add")
        y, scale = ctx.saved_tensors
        return g, g * scale, (g * y).sum().reshape(scale.shape)
