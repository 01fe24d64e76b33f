"""What an edge of a cell may hold: one table of operations for each search space. No torch.

Whatever sdedge knows of an operation stands in its record: supernets, derived networks, drawings,
texts, the estimate of memory and the prices of a budget read it. `register_operation` adds one
(docs/extending.md).
"""

from sdedge.operations.operation import (
    AUXILIARY_SKIP,
    DARTS,
    NAS_BENCH_201,
    NONE,
    POOL,
    SKIP,
    Group,
    Operation,
    Space,
)
from sdedge.operations.table import (
    DARTS_OPERATIONS,
    NAS_BENCH_201_OPERATIONS,
    check_search_set,
    choices,
    get_operation,
    is_built_in,
    operations_of,
    register_operation,
)

__all__ = [
    "AUXILIARY_SKIP",
    "DARTS",
    "DARTS_OPERATIONS",
    "NAS_BENCH_201",
    "NAS_BENCH_201_OPERATIONS",
    "NONE",
    "POOL",
    "SKIP",
    "Group",
    "Operation",
    "Space",
    "check_search_set",
    "choices",
    "get_operation",
    "is_built_in",
    "operations_of",
    "register_operation",
]
