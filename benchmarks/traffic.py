"""Bytes that one search iteration of the fused supernet has to move, from its shapes alone.

Every operator reads what it is given once and writes what it gives once, forward and backward.
Where a batch norm stands before an operator, its backward pass reads gradient and values twice: the
sums must be known before anything is written. A tensor that several operators read gets as many
gradients, which are read and added up. Left out are kernels, statistics, the decoder and the
optimizers; counted in full is the pass for alpha, though it ends in the first cell.
"""

from sdedge.space.darts.cell import EDGES, NODES, CellSpec, cell_specs
from sdedge.space.darts.skeleton import STEM_MULTIPLIER

SEPARABLE = 4  # operations that begin with a depthwise and a pointwise convolution
TWO_STAGES = 2  # of them go through another pair
POOLS = 2
OPERATIONS = SEPARABLE + POOLS + 1  # and the skip


def step_bytes(
    channels: int, cells: int, batch: int, *, image_size: int = 32, value_bytes: int = 4
) -> int:
    """Of an alpha step and a weight step, each a pass forward and backward."""
    stem = STEM_MULTIPLIER * channels
    pixels = batch * image_size**2
    # Forward: convolve, then normalise. Backward: through the norm, then the stem's kernel.
    values = (3 + 3 * stem) * pixels + (3 + 6 * stem) * pixels
    specs = list(
        cell_specs(c_stem=(stem, stem), channels=channels, cells=cells, multipliers=(NODES, NODES))
    )
    alpha_values = 0
    for spec in specs:
        values += _cell_values(spec, pixels)
        pixels //= 4 if spec.reduction else 1
        # Only the gradient of alpha reads the maps that have no batch norm: the skips.
        alpha_values += _skips(spec) * spec.channels * pixels
    values += 2 * NODES * specs[-1].channels * pixels  # read, and their gradient written
    return (2 * values + alpha_values) * value_bytes


def _skips(spec: CellSpec) -> int:
    """Edges whose skip is the identity."""
    return EDGES - 2 * NODES if spec.reduction else EDGES


def _cell_values(spec: CellSpec, pixels: int) -> int:
    """Values moved forward and backward by a cell whose inputs have that many pixels."""
    source = spec.channels * pixels
    out = source // 4 if spec.reduction else source
    previous_pixels = 4 * pixels if spec.reduction_prev else pixels
    # Read, written, normalised; backward: the norm, its convolution, and the input's gradient.
    values = 3 * (spec.c_prev_prev * previous_pixels + spec.c_prev * pixels) + 2 * 9 * source
    for i in range(2 + NODES - 1):
        x, edges = (source if i < 2 else out), NODES - max(0, i - 1)
        values += _source_values(x, out, edges, reduces=spec.reduction and i < 2, is_node=i >= 2)
    normalised = OPERATIONS * EDGES - _skips(spec)
    values += (OPERATIONS * EDGES + NODES) * out  # the mixed sums forward
    values += (2 * (NODES + normalised) + OPERATIONS * EDGES) * out  # and backward
    return values + 4 * NODES * out  # the concatenation, forward and backward


def _source_values(x: int, out: int, edges: int, *, reduces: bool, is_node: bool) -> int:
    """Values moved by all that reads one source of x values, for maps of `out` values an edge."""
    first = SEPARABLE + reduces  # a skip that halves the resolution is a convolution too
    forward = first * (x + edges * out) + TWO_STAGES * 2 * edges * out + (x + POOLS * out)
    backward = first * (edges * out + 2 * x) + TWO_STAGES * 5 * edges * out + (POOLS * out + x)
    # Each edge has a gradient for either pool; an identity skip has one for the source.
    readers = first + 1 + is_node + (0 if reduces else edges)
    return forward + backward + POOLS * (edges + 1) * out + (readers + 1) * x
