"""The Triton kernels of the masked mean squared error.

Both read the masked pixels of prediction and target and the (N, L) mask; a mask of image size
never exists. There are no atomics, so equal inputs give equal bits.
"""

import triton
import triton.language as tl


@triton.jit
def masked_mse_weights(
    p_mask: tl.tensor,  # (L,) fp32, of one image
    o_i: tl.tensor,  # (block,) flat offsets into the image
    size: tl.constexpr,
    height: tl.constexpr,
    width: tl.constexpr,
    row_stride: tl.constexpr,
    column_stride: tl.constexpr,
    patch: tl.constexpr,
) -> tl.tensor:
    """The mask, 0 or 1, of the pixels at flat offsets into one image."""
    o_row = o_i // row_stride % height // patch
    o_column = o_i // column_stride % width // patch
    return tl.load(p_mask + o_row * (width // patch) + o_column, mask=o_i < size, other=0.0)


@triton.jit
def masked_mse_fwd_kernel(
    p_x: tl.tensor,  # (N, size) prediction
    p_t: tl.tensor,  # (N, size) target
    p_mask: tl.tensor,  # (N, L) fp32
    p_partial: tl.tensor,  # (2, programs) fp32: squared error, number of masked values
    size: tl.constexpr,
    height: tl.constexpr,
    width: tl.constexpr,
    row_stride: tl.constexpr,
    column_stride: tl.constexpr,
    patch: tl.constexpr,
    blocks: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Write the squared error of the masked pixels of one block, and their number."""
    i_program = tl.program_id(0)
    i_n = (i_program // blocks).to(tl.int64)
    o_i = i_program % blocks * block + tl.arange(0, block)
    p_m = p_mask + i_n * ((height // patch) * (width // patch))
    b_m = masked_mse_weights(p_m, o_i, size, height, width, row_stride, column_stride, patch)
    b_x = tl.load(p_x + i_n * size + o_i, mask=b_m != 0, other=0.0).to(tl.float32)
    b_t = tl.load(p_t + i_n * size + o_i, mask=b_m != 0, other=0.0).to(tl.float32)
    tl.store(p_partial + i_program, tl.sum(b_m * (b_x - b_t) * (b_x - b_t)))
    tl.store(p_partial + tl.num_programs(0) + i_program, tl.sum(b_m))


@triton.jit
def masked_mse_bwd_kernel(
    p_x: tl.tensor,  # (N, size) prediction
    p_t: tl.tensor,  # (N, size) target
    p_mask: tl.tensor,  # (N, L) fp32
    p_g: tl.tensor,  # () upstream gradient
    p_count: tl.tensor,  # () fp32, number of masked values, at least 1
    p_gx: tl.tensor,  # (N, size), or None if no gradient is wanted
    p_gt: tl.tensor,  # (N, size), or None if no gradient is wanted
    size: tl.constexpr,
    height: tl.constexpr,
    width: tl.constexpr,
    row_stride: tl.constexpr,
    column_stride: tl.constexpr,
    patch: tl.constexpr,
    blocks: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Write one block of the gradients: zero outside the mask."""
    i_program = tl.program_id(0)
    i_n = (i_program // blocks).to(tl.int64)
    o_i = i_program % blocks * block + tl.arange(0, block)
    p_m = p_mask + i_n * ((height // patch) * (width // patch))
    b_m = masked_mse_weights(p_m, o_i, size, height, width, row_stride, column_stride, patch)
    b_x = tl.load(p_x + i_n * size + o_i, mask=b_m != 0, other=0.0).to(tl.float32)
    b_t = tl.load(p_t + i_n * size + o_i, mask=b_m != 0, other=0.0).to(tl.float32)
    b_gx = b_m * (b_x - b_t) * (2.0 * tl.load(p_g) / tl.load(p_count))
    if p_gx is not None:
        tl.store(p_gx + i_n * size + o_i, b_gx.to(p_gx.dtype.element_ty), mask=o_i < size)
    if p_gt is not None:
        tl.store(p_gt + i_n * size + o_i, (-b_gx).to(p_gt.dtype.element_ty), mask=o_i < size)
