"""sdedge demo"""

import os
import time
from functools import partial
from pathlib import Path

from sdedge.cli import options
from sdedge.cli.export import export_and_show
from sdedge.cli.output import console, guarded, print_json, shown
from sdedge.cli.render.figures import duration
from sdedge.cli.search import search_and_show
from sdedge.cli.train import train_and_show
from sdedge.lock import lock_folder


@guarded
def demo(
    data_root: options.DataRoot = None,
    seed: options.Seed = None,
    device: options.Device = None,
    run: options.NewRun = None,
    json_output: options.Json = False,
) -> None:
    """Search, train, export and profile on the embedded data set, in about five minutes."""
    from sdedge.cli.render.bench import show_bench
    from sdedge.cli.render.progress import render
    from sdedge.pipeline.bench import bench

    given = {"data_root": data_root, "seed": seed, "device": device}
    overrides = {name: value for name, value in given.items() if value is not None}
    out = console(json_output=json_output)
    started = time.monotonic()
    searched = search_and_show(out, preset="demo", run=run, **overrides)
    path = run or Path(os.path.relpath(searched.run))  # as short as it was announced
    with lock_folder(path):
        trained = train_and_show(out, preset="demo", run=path, **overrides)
        exported = export_and_show(out, run=path)
        profiled = bench(path, reporter=partial(render, console=out))
        show_bench(out, profiled)
    seconds = time.monotonic() - started
    out.print(
        f"[bold]The whole chain took {duration(seconds)}[/bold]; everything is in {shown(path)}"
    )
    if json_output:
        print_json(
            {
                "run": str(path),
                "seconds": seconds,
                "search": searched.to_dict(),
                "train": trained.to_dict(),
                "export": exported.to_dict(),
                "bench": profiled.to_dict(),
            }
        )
