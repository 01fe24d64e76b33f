"""A search from start to genotype, in a run directory."""

from dataclasses import dataclass
from typing import Any

from sdedge.data.provenance import keep_record
from sdedge.environment import describe_environment
from sdedge.events import Reporter
from sdedge.files import write_atomic
from sdedge.genotype import Architecture
from sdedge.kernels import dispatch
from sdedge.loop import run_phase
from sdedge.nas.alphas import RELATIVE
from sdedge.nas.phase import SearchPhase
from sdedge.nas.stages import StagedSearch
from sdedge.run import RunDir

UNDECIDED_ENTROPY = 0.99


@dataclass(frozen=True)
class SearchOutcome:
    """What a search found, and the record of each of its epochs."""

    genotype: Architecture
    epoch: int  # that the genotype is of, the last unless the strategy stopped the search
    seconds: float
    records: list[dict[str, Any]]

    @property
    def relative_entropy(self) -> float | None:
        """Entropy of the mixing weights that the genotype is of, as a share of uniform ones'.

        That of the cell type that is decided most; None in records of before it was kept.
        """
        record = self.records[self.epoch]
        shares = [value for name, value in record.items() if name.startswith(RELATIVE)]
        return min(shares, default=None)

    @property
    def undecided(self) -> bool:
        """Whether no operation is clearly ahead: mixing weights are within 1% of uniform."""
        return self.relative_entropy is not None and self.relative_entropy > UNDECIDED_ENTROPY

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the best validation accuracy."""
        scored = [record for record in self.records if "valid_accuracy" in record]
        if not scored:
            return None
        return int(max(scored, key=lambda record: record["valid_accuracy"])["epoch"])


def run_search(
    phase: SearchPhase | StagedSearch, run: RunDir, reporter: Reporter, *, resume: bool = False
) -> SearchOutcome:
    """Search, or resume the search in `run`, and write genotype.json.

    Raises RunError for files that cannot be used, and InterruptedRunError, after a checkpoint,
    when asked to stop.
    """
    config = phase.config
    dispatch.reset()
    environment = {**describe_environment(phase.device), "step": config.step}
    with run.lock():
        if not resume:
            run.begin_phase("search", config.to_dict(), environment)
        keep_record(
            run.images("search"), phase.images, checkpoint=run.checkpoint("search"), resume=resume
        )
        if resume:
            run.record_settings("search", config.to_dict())  # the images may have moved
        seconds = run_phase(
            phase, run, reporter, resume=resume, checkpoint_seconds=config.checkpoint_seconds
        )
        if kernels := dispatch.chosen():  # none when a finished search was resumed
            run.record_phase("search", config.to_dict(), {**environment, "kernels": kernels})
        records = run.read_metrics("search", phase.record_type)
        genotype, epoch = phase.result(records)
        write_atomic(run.genotype, genotype.to_json().encode())
    return SearchOutcome(genotype, epoch, seconds, records)
