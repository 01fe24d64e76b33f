"""The derived network: a genotype, repeated (DARTS, section 3.2 and appendix A.2)."""

import re

import torch
from torch import Tensor, nn

from sdedge.bounds import Stem
from sdedge.errors import ConfigError
from sdedge.genotype import Edge, Genotype
from sdedge.operations import get_operation
from sdedge.space.darts.cell import CellSpec, cell_specs, reduction_positions
from sdedge.space.darts.skeleton import CellInputs, CifarStem, ImageNetStem

STEMS: dict[Stem, type[CifarStem] | type[ImageNetStem]] = {
    "cifar": CifarStem,
    "imagenet": ImageNetStem,
}


def drop_path(x: Tensor, probability: float) -> Tensor:
    """Zero whole samples of x (N, C, H, W) with `probability`, rescale the rest (FractalNet)."""
    keep = torch.full((x.shape[0], 1, 1, 1), 1 - probability, device=x.device, dtype=x.dtype)
    return x * (keep.bernoulli() / keep)


class Cell(nn.Module):
    """One cell of a genotype: each node adds two operations, chosen nodes are concatenated."""

    def __init__(self, spec: CellSpec, edges: tuple[Edge, ...], concat: tuple[int, ...]) -> None:
        super().__init__()
        self.preprocess = CellInputs(spec, affine=True)
        self.names = tuple(name for name, _ in edges)
        self.sources = tuple(source for _, source in edges)
        self.concat = concat
        self.operations = nn.ModuleList(
            get_operation(name).module(
                spec.channels,
                2 if spec.reduction and source < 2 else 1,
                search=False,
            )
            for name, source in edges
        )

    def forward(self, s0: Tensor, s1: Tensor, drop_probability: float) -> Tensor:
        """s0, s1: outputs of the two cells before -> (N, len(concat) * channels, H, W)."""
        states = list(self.preprocess(s0, s1))
        for first in range(0, len(self.sources), 2):
            left, right = (
                self._term(states, position, drop_probability) for position in (first, first + 1)
            )
            states.append(left + right)
        return torch.cat([states[node] for node in self.concat], dim=1)

    def _term(self, states: list[Tensor], position: int, drop_probability: float) -> Tensor:
        operation = self.operations[position]
        y: Tensor = operation(states[self.sources[position]])
        if self.training and drop_probability > 0 and not isinstance(operation, nn.Identity):
            y = drop_path(y, drop_probability)
        return y


class AuxiliaryHead(nn.Module):
    """A second classifier after two thirds of the cells, for training only (Inception v3).

    Made for the 8x8 (CIFAR) and 7x7 (ImageNet) maps of the papers; larger maps are averaged.
    """

    def __init__(self, c_in: int, classes: int, stem: Stem) -> None:
        super().__init__()
        cifar = stem == "cifar"
        self.features = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(5, stride=3 if cifar else 2, count_include_pad=False),
            nn.Conv2d(c_in, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            # The ImageNet head of the papers has no batch norm here.
            nn.BatchNorm2d(768) if cifar else nn.Identity(),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, c_in, H, W) -> (N, classes)."""
        return self.classifier(self.features(x).mean(dim=(2, 3)))  # type: ignore[no-any-return]


class Network(nn.Module):
    """A network of `cells` cells that starts with `channels` channels.

    `drop_path_probability` may be changed between steps; it acts in training mode only.
    """

    def __init__(
        self,
        genotype: Genotype,
        *,
        channels: int,
        cells: int,
        classes: int,
        stem: Stem = "cifar",
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        self.drop_path_probability = 0.0
        self.stem = STEMS[stem](channels)
        multipliers = (len(genotype.normal_concat), len(genotype.reduce_concat))
        specs = list(
            cell_specs(
                c_stem=self.stem.out_channels,
                channels=channels,
                cells=cells,
                multipliers=multipliers,
                reduction_prev=self.stem.reduction_prev,
            )
        )
        self.cells = nn.ModuleList(
            Cell(spec, genotype.reduce, genotype.reduce_concat)
            if spec.reduction
            else Cell(spec, genotype.normal, genotype.normal_concat)
            for spec in specs
        )
        out_channels = [multipliers[spec.reduction] * spec.channels for spec in specs]
        self.classifier = nn.Linear(out_channels[-1], classes)
        self.auxiliary_position = max(reduction_positions(cells))
        self.auxiliary = (
            AuxiliaryHead(out_channels[self.auxiliary_position], classes, stem)
            if auxiliary
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 3, H, W) normalised images -> (N, classes)."""
        return self.forward_with_auxiliary(x)[0]

    def forward_with_auxiliary(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Class scores, and the auxiliary head's scores in training mode where there is one."""
        s0, s1 = self.stem(x)
        auxiliary = None
        for position, cell in enumerate(self.cells):
            s0, s1 = s1, cell(s0, s1, self.drop_path_probability)
            if position == self.auxiliary_position and self.auxiliary and self.training:
                auxiliary = self.auxiliary(s1)
        return self.classifier(s1.mean(dim=(2, 3))), auxiliary

    def operation_at(self, path: str) -> str | None:
        """The operation that the module at `path`, such as "cells.0.operations.3.1", is part of."""
        match = re.match(r"cells\.(\d+)\.operations\.(\d+)", path)
        if match is None:
            return None
        cell = self.cells[int(match[1])]
        if not isinstance(cell, Cell):
            raise TypeError(f"cell {match[1]} is a {type(cell).__name__}")
        return cell.names[int(match[2])]


def check_auxiliary_size(image_size: int, stem: Stem) -> None:
    """Raise ConfigError when the map at the auxiliary head is too small for its pooling."""
    reduction, smallest = (4, 8) if stem == "cifar" else (32, 7)
    side = -(-image_size // reduction)  # every reduction rounds up
    if side < smallest:
        raise ConfigError(
            f"auxiliary: images of {image_size} px leave a map of {side} px at "
            f"the auxiliary head, which needs {smallest}; train with --no-auxiliary"
        )
