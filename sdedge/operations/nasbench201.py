"""The operations of NAS-Bench-201. No torch."""

from sdedge.operations.operation import AUXILIARY_SKIP, NONE, POOL, SKIP, Operation

_ROOM = "sdedge.space.nasbench201"
# In the order of the rows of alpha (NAS-Bench-201, section 2.1).
SEARCH_SET = (
    Operation(
        name=NONE,
        label="none",
        short="none",
        group=None,
        build=None,
        has_weights=False,
    ),
    Operation(
        name="skip_connect",
        label="skip",
        short="skip",
        group=SKIP,
        build=f"{_ROOM}.operations:skip_connect",
        fused=f"{_ROOM}.fused:skip",
        has_weights=False,
    ),
    Operation(
        name="nor_conv_1x1",
        label="conv 1x1",
        short="conv1",
        group="convolution",
        build=f"{_ROOM}.operations:nor_conv_1x1",
        fused=f"{_ROOM}.fused:convolution",
        dense_convolutions=1,
    ),
    Operation(
        name="nor_conv_3x3",
        label="conv 3x3",
        short="conv3",
        group="convolution",
        build=f"{_ROOM}.operations:nor_conv_3x3",
        fused=f"{_ROOM}.fused:convolution",
        dense_convolutions=1,
    ),
    Operation(
        name="avg_pool_3x3",
        label="avg 3x3",
        short="avg3",
        group=POOL,
        build=f"{_ROOM}.operations:avg_pool_3x3",
        fused=f"{_ROOM}.fused:average_pool",
        has_weights=False,
    ),
)
AUXILIARY = Operation(
    name=AUXILIARY_SKIP,
    label="aux skip",
    short="auxskip",
    group=SKIP,
    build=f"{_ROOM}.operations:skip_connect",
    fused=f"{_ROOM}.fused:skip",
    has_weights=False,
    derivable=False,
)
