"""The Triton kernels of the mixed sum.

They read tensors as rows of channels; without statistics a row is one element. There are no
atomics, so equal inputs give equal bits.
"""

import triton
import triton.language as tl

from sdedge.kernels.fused import batch_norm_coefficients, reciprocal_deviation


@triton.jit
def mixed_sum_address_kernel(
    p_xs: tl.tuple,  # pointers; p_none stands for none
    p_none: tl.tensor,
    p_address: tl.tensor,  # one int64 for each
) -> None:
    """Write addresses to the device, 0 for none: the host cannot without waiting for it."""
    for k in tl.static_range(len(p_xs)):
        address = p_xs[k].to(tl.int64)
        tl.store(p_address + k, tl.where(address == p_none.to(tl.int64), 0, address))


@triton.jit
def load_address(
    p_address: tl.tensor,  # (K,) int64
    k: tl.tensor,
    inputs: int,
    p_like: tl.tensor,
    aligned: tl.constexpr,
) -> tl.tuple:
    """The k-th pointer, and whether there is one, as a block of one mask."""
    address = tl.load(p_address + k, mask=k < inputs, other=0)
    p_x = address.to(p_like.dtype)
    if aligned:
        p_x = tl.multiple_of(p_x, 16)
    return p_x, tl.zeros([1], tl.int64) + address != 0


@triton.jit
def mixed_sum_fold_kernel(
    p_statistics: tl.tensor,  # (K,) addresses of (2, C) fp32, 0 where an input has none
    p_w: tl.tensor,  # (K,)
    p_mean: tl.tensor,  # (K, C) fp32
    p_r: tl.tensor,  # (K, C) fp32, reciprocal deviations
    p_scale: tl.tensor,  # (K, C) fp32
    channels: tl.constexpr,
    block_c: tl.constexpr,
) -> None:
    """Fold batch norm and weight of one input: w * (z - mean) * r = scale * (z - mean)."""
    k = tl.program_id(0)
    o_c = tl.arange(0, block_c)
    p_s, has_norm = load_address(p_statistics, k, tl.num_programs(0), p_mean, False)
    b_mean = tl.load(p_s + o_c, mask=(o_c < channels) & has_norm, other=0.0)
    b_variance = tl.load(p_s + channels + o_c, mask=(o_c < channels) & has_norm, other=0.0)
    b_r = tl.where(has_norm, reciprocal_deviation(b_variance), 1.0)
    b_scale = tl.load(p_w + k).to(tl.float32) * b_r
    o_i = k * channels + o_c
    tl.store(p_mean + o_i, b_mean, mask=o_c < channels)
    tl.store(p_r + o_i, b_r, mask=o_c < channels)
    tl.store(p_scale + o_i, b_scale, mask=o_c < channels)


@triton.jit
def mixed_sum_fwd_kernel(
    p_zs: tl.tensor,  # (K,) addresses of (rows, C)
    p_mean: tl.tensor,  # (K, C) fp32
    p_scale: tl.tensor,  # (K, C) fp32
    p_y: tl.tensor,  # (rows, C)
    rows: int,
    inputs: int,
    aligned: tl.constexpr,
    channels: tl.constexpr,
    block: tl.constexpr,
    block_c: tl.constexpr,
    unroll: tl.constexpr,
) -> None:
    """Write one block of y."""
    o_r = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    o_c = tl.arange(0, block_c)
    o_i = o_r[:, None] * channels + o_c[None, :]
    m_i = (o_r < rows)[:, None] & (o_c < channels)[None, :]
    b_y = tl.zeros([block, block_c], tl.float32)
    for start in range(0, inputs, unroll):
        for j in tl.static_range(unroll):
            k = start + j
            p_z, there = load_address(p_zs, k, inputs, p_y, aligned)
            m_c = (o_c < channels) & there
            b_mean = tl.load(p_mean + k * channels + o_c, mask=m_c, other=0.0)
            b_scale = tl.load(p_scale + k * channels + o_c, mask=m_c, other=0.0)
            b_z = tl.load(p_z + o_i, mask=m_i & there, other=0.0).to(tl.float32)
            b_y += b_scale[None, :] * (b_z - b_mean[None, :])
    tl.store(p_y + o_i, b_y.to(p_y.dtype.element_ty), mask=m_i)


@triton.jit
def mixed_sum_sums_kernel(
    p_g: tl.tensor,  # (rows, C)
    p_zs: tl.tensor,  # (K,) addresses of (rows, C), 0 where no sum is wanted
    p_mean: tl.tensor,  # (K, C) fp32
    p_partial: tl.tensor,  # (K + 1, programs, C) fp32
    rows: int,
    inputs: int,
    aligned: tl.constexpr,
    channels: tl.constexpr,
    block: tl.constexpr,
    block_c: tl.constexpr,
) -> None:
    """Write the sums of g * (z[k] - mean[k]), and last of g, over this program's blocks.

    Of n programs each takes every n-th block; the groups of programs share out the inputs.
    """
    i_program, programs = tl.program_id(0), tl.num_programs(0)
    o_c = tl.arange(0, block_c)
    m_c = o_c < channels
    for k in range(tl.program_id(1), inputs + 1, tl.num_programs(1)):
        p_z, there = load_address(p_zs, k, inputs, p_g, aligned)
        if (p_z.to(tl.int64) != 0) | (k == inputs):
            b_mean = tl.load(p_mean + k * channels + o_c, mask=m_c & there, other=-1.0)
            b_sum = tl.zeros([block, block_c], tl.float32)
            for i in range(i_program, tl.cdiv(rows, block), programs):
                o_r = (i * block + tl.arange(0, block)).to(tl.int64)[:, None]
                o_i = o_r * channels + o_c[None, :]
                m_i = (o_r < rows) & m_c[None, :]
                b_g = tl.load(p_g + o_i, mask=m_i, other=0.0).to(tl.float32)
                b_z = tl.load(p_z + o_i, mask=m_i & there, other=0.0).to(tl.float32)
                b_sum += b_g * (b_z - b_mean[None, :])
            o_p = (k * programs + i_program) * channels + o_c
            tl.store(p_partial + o_p, tl.sum(b_sum, 0), mask=m_c)


