"""A trained network on disk: weights in safetensors, and in its header all it takes to use them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sdedge import bounds
from sdedge.checkpoint import check_fits, load_module, read_checkpoint, write_checkpoint
from sdedge.errors import GenotypeError, RunError
from sdedge.genotype import Genotype
from sdedge.schema import to_record
from sdedge.space.darts.network import Network


@dataclass(frozen=True, kw_only=True)
class NetworkDescription:
    """What a network is and what it expects, without its weights."""

    genotype: Genotype
    channels: bounds.Channels
    cells: bounds.Cells
    stem: bounds.Stem
    classes: bounds.ClassNames
    image_size: bounds.ImageSize
    mean: bounds.Mean  # of RGB in [0, 1]
    std: bounds.Std
    dataset: str  # its name

    def build(self) -> Network:
        """The network with fresh weights, without auxiliary head."""
        return Network(
            self.genotype,
            channels=self.channels,
            cells=self.cells,
            classes=len(self.classes),
            stem=self.stem,
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "genotype": self.genotype.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, source: str) -> "NetworkDescription":
        """Read the JSON form; RunError naming `source` when a field is missing or malformed.

        A sound genotype with an operation that is not registered is a RunError as well.
        """
        if isinstance(data.get("genotype"), Mapping):
            try:
                Genotype.from_dict(data["genotype"])
            except GenotypeError as error:
                raise RunError(f"{source}: the network cannot be built: {error}") from error
        return to_record(data, cls, source=f"{source}: the description of the network is damaged")


def save_network(path: Path, network: Network, description: NetworkDescription) -> None:
    """Write the weights, less the auxiliary head, and the description."""
    tensors = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not name.startswith("auxiliary.")
    }
    write_checkpoint(path, tensors, description.to_dict())


def load_network(path: Path) -> tuple[Network, NetworkDescription]:
    """Read a network on the CPU, in evaluation mode; RunError when the file is damaged.

    The random numbers of the caller stay as they are.
    """
    checkpoint = read_checkpoint(path)
    description = NetworkDescription.from_dict(checkpoint.header, source=str(path))
    with torch.random.fork_rng(devices=[]):
        with torch.device("meta"):  # a description can ask for more memory than its file proves
            check_fits(description.build(), checkpoint.tensors, path)
        network = description.build()
    load_module(network, checkpoint.tensors, path)
    return network.eval(), description
