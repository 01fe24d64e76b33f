"""The operations of the DARTS space. No torch."""

from sdedge.operations.operation import AUXILIARY_SKIP, NONE, POOL, SKIP, Group, Operation

_ROOM = "sdedge.space.darts"
_SEPARABLE: Group = "separable convolution"
_DILATED: Group = "dilated convolution"

# In the order of the rows of alpha (DARTS, section 3.1).
SEARCH_SET = (
    Operation(
        name=NONE,
        label="none",
        short="none",
        group=None,
        build=None,
        has_weights=False,
        derivable=False,
    ),
    Operation(
        name="max_pool_3x3",
        label="max 3x3",
        short="max3",
        group=POOL,
        build=f"{_ROOM}.operations:max_pool_3x3",
        fused=f"{_ROOM}.fused:pool_terms",
        has_weights=False,
    ),
    Operation(
        name="avg_pool_3x3",
        label="avg 3x3",
        short="avg3",
        group=POOL,
        build=f"{_ROOM}.operations:avg_pool_3x3",
        fused=f"{_ROOM}.fused:pool_terms",
        has_weights=False,
    ),
    Operation(
        name="skip_connect",
        label="skip",
        short="skip",
        group=SKIP,
        build=f"{_ROOM}.operations:skip_connect",
        fused=f"{_ROOM}.fused:skip_terms",
        has_weights=False,
    ),
    Operation(
        name="sep_conv_3x3",
        label="sep 3x3",
        short="sep3",
        group=_SEPARABLE,
        build=f"{_ROOM}.operations:sep_conv_3x3",
        fused=f"{_ROOM}.fused:separable_terms",
        dense_convolutions=2,
    ),
    Operation(
        name="sep_conv_5x5",
        label="sep 5x5",
        short="sep5",
        group=_SEPARABLE,
        build=f"{_ROOM}.operations:sep_conv_5x5",
        fused=f"{_ROOM}.fused:separable_terms",
        dense_convolutions=2,
    ),
    Operation(
        name="dil_conv_3x3",
        label="dil 3x3",
        short="dil3",
        group=_DILATED,
        build=f"{_ROOM}.operations:dil_conv_3x3",
        fused=f"{_ROOM}.fused:recomputed_separable_terms",
        dense_convolutions=1,
    ),
    Operation(
        name="dil_conv_5x5",
        label="dil 5x5",
        short="dil5",
        group=_DILATED,
        build=f"{_ROOM}.operations:dil_conv_5x5",
        fused=f"{_ROOM}.fused:separable_terms",
        dense_convolutions=1,
    ),
)
# Known, and not searched over unless a search names them; cells of NASNet and AmoebaNet hold these.
PUBLISHED = (
    Operation(
        name="sep_conv_7x7",
        label="sep 7x7",
        short="sep7",
        group=_SEPARABLE,
        build=f"{_ROOM}.operations:sep_conv_7x7",
        fused=f"{_ROOM}.fused:separable_terms",
        dense_convolutions=2,
    ),
    Operation(
        name="conv_7x1_1x7",
        label="7x1 1x7",
        short="7x1+1x7",
        group="convolution",
        build=f"{_ROOM}.operations:conv_7x1_1x7",
        dense_convolutions=2,
    ),
)
AUXILIARY = Operation(
    name=AUXILIARY_SKIP,
    label="aux skip",
    short="auxskip",
    group=SKIP,
    build=f"{_ROOM}.operations:skip_connect",
    fused=f"{_ROOM}.fused:skip_terms",
    has_weights=False,
    derivable=False,
)
