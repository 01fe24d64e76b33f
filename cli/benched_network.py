"""The network that `sdedge bench` is about: measured, predicted, held against its run's budget."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from sdedge.cli.output import mebibytes, shown, table, threads_text
from sdedge.cli.render.fits import print_device, print_devices, print_notes, print_scores
from sdedge.errors import ConfigError, RunError
from sdedge.files import write_json
from sdedge.run import RunDir, read_json

if TYPE_CHECKING:
    from sdedge.deploy.fit.check import Limits
    from sdedge.deploy.fit.evaluate import TargetReport
    from sdedge.deploy.fit.requirements import Requirements
    from sdedge.deploy.ir.graph import Precision
    from sdedge.deploy.latency.profiler import BenchResult

PRECISIONS = ("fp32", "int8")


@dataclass(frozen=True)
class BenchedNetwork:
    """The network in question: a run's, or that of the file that --model names."""

    run: RunDir | None
    model: Path

    @classmethod
    def find(cls, run: Path | None, model: Path | None) -> "BenchedNetwork":
        """The file `model`, else the export of `run`, else of the newest run.

        Raises RunError where there is no run, or no export in it.
        """
        if model is not None:
            return cls(None, model)
        opened = RunDir.open(run)
        return cls(opened, opened.require(opened.onnx, "export"))

    def lock(self) -> AbstractContextManager[None]:
        """Hold the run, which keeps the results; nothing is written for a file."""
        return self.run.lock() if self.run else nullcontext()

    def tell(self, out: Console) -> None:
        """Say which run, where the user may have left that open."""
        if self.run is not None:
            out.print(f"[dim]run directory {shown(str(self.run.path))}[/dim]")

    def budget(self) -> "Requirements | None":
        """What the run is held to, if it is a run and has a budget."""
        from sdedge.cli.budget import stored_requirements

        return stored_requirements(self.run) if self.run else None

    def limits(self, out: Console, given: "Limits", budget: "Requirements") -> "Limits":
        """The limits given, or where there are none the budget's, and say so."""
        from sdedge.cli.budget import listed_limits

        if given.active:
            return given
        limits = budget.limits
        if given.confidence is not None:
            limits = replace(limits, confidence=given.confidence)
        if limits.active:
            device = f", which is for {budget.target.name}" if budget.target else ""
            out.print(
                f"limits of the run's budget{shown(device)}: {listed_limits(limits.active)}; "
                "--max-... gives others"
            )
        return limits

    def verdict(
        self, out: Console, measured: "BenchResult | None", confidence: float | None = None
    ) -> dict[str, Any]:
        """What became of the run's budget; {} without one."""
        from sdedge.cli.budget import report_verdict

        if self.run is None:
            return {}
        verdict = report_verdict(out, self.run, measured=measured, confidence=confidence)
        return {"budget": verdict} if verdict else {}

    def rewrite_card(self) -> None:
        """Put what was measured or predicted into the run's model card, where it has one."""
        from sdedge.deploy.card import write_card

        if self.run is not None and self.run.card.exists():
            write_card(self.run)

    def file(self, precision: "Precision | None") -> Path:
        """What to measure."""
        if self.run is None:
            if precision is not None:
                raise ConfigError(
                    f"--precision {precision} chooses a file of a run to measure, but --model "
                    f"names {self.model}; leave out one"
                )
            return self.model
        if precision != "int8":
            return self.model
        if not self.run.onnx_int8.exists():
            raise RunError(
                f"{self.run.onnx_int8} is not there yet; make it with "
                f"`sdedge export --int8 --run {self.run.path}`"
            )
        return self.run.onnx_int8

    def measure(
        self,
        out: Console,
        precision: "Precision | None" = None,
        *,
        batch: int = 1,
        threads: int | None = None,
        shape: tuple[int, ...] | None = None,
        profile: bool = True,
    ) -> "BenchResult":
        """Measure one file here and tell about it; a run keeps the result."""
        from sdedge.deploy.latency.profiler import run_bench

        file = self.file(precision)
        out.print("[dim]measuring[/dim]")  # no spinner: it would take time from what is measured
        result = run_bench(file, batch=batch, threads=threads, shape=shape, profile=profile)
        if self.run is not None:
            write_json(self.run.bench(precision or "fp32"), result.to_dict())
        _report(out, result)
        return result

    def predict(
        self,
        target: str | None,
        limits: "Limits",
        precision: "Precision | None",
        *,
        image: tuple[int, ...] | None,
        partial: bool,
    ) -> "list[TargetReport]":
        """The network on one device, or on every device that there is."""
        from sdedge.deploy.fit.evaluate import evaluate_targets, read_variants
        from sdedge.deploy.targets.target import list_targets, load_target

        targets = list_targets() if target is None else [load_target(target)]
        variants = read_variants(self.model, self.run.onnx_int8 if self.run else None, image)
        return evaluate_targets(variants, targets, limits, precision=precision, partial=partial)

    def compare(
        self,
        out: Console,
        rows: "list[TargetReport]",
        limits: "Limits",
        measured: "BenchResult | None",
    ) -> dict[str, Any]:
        """Tell about predictions, beside measurements where there are any; a run keeps them."""
        from sdedge.deploy.fit.evaluate import with_measurements
        from sdedge.deploy.targets.target import HOST

        if any(row.target.name == HOST for row in rows):
            rows = with_measurements(rows, [measured] if measured else self._measurements())
        if len({row.target.name for row in rows}) == 1:
            print_device(out, rows)
        else:
            print_devices(out, rows)
        print_notes(out, rows)
        value = {
            "limits": limits.active,
            "confidence": limits.confidence,
            "targets": [row.to_dict() for row in rows],
        }
        if self.run is not None:
            write_json(self.run.targets, value)
        return value

    def _measurements(self) -> "list[BenchResult]":
        """What the run keeps from earlier."""
        from sdedge.deploy.latency.profiler import BenchResult

        kept = [self.run.bench(precision) for precision in PRECISIONS] if self.run else []
        return [
            BenchResult.from_dict(read_json(path), source=str(path))
            for path in kept
            if path.exists()
        ]

    def score(self, out: Console) -> list[dict[str, Any]]:
        """The MLPerf Tiny scores of the run's files; nothing for other images."""
        from sdedge.deploy.fit.mlperf import score_run

        scores = score_run(self.run) if self.run else []
        print_scores(out, scores)
        return [score.to_dict() for score in scores]


