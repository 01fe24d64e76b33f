"""One iteration of the search, plain against fused: check, then time and memory.

    python benchmarks/search_step.py [--preset both] [--rounds 3] [--threads N] [--device auto]
                                     [--json] [--profile]

An iteration is an alpha step and a weight step of the semantic task with its decoder and masks, on
noise. Plain is the supernet module by module in torch's default memory layout, as in the public
DARTS code; fused is what `sdedge search` runs. On the same parameters and batch both must give one
loss and one gradient, or nothing is timed. Each form then has a process of its own, and they take
turns: a first step each, then rounds of one step (ten on a GPU), of which the medians are compared.
On a GPU a third form is the fused one with `--cuda-graphs`.

The forms are held against each other in float64, and in float32 less tightly: there rounding alone
puts a few values on the other side of a ReLU, and one in a million of them moves the gradient by a
thousandth of its norm. Plain in channels-last order is as far from plain. Triton has no float64.
"""

import argparse
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import torch
from rich.console import Console
from rich.text import Text
from stepper import Child, Form, Setting, Stepper
from torch import Tensor

from sdedge.cli.output import console, print_json, table
from sdedge.cli.render.figures import mebibytes
from sdedge.device import select_device
from sdedge.environment import describe_environment
from sdedge.errors import BenchError, SdedgeError

SETTINGS = {name: Setting.preset(name) for name in ("paper", "quick")}
LARGEST_ERRORS = {torch.float64: 1e-9, torch.float32: 5e-2}
FORMS: tuple[Form, ...] = ("plain", "fused")
CHECKED_IMAGES = 8  # float64 takes its time
GPU_STEPS = 10  # of a round

Errors = dict[str, dict[str, float]]  # dtype -> quantity -> relative error


