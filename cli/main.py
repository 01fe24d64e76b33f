"""The `sdedge` command."""

import os

import typer

from sdedge.cli import genotype, nasbench, targets, terminal
from sdedge.cli.app import App
from sdedge.cli.bench import bench
from sdedge.cli.bundle import bundle
from sdedge.cli.compare import compare
from sdedge.cli.datasets import datasets
from sdedge.cli.demo import demo
from sdedge.cli.doctor import doctor
from sdedge.cli.export import export
from sdedge.cli.memory import memory
from sdedge.cli.search import search
from sdedge.cli.strategies import strategies
from sdedge.cli.train import train
from sdedge.resources import cpu_quota, usable_cpus
from sdedge.version import __version__

app = App(
    name="sdedge",
    help="Search, train, export and profile small convolutional networks for edge devices.",
    no_args_is_help=True,
)
for command in (
    search,
    compare,
    train,
    export,
    bench,
    memory,
    bundle,
    demo,
    datasets,
    strategies,
    doctor,
):
    app.command()(command)
app.add_typer(genotype.app, name="genotype")
app.add_typer(nasbench.app, name="nasbench")
app.add_typer(targets.app, name="targets")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sdedge {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Search, train, export and profile small convolutional networks for edge devices."""


@app.command("version", hidden=True)
def version() -> None:
    """Print the version, for those who do not guess --version."""
    _print_version(True)


def main() -> None:
    """Entry point of the console script and of `python -m sdedge`."""
    # By default a waiting thread of OpenMP spins for milliseconds, which makes a training step
    # twenty times as slow once another program wants a core. Must be set before torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    if cpu_quota():  # of which torch knows nothing
        os.environ.setdefault("OMP_NUM_THREADS", str(usable_cpus()))
    terminal.run(app)