def _report(out: Console, result: "BenchResult") -> None:
    out.print(
        f"[bold]{shown(result.model)}[/bold] on {shown(result.cpu_model)}, "
        f"{threads_text(result.threads)}, batch {result.batch_size}, "
        f"ONNX Runtime {result.onnxruntime_version}"
    )
    rows = [
        ("latency p50", f"{result.latency_p50_ms:.3f} ms"),
        ("latency p95", f"{result.latency_p95_ms:.3f} ms"),
        ("latency p99", f"{result.latency_p99_ms:.3f} ms"),
        ("latency mean", f"{result.latency_mean_ms:.3f} ms over {result.runs:,} runs"),
        ("throughput", f"{result.throughput_images_per_s:,.0f} images/s"),
        ("load time", f"{result.load_time_ms:.1f} ms"),
        ("model size", f"{result.model_size_bytes:,} bytes"),
        (
            "peak memory",
            f"{mebibytes(result.peak_memory_bytes)}, "
            f"{mebibytes(result.model_memory_bytes)} of it the model's",
        ),
    ]
    out.print(table("", ("figure", "value"), rows), soft_wrap=False)
    if not result.settled:
        out.print(
            "[yellow]The figures did not settle within the time limit: other work is using this "
            f"machine (load {result.load_average_1min:.1f}). Measure again when it is idle."
            "[/yellow]"
        )
    if result.profile:
        out.print(
            table(
                f"operators, {result.profile.ms_per_run:.3f} ms a run with profiling on",
                ("operator", "calls", "ms", "share"),
                (
                    (o.op_type, f"{o.calls_per_run:g}", f"{o.ms_per_run:.3f}", f"{o.share:.1%}")
                    for o in result.profile.operators
                ),
            ),
            soft_wrap=False,
        )