@triton.jit
def mixed_sum_coefficients_kernel(
    p_partial: tl.tensor,  # (K + 1, programs, C) fp32
    p_mean: tl.tensor,  # (K, C) fp32
    p_r: tl.tensor,  # (K, C) fp32
    p_w: tl.tensor,  # (K,)
    p_b: tl.tensor,  # (K, C) fp32, or None where statistics are constants
    p_c: tl.tensor,  # (K, C) fp32, or None where statistics are constants
    p_gw: tl.tensor,  # (K,) fp32, or None if weights need no gradient
    programs: int,
    count: int,  # values a channel
    channels: tl.constexpr,
    block: tl.constexpr,
    block_c: tl.constexpr,
) -> None:
    """Add up the sums of one input; write its coefficients b and c and its weight gradient."""
    k = tl.program_id(0)
    o_c = tl.arange(0, block_c)
    m_c = o_c < channels
    p_partial_g = p_partial + tl.num_programs(0) * programs * channels
    p_partial += k * programs * channels
    b_gz = tl.zeros([block, block_c], tl.float32)
    b_g = tl.zeros([block, block_c], tl.float32)
    for start in range(0, programs, block):
        o_r = start + tl.arange(0, block)[:, None]
        o_i = o_r * channels + o_c[None, :]
        m_i = (o_r < programs) & m_c[None, :]
        b_gz += tl.load(p_partial + o_i, mask=m_i, other=0.0)
        if p_b is not None:
            b_g += tl.load(p_partial_g + o_i, mask=m_i, other=0.0)
    b_mean = tl.load(p_mean + k * channels + o_c, mask=m_c, other=0.0)
    b_r = tl.load(p_r + k * channels + o_c, mask=m_c, other=0.0)
    b_w = tl.load(p_w + k).to(tl.float32)
    _, b_b, b_c, b_gzhat = batch_norm_coefficients(
        b_mean, b_r, b_w, tl.sum(b_g, 0), tl.sum(b_gz, 0), count
    )
    if p_b is not None:
        tl.store(p_b + k * channels + o_c, b_b, mask=m_c)
        tl.store(p_c + k * channels + o_c, b_c, mask=m_c)
    if p_gw is not None:
        tl.store(p_gw + k, tl.sum(b_gzhat))


@triton.jit
def mixed_sum_bwd_kernel(
    p_g: tl.tensor,  # (rows, C)
    p_zs: tl.tensor,  # (K,) addresses of (rows, C), 0 where b and c are; or None for all
    p_a: tl.tensor,  # (K, C) fp32
    p_b: tl.tensor,  # (K, C) fp32, or None
    p_c: tl.tensor,  # (K, C) fp32, or None
    p_gzs: tl.tensor,  # (K,) addresses of (rows, C), 0 where no gradient is wanted
    rows: int,
    inputs: int,
    aligned: tl.constexpr,
    channels: tl.constexpr,
    block: tl.constexpr,
    block_c: tl.constexpr,
    unroll: tl.constexpr,
) -> None:
    """Write one block of every input gradient, a[k] * g + b[k] * z[k] + c[k]."""
    o_r = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    o_c = tl.arange(0, block_c)
    o_i = o_r[:, None] * channels + o_c[None, :]
    m_c = o_c < channels
    m_i = (o_r < rows)[:, None] & m_c[None, :]
    b_g = tl.load(p_g + o_i, mask=m_i, other=0.0).to(tl.float32)
    for start in range(0, inputs, unroll):
        for j in tl.static_range(unroll):
            k = start + j
            p_gz, wanted = load_address(p_gzs, k, inputs, p_g, aligned)
            b_a = tl.load(p_a + k * channels + o_c, mask=m_c & wanted, other=0.0)
            b_gz = b_a[None, :] * b_g
            if p_zs is not None:
                p_z, there = load_address(p_zs, k, inputs, p_g, aligned)
                b_z = tl.load(p_z + o_i, mask=m_i & there, other=0.0).to(tl.float32)
                b_b = tl.load(p_b + k * channels + o_c, mask=m_c & there, other=0.0)
                b_c = tl.load(p_c + k * channels + o_c, mask=m_c & there, other=0.0)
                b_gz += b_b[None, :] * b_z + b_c[None, :]
            tl.store(p_gz + o_i, b_gz.to(p_g.dtype.element_ty), mask=m_i & wanted)
