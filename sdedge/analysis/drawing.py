"""What a search found as a drawing, in whichever space."""

from pathlib import Path

from sdedge.analysis.darts_cell import draw_genotype
from sdedge.analysis.nasbench201_cell import draw_nb201_cell
from sdedge.genotype import Architecture, Genotype
from sdedge.space.nasbench201.cell import Nb201Cell


def draw_architecture(architecture: Architecture, path: Path, *, title: str | None = None) -> None:
    """Draw `architecture` to `path`, as SVG or PNG by its suffix.

    Writes and raises as `sdedge.analysis.figure.save_figure` does; TypeError for an architecture
    of neither space.
    """
    if isinstance(architecture, Genotype):
        draw_genotype(architecture, path, title=title)
    elif isinstance(architecture, Nb201Cell):
        draw_nb201_cell(architecture, path, title=title)
    else:
        raise TypeError(f"no drawing of a {type(architecture).__name__}")
