"""A training from genotype to weights, in a run directory."""

from dataclasses import dataclass
from typing import Any

from sdedge.data.provenance import keep_record
from sdedge.environment import describe_environment
from sdedge.events import Reporter
from sdedge.files import write_atomic
from sdedge.loop import run_phase
from sdedge.run import RunDir
from sdedge.space.counting import Counts, count_network
from sdedge.space.saved import save_network
from sdedge.training.phase import TrainPhase


@dataclass(frozen=True)
class TrainOutcome:
    """The accuracy (a fraction of the test images) and size of a trained network."""

    test_accuracy: float
    counts: Counts
    seconds: float
    records: list[dict[str, Any]]


def run_training(
    phase: TrainPhase, run: RunDir, reporter: Reporter, *, resume: bool = False
) -> TrainOutcome:
    """Train, or resume the training in `run`, and write genotype.json and weights.safetensors.

    Raises RunError for files that cannot be used, and InterruptedRunError, after a checkpoint,
    when asked to stop.
    """
    config, description = phase.config, phase.description
    environment = {**describe_environment(phase.device), "step": config.step}
    with run.lock():
        if not resume:
            # The settings come last: a run that has them can be resumed.
            write_atomic(run.genotype, description.genotype.to_json().encode())
            run.begin_phase("train", config.to_dict(), environment)
        keep_record(
            run.images("train"), phase.images, checkpoint=run.checkpoint("train"), resume=resume
        )
        if resume:
            run.record_settings("train", config.to_dict())  # the images may have moved
        seconds = run_phase(
            phase, run, reporter, resume=resume, checkpoint_seconds=config.checkpoint_seconds
        )
        network = phase.finish()
        save_network(run.weights, network, description)
        records = run.read_metrics("train", phase.record_type)
    return TrainOutcome(
        test_accuracy=records[-1]["test_accuracy"],
        counts=count_network(network, description.image_size),
        seconds=seconds,
        records=records,
    )