def agreement(setting: Setting, device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """How far the fused loss and gradients are from the plain ones, relative to their norms."""
    fewer = replace(setting, batch=min(setting.batch, CHECKED_IMAGES))
    with _full_precision():
        plain, fused = (_loss_and_gradients(Stepper(fewer, form, device, dtype)) for form in FORMS)
    names = ("loss", "alpha_gradients", "weight_gradients")
    return {
        name: float((a - b).norm() / b.norm())
        for name, a, b in zip(names, fused, plain, strict=True)
    }


@contextmanager
def _full_precision() -> Iterator[None]:
    """Convolutions on CUDA round to TF32 by default, plain and fused ones differently."""
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    usual, convolutions.fp32_precision = convolutions.fp32_precision, "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = usual


def _loss_and_gradients(stepper: Stepper) -> Sequence[Tensor]:
    bilevel = stepper.bilevel
    loss = bilevel.loss(stepper.search).total
    parameters = [*bilevel.alpha_list, *bilevel.weight_list]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    count = len(bilevel.alpha_list)
    return [
        torch.cat([t.detach().double().flatten() for t in part])
        for part in ([loss], gradients[:count], gradients[count:])
    ]


def check(settings: Iterable[Setting], device: torch.device) -> dict[str, Errors]:
    """The errors by setting; BenchError if one is too large, or no number."""
    errors: dict[str, Errors] = {}
    for setting in settings:
        errors[setting.name] = {}
        for dtype, allowed in LARGEST_ERRORS.items():
            if dtype == torch.float64 and device.type == "cuda":
                continue
            deviations = agreement(setting, device, dtype)
            if not all(error <= allowed for error in deviations.values()):
                raise BenchError(
                    f"WRONG at {setting.name}: fused is off by {error_text(deviations)} in {dtype} "
                    f"(relative; allowed {allowed:g}); nothing was timed"
                )
            errors[setting.name][str(dtype).removeprefix("torch.")] = deviations
    return errors


def error_text(errors: dict[str, float]) -> str:
    """Errors in words: "loss 2e-07, alpha gradients 3e-07"."""
    return ", ".join(f"{name.replace('_', ' ')} {error:.1e}" for name, error in errors.items())


def measure(
    setting: Setting,
    device: torch.device,
    *,
    rounds: int,
    threads: int | None = None,
    profiles: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Time the forms in turns; profiles, if given, get the operators of each."""
    cuda = device.type == "cuda"
    steps = GPU_STEPS if cuda else 1
    forms: tuple[Form, ...] = (*FORMS, "graphs") if cuda else FORMS
    with ExitStack() as stack:
        children = [
            stack.enter_context(Child(setting, form, device, threads=threads)) for form in forms
        ]
        first = {child.form: child.call("step") for child in children}
        if cuda:
            _warm_up(children)
        seconds: dict[str, list[float]] = {child.form: [] for child in children}
        for _ in range(rounds):
            for child in children:
                seconds[child.form].append(child.call("step", steps))
        results: dict[str, dict[str, Any]] = {
            child.form: {
                "median_seconds": statistics.median(seconds[child.form]),
                "least_seconds": min(seconds[child.form]),
                "greatest_seconds": max(seconds[child.form]),
                "first_step_seconds": first[child.form],
                **child.call("memory"),
                "kernels": child.call("kernels"),
                "launches": child.call("launches") if cuda else None,
            }
            for child in children
        }
        if profiles is not None:
            profiles |= {f"{setting.name}, {c.form}": c.call("profile") for c in children}
    return {
        **asdict(setting),
        "rounds": rounds,
        "steps_per_round": steps,
        "time_ratio": results["plain"]["median_seconds"] / results["fused"]["median_seconds"],
        "memory_ratio": results["fused"]["peak_growth_bytes"]
        / results["plain"]["peak_growth_bytes"],
        **results,
    }


def _warm_up(children: list[Child]) -> None:
    """Ten more steps, in which graphs are recorded; their replay must lead where fused leads."""
    losses = {}
    for child in children:
        child.call("step", GPU_STEPS)
        losses[child.form] = child.call("loss")
    fused, graphs = losses["fused"], losses["graphs"]
    if not abs(graphs - fused) <= LARGEST_ERRORS[torch.float32] * abs(fused):
        raise BenchError(
            f"WRONG: {GPU_STEPS + 1} steps lead to a loss of {graphs:.6g} by graph and of "
            f"{fused:.6g} without; nothing was timed"
        )


def report(device: torch.device, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """The JSON object; the ratios on top are those of the paper's setting, null without it."""
    paper = next((case for case in cases if case["name"] == "paper"), {})
    return {
        "benchmark": "search_step",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **describe_environment(device),
        "time_ratio": paper.get("time_ratio"),
        "memory_ratio": paper.get("memory_ratio"),
        "cases": cases,
    }


def show(out: Console, case: dict[str, Any]) -> None:
    """A table of one setting."""
    rows = [
        (
            form,
            f"{case[form]['median_seconds']:.4g}",
            f"{case[form]['least_seconds']:.4g} to {case[form]['greatest_seconds']:.4g}",
            f"{case[form]['first_step_seconds']:.4g}",
            mebibytes(case[form]["peak_growth_bytes"]),
            mebibytes(case[form]["peak_resident_bytes"]),
            case[form]["launches"] or "",
        )
        for form in (*FORMS, "graphs")
        if form in case
    ]
    columns = ("", "median s", "range s", "first s", "memory", "process", "launches")
    title = (
        f"{case['name']}: {case['cells']} cells of {case['channels']} channels, "
        f"batch {case['batch']}, {case['image_size']} px"
    )
    out.print(table(title, columns, rows), soft_wrap=False)
    out.print(
        f"plain takes {case['time_ratio']:.3g} times as long; fused needs "
        f"{case['memory_ratio']:.1%} of the memory"
    )
    for dtype, deviations in case["errors"].items():
        out.print(f"relative error in {dtype}: {error_text(deviations)}")
    routes = ", ".join(f"{name} {route}" for name, route in case["fused"]["kernels"].items())
    out.print(f"[dim]fused ran {routes}[/dim]")


def explain(out: Console, summary: dict[str, Any], rounds: int) -> None:
    """How the figures came about."""
    cuda = summary["device"] != "cpu"
    memory = "allocated on the device" if cuda else "resident"
    round_text = f"{rounds} rounds of {GPU_STEPS} steps" if cuda else f"{rounds} rounds of a step"
    out.print(
        f"[dim]alpha step and weight step, float32, {round_text} in turns, a process for each "
        f"form; memory: peak {memory}, over that before the supernet was built; process: all that "
        f"was resident; {summary['device_name']}, {summary['threads']} threads, torch "
        f"{summary['packages']['torch']}, commit {summary['commit']}[/dim]"
    )


def main(arguments: list[str]) -> int:
    """Check, measure, print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--preset", choices=("both", *SETTINGS), default="both")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch on the CPU")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--profile", action="store_true", help="the slowest operators too")
    options = parser.parse_args(arguments)
    for name in ("rounds", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name} is {value}; it must be at least 1")
    out = console(json_output=options.json)
    settings = [s for name, s in SETTINGS.items() if options.preset in ("both", name)]
    profiles: dict[str, str] | None = {} if options.profile else None
    try:
        device = select_device(options.device)
        if options.threads:
            torch.set_num_threads(options.threads)
        errors = check(settings, device)
        cases = []
        for setting in settings:
            case = measure(
                setting, device, rounds=options.rounds, threads=options.threads, profiles=profiles
            )
            cases.append({**case, "errors": errors[setting.name]})
            show(out, cases[-1])
    except SdedgeError as error:
        print(error, file=sys.stderr)
        return 1
    summary = report(device, cases)
    explain(out, summary, options.rounds)
    for title, operators in (profiles or {}).items():
        out.print(Text(f"{title}\n{operators}"))
    if options.json:
        print_json(summary)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
