"""How a training reads: its start, and the network that it ends with."""

from rich.console import Console

from sdedge.cli.output import shown
from sdedge.cli.render import images as images  # registers the events of its data set
from sdedge.cli.render.figures import accuracy_on, duration, percent
from sdedge.cli.render.progress import render
from sdedge.counted import counted
from sdedge.pipeline.train import TrainResult, TrainStarted


@render.register
def _(event: TrainStarted, console: Console) -> None:
    config = event.config
    console.print(f"[bold]Train[/bold] on {shown(event.dataset)}, {event.origin}")
    console.print(
        f"  {config.cells} cells of {config.channels} channels; {counted(config.epochs, 'epoch')}, "
        f"batch {config.batch_size}, seed {config.seed}"
    )
    console.print(f"[dim]  run directory {shown(event.run)}[/dim]")


def show_training(console: Console, result: TrainResult) -> None:
    """Accuracy and size of a network, and whether it learned anything."""
    console.print(
        f"[bold]Trained[/bold] in {duration(result.seconds)}: test accuracy "
        f"{accuracy_on(result.test_accuracy, result.test_images)}, "
        f"{result.counts.params:,} parameters, "
        f"{result.counts.macs / 1e6:,.1f} M multiply-accumulates an image"
    )
    if not result.beats_majority:
        console.print(
            f"[yellow]No better, as far as {result.test_images:,} test images tell, than always "
            f"answering {shown(result.majority.name)}: {percent(result.majority.accuracy)}."
            "[/yellow]"
        )
    console.print(f"  {shown(result.weights)}")
