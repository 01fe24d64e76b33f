"""Images for a link of the chain: opened, described, and checked against a training's."""

from dataclasses import dataclass, replace
from pathlib import Path

from sdedge.config import PhaseConfig, TrainConfig
from sdedge.data.catalog import load_dataset
from sdedge.data.dataset import Dataset
from sdedge.data.provenance import check_unseen, read_images
from sdedge.data.source import Source
from sdedge.errors import ExportError
from sdedge.events import Event, Notice, Progressed, Reporter, silent
from sdedge.run import RunDir
from sdedge.space.darts.network import Network
from sdedge.space.saved import NetworkDescription, load_network


@dataclass(frozen=True)
class DatasetFound(Event):
    """The classes of a data set, before anything is decoded."""

    source: Source


@dataclass(frozen=True)
class DatasetOpened(Event):
    """The images of a data set are there."""

    dataset: Dataset


def open_dataset(
    config: PhaseConfig, reporter: Reporter = silent, stored_size: int | None = None
) -> Dataset:
    """The data set that `config` names; its classes are reported before anything is decoded.

    `stored_size` is the side of its images in pixels where `config` leaves that open. Raises
    DataError for images that are missing or cannot be used.
    """
    notes: tuple[str, ...] = ()

    def found(source: Source) -> None:
        nonlocal notes
        notes = source.notes
        reporter(DatasetFound(source))
        _warn(reporter, notes)

    dataset = load_dataset(
        config.dataset,
        Path(config.data_root),
        config.stored_size or stored_size,
        config.data_seed,
        lambda done, total: reporter(Progressed("opening images", done, total)),
        found,
    )
    _warn(reporter, dataset.notes[len(notes) :])  # what decoding showed
    reporter(DatasetOpened(dataset))
    return dataset


def open_training_data(
    run: RunDir,
    dataset: str | None = None,
    data_root: str | None = None,
    reporter: Reporter = silent,
) -> tuple[Dataset, tuple[str, ...]]:
    """The images that the network of a run was trained on, which may have moved.

    With them what is to be known of the test images, where the data set has changed. Raises
    DataError where test images were trained on.
    """
    config = TrainConfig.from_dict(run.settings("train"), source=str(run.config))
    config = replace(
        config, dataset=dataset or config.dataset, data_root=data_root or config.data_root
    )
    record = read_images(run.images("train"))
    data = open_dataset(config, reporter, record.image_size if record else None)
    notes = check_unseen(record, data)
    _warn(reporter, notes)
    return data, notes


def open_trained(
    run: RunDir,
    dataset: str | None = None,
    data_root: str | None = None,
    reporter: Reporter = silent,
) -> tuple[Network, NetworkDescription, Dataset, tuple[str, ...]]:
    """The trained network of a run, and what `open_training_data` gives.

    Raises ExportError where the data set has other classes than the network.
    """
    network, description = load_network(run.require(run.weights, "train"))
    data, notes = open_training_data(run, dataset, data_root, reporter)
    if data.classes != description.classes:
        raise ExportError(
            f"{data.name} has the classes {', '.join(data.classes)}, but the network was trained "
            f"on {', '.join(description.classes)}; give the set it was trained on with --dataset"
        )
    return network, description, data, notes


def _warn(reporter: Reporter, notes: tuple[str, ...]) -> None:
    for note in notes:
        reporter(Notice(note, warning=True))
