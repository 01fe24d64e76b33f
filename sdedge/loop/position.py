"""Where a phase is in its epochs, written to a checkpoint and read back."""

from dataclasses import asdict, dataclass, field

from sdedge.bounds import Amount, Natural
from sdedge.checkpoint import read_checkpoint, under_prefix, with_prefix, write_checkpoint
from sdedge.errors import RunError
from sdedge.loop.phase import Phase
from sdedge.meters import Meters
from sdedge.run import RunDir
from sdedge.schema import to_record


@dataclass
class Position:
    """The next step to do, and what the steps before it took and measured."""

    epoch: int = 0
    step: int = 0
    elapsed_seconds: float = 0.0
    records: int = 0
    meters: Meters = field(default_factory=Meters)


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What a checkpoint says of itself."""

    phase: str
    epoch: Natural
    step: Natural
    elapsed_seconds: Amount
    records: Natural
    data: str


def save_position(phase: Phase, run: RunDir, position: Position) -> None:
    """Write the checkpoint of `phase`; RunError when the disk is full or the folder read-only."""
    tensors = {
        **with_prefix("state", phase.state()),
        **with_prefix("meters", position.meters.tensors()),
    }
    header = _Header(
        phase=phase.name,
        epoch=position.epoch,
        step=position.step,
        elapsed_seconds=position.elapsed_seconds,
        records=position.records,
        data=phase.data_fingerprint,
    )
    write_checkpoint(run.checkpoint(phase.name), tensors, asdict(header))


def restore_position(phase: Phase, run: RunDir) -> Position:
    """Load the checkpoint of `phase` into it, and give the position; the start if there is none.

    Raises RunError when the checkpoint is damaged, is of another phase or other images, or does not
    agree with the epochs that the run has logged.
    """
    path = run.checkpoint(phase.name)
    if not path.exists():  # stopped before the first checkpoint: the same start again
        return Position()
    checkpoint = read_checkpoint(path)
    source = f"{path} is not a checkpoint of a {phase.name}"
    header = to_record(checkpoint.header, _Header, source=source)
    position = Position(
        epoch=header.epoch,
        step=header.step,
        elapsed_seconds=header.elapsed_seconds,
        records=header.records,
    )
    try:
        position.meters.load(under_prefix("meters", checkpoint.tensors), phase.device)
    except (KeyError, ValueError) as error:
        raise RunError(f"{source}: {error}") from error
    if header.data != phase.data_fingerprint:
        raise RunError(
            f"{path} was made with other images than the data set holds now; "
            "put them back, or start a new run"
        )
    if len(run.read_metrics(phase.name)) < position.records:
        raise RunError(
            f"{run.metrics} has fewer than the {position.records} epochs of {path.name}; "
            "it was changed or removed, so this run cannot resume"
        )
    phase.load_state(under_prefix("state", checkpoint.tensors), path)
    # Only now: a search that restored an earlier epoch has more epochs than its settings say.
    if header.epoch > phase.epochs or header.step > phase.steps:
        raise RunError(f"{source}: it is of epoch {header.epoch}, step {header.step}")
    return position
