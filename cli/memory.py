"""sdedge memory"""

from pathlib import Path
from typing import Annotated

import typer

from sdedge.cli import options
from sdedge.cli.output import console, guarded, print_json
from sdedge.cli.render.memory import show_memory
from sdedge.errors import ConfigError


@guarded
def memory(
    model: Annotated[
        Path | None, typer.Option(help="Any ONNX classifier; default: the run's model.onnx.")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="As it would be, quantised throughout.")
    ] = False,
    shape: options.Shape = None,
    run: options.Run = None,
    json_output: options.Json = False,
) -> None:
    """Find the RAM and flash that an exported network needs, and what fills the RAM."""
    from sdedge.pipeline.exported import ExportedNetwork
    from sdedge.pipeline.memory import measure_memory

    image = options.image_shape(shape)
    if model is not None and run is not None:
        raise ConfigError(f"give --model {model} or --run {run}, not both")
    network = ExportedNetwork(None, model) if model else ExportedNetwork.of_run(run)
    result = measure_memory(network, as_int8=int8, shape=image)
    show_memory(console(json_output=json_output), result, as_int8=int8)
    if json_output:
        print_json(result.to_dict())
