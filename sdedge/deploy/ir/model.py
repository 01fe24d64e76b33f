"""What every format is written from: a network's program, and what its file says of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdedge.deploy.ir.graph import Precision
from sdedge.deploy.ir.program import Program

if TYPE_CHECKING:  # it loads torch
    from sdedge.space.saved import NetworkDescription


@dataclass(frozen=True, kw_only=True)
class Model:
    """A classifier of images, ready to be written.

    The program's input is float32 (batch, 3, S, S), RGB: normalised with the description's mean
    and std, or with `normalize` in [0, 1] and normalised by the program itself. It gives class
    scores, (batch, classes).
    """

    program: Program
    description: "NetworkDescription"
    normalize: bool = False
    precision: Precision = "fp32"
