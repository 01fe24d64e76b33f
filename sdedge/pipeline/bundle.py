"""The files of an export for a board, in one archive with a program that checks and times them."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdedge.deploy.board.bundle import bundle_run
from sdedge.events import Notice, Reporter, silent
from sdedge.files import check_replaceable
from sdedge.paths import checked_path
from sdedge.pipeline.images import open_training_data
from sdedge.pipeline.runs import RunLike, open_run


@dataclass(frozen=True, kw_only=True)
class BundleResult:
    """The archive, and the names of the networks in it."""

    run: Path
    path: Path
    size_bytes: int
    models: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "bundle": str(self.path),
            "size_bytes": self.size_bytes,
            "models": list(self.models),
        }


def bundle(
    run: RunLike = None,
    file: str | Path | None = None,
    *,
    dataset: str | None = None,
    data_root: str | None = None,
    reporter: Reporter = silent,
) -> BundleResult:
    """Pack the exported networks of a run for a board.

    `file` None writes bundle.zip in the run directory. `dataset` and `data_root` say where the
    images are, if they have moved since the training. Raises RunError where there is no export or
    `file` cannot be written, DataError for images that are missing or were trained on, and
    ExportError for a damaged network.
    """
    opened = open_run(run)
    reporter(Notice(f"run directory {opened.path}"))
    opened.require(opened.onnx, "export")
    path = None if file is None else checked_path(file)
    if path is not None:
        check_replaceable(path)  # before the minutes that a bundle may take
    with opened.lock() if path is None else nullcontext():
        data, _ = open_training_data(opened, dataset, data_root, reporter)
        written, models = bundle_run(opened, data.test, path)
    return BundleResult(
        run=opened.path,
        path=written,
        size_bytes=written.stat().st_size,
        models=tuple(models),
    )
