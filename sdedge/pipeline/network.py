"""The trained network of a run, as a torch module."""

from pathlib import Path

from sdedge.paths import checked_path
from sdedge.pipeline.runs import RunLike, open_run
from sdedge.space.darts.network import Network
from sdedge.space.saved import NetworkDescription
from sdedge.space.saved import load_network as load_weights


def load_network(source: RunLike = None) -> tuple[Network, NetworkDescription]:
    """The network of a run directory, of a result, or of a weights file, and what it is for.

    The network is in evaluation mode, with averaged weights where they were trained: it takes
    normalised images (N, 3, S, S) and gives scores (N, classes). The description has the classes,
    S (pixels), and the mean and standard deviation to normalise by. By default it is the newest
    run's. Raises RunError for a run without trained weights, or a damaged file.
    """
    if isinstance(source, str | Path) and (path := checked_path(source)).is_file():
        return load_weights(path)
    run = open_run(source)
    return load_weights(run.require(run.weights, "train"))
