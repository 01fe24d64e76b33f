"""What a search method may have that another cannot live with."""

from enum import Enum, auto


class Trait(Enum):
    """A property of a strategy, by which others say what they do not combine with.

    Most follow from what a strategy changes; the first three only its author knows.
    """

    DRAWN_WEIGHTS = auto()  # every pass draws its mixing weights
    RANDOM_PASSES = auto()  # a pass draws something else: two give different losses
    EDGE_WEIGHTS = auto()  # alpha weighs the edges of a node against each other
    OWN_RELAXATION = auto()  # mixing weights are no softmax over the operations of an edge
    PERTURBED_WEIGHTS = auto()  # the weight step takes other mixing weights
    PARTIAL_CHANNELS = auto()
    EXTRA_OPERATIONS = auto()  # the supernet has operations beyond those of the space
    SECOND_ORDER = auto()
    COMPANION = auto()  # the derived network trains with the supernet
    STAGES = auto()
    STOP = auto()  # the search may end before its last epoch
    GO_BACK = auto()  # the search may restore an earlier epoch
