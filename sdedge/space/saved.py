"""A trained network on disk: weights in safetensors, and in its header all it takes to use them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from sdedge.checkpoint import load_module, read_checkpoint, write_checkpoint
from sdedge.errors import GenotypeError, RunError
from sdedge.genotype import Genotype
from sdedge.space.network import Network, Stem


@dataclass(frozen=True, kw_only=True)
class NetworkDescription:
    """What a network is and what it expects, without its weights."""

    genotype: Genotype
    channels: int
    cells: int
    stem: Stem
    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, float, float]  # of RGB in [0, 1]
    std: tuple[float, float, float]
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
        """Read the JSON form; RunError naming `source` when a field is missing or malformed."""
        try:
            description = cls(
                genotype=Genotype.from_dict(data["genotype"], source=source),
                channels=int(data["channels"]),
                cells=int(data["cells"]),
                stem=data["stem"],
                classes=tuple(str(name) for name in data["classes"]),
                image_size=int(data["image_size"]),
                mean=_rgb(data["mean"]),
                std=_rgb(data["std"]),
                dataset=str(data["dataset"]),
            )
        except (KeyError, TypeError, ValueError, GenotypeError) as error:
            raise RunError(
                f"{source}: the description of the network is damaged ({error})"
            ) from error
        if description.stem not in get_args(Stem):
            raise RunError(f"{source}: unknown stem {description.stem!r}")
        sizes = (description.channels, description.cells, len(description.classes))
        if min(*sizes, description.image_size) < 1 or min(description.std) <= 0:
            raise RunError(
                f"{source}: the description of the network is damaged (a size or std is 0 or less)"
            )
        return description


def save_network(path: Path, network: Network, description: NetworkDescription) -> None:
    """Write the weights, less the auxiliary head, and the description."""
    tensors = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not name.startswith("auxiliary.")
    }
    write_checkpoint(path, tensors, description.to_dict())


def load_network(path: Path) -> tuple[Network, NetworkDescription]:
    """Read a network on the CPU, in evaluation mode; RunError when the file is damaged."""
    checkpoint = read_checkpoint(path)
    description = NetworkDescription.from_dict(checkpoint.header, source=str(path))
    network = description.build()
    load_module(network, checkpoint.tensors, path)
    return network.eval(), description


def _rgb(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
