"""export: formats from outside, artifacts that are made once, and what a failure leaves.

The toy format uses public names alone; what docs/extending.md shows of it stands here word for
word.
"""

import gzip
import json
import re
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray

import sdedge
from factories.networks import describe
from sdedge.config import TrainConfig
from sdedge.data.dataset import Dataset
from sdedge.deploy import artifact as artifacts
from sdedge.deploy.formats.format import Format, Run
from sdedge.deploy.formats.onnx import runtime
from sdedge.deploy.formats.onnx.format import ONNX
from sdedge.deploy.formats.registry import register_format
from sdedge.deploy.int8 import search
from sdedge.deploy.ir import trace
from sdedge.deploy.ir.model import Model
from sdedge.deploy.latency import compare
from sdedge.errors import ConfigError, ExportError
from sdedge.events import Event
from sdedge.pipeline import export as link
from sdedge.pipeline.export import Exported
from sdedge.run import RunDir
from sdedge.space.saved import save_network

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
IMAGES = 10  # of the tiny data set's test half

# A format of two files, that nothing here can run


def write(model: Model) -> tuple[bytes, ...]:
    """The nodes as JSON, and the bytes of the constants that they read, one after the other."""
    nodes, weights = [], bytearray()
    constants: dict[str, dict[str, object]] = {}
    for node in model.program.nodes:
        for name in node.inputs:
            values = model.program.constants.get(name)
            if values is not None and name not in constants:
                layout = {"shape": values.shape, "type": values.dtype.str, "at": len(weights)}
                constants[name] = layout
                weights += values.tobytes()
        attributes = {key: str(value) for key, value in node.attributes.items()}
        nodes.append([node.op_type, node.inputs, node.output, attributes])
    text = json.dumps({"nodes": nodes, "constants": constants})
    return text.encode(), bytes(weights)


LISTING = Format(
    name="listing",
    title="listing",
    suffixes=("nodes.json", "weights.bin"),
    write=write,
)

# A format that is run: ONNX, compressed


def pack(model: Model) -> tuple[bytes, ...]:
    (data,) = ONNX.content(model)
    return (gzip.compress(data, mtime=0),)


def unpack(data: bytes) -> Run:
    return runtime.load(gzip.decompress(data))


PACKED = Format(name="packed", title="packed", suffixes=("onnx.gz",), write=pack, load=unpack)


def off_by(amount: float) -> Format:
    """The same, with scores that are off by `amount`."""

    def load(data: bytes) -> Run:
        run = unpack(data)
        return lambda images: run(images) + np.float32(amount)

    return replace(PACKED, load=load)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_dataset: Dataset) -> RunDir:
    """A run on the tiny data set, as if trained."""
    short = partial(compare.compare_latency, min_turns=3, max_seconds=0.1)
    monkeypatch.setattr(compare, "compare_latency", short)
    torch.manual_seed(0)
    described = describe("DARTS_V1", classes=len(tiny_dataset.classes))
    description = replace(
        described,
        classes=tiny_dataset.classes,
        mean=tiny_dataset.mean,
        std=tiny_dataset.std,
    )
    network = description.build()
    run = RunDir.create("tiny", tmp_path / "run")
    run.record_phase("train", TrainConfig(channels=4, cells=3, auxiliary=False).to_dict(), {})
    save_network(run.weights, network, description)
    monkeypatch.setattr(
        link, "open_trained", lambda *_: (network.eval(), description, tiny_dataset, ())
    )
    return run


def test_the_result_is_what_is_in_the_run(run: RunDir, capfd: pytest.CaptureFixture[str]) -> None:
    result = sdedge.export(run.path, int8=True, calibration_images=12)
    assert [(a.format, a.precision, a.path) for a in result.artifacts] == [
        ("onnx", "fp32", run.onnx),
        ("onnx", "int8", run.onnx_int8),
    ]
    for artifact in result.artifacts:
        assert artifact.path.read_bytes() == artifact.data
        assert replace(sdedge.Artifact.open(artifact.path), report=artifact.report) == artifact
    assert (result.run, result.model, result.removed) == (run.path, run.onnx, ())
    content = json.loads(run.export_report.read_text())
    told = json.loads(json.dumps(result.to_dict()))
    assert told == {"run": str(run.path), "model": str(run.onnx), **content}
    assert content["int8"]["nodes"] == result.to_dict()["int8"]["nodes"]
    assert capfd.readouterr() == ("", "")


def test_a_file_of_each_precision_is_made_read_planned_and_tested_once(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()
    images: Counter[bytes] = Counter()

    def count(module: Any, name: str) -> None:
        work = getattr(module, name)

        def counted(*arguments: Any, **settings: Any) -> Any:
            calls[name] += 1
            return work(*arguments, **settings)

        monkeypatch.setattr(module, name, counted)

    class Session:
        def __init__(self, model: bytes) -> None:
            self._model, self._session = model, open_model(model)

        def run(self, names: list[str], feed: dict[str, NDArray[np.float32]]) -> Any:
            images[self._model] += len(feed["input"])
            return self._session.run(names, feed)

    open_model = runtime.open_model
    monkeypatch.setattr(runtime, "open_model", Session)
    count(trace, "fold_batch_norm")
    count(trace, "optimize_graph")
    count(artifacts, "read_graph")
    count(artifacts, "plan_memory")
    monkeypatch.setattr(search, "MAX_ACCURACY_DROP", 1.0)  # one round of candidates is enough
    result = sdedge.export(run.path, int8=True, calibration_images=12)
    assert calls == {"fold_batch_norm": 1, "optimize_graph": 1, "read_graph": 2, "plan_memory": 2}
    few = 1 + 3
    held_out = result.to_dict()["int8"]["held_out_images"]
    fp32, int8 = result.artifacts
    assert images[fp32.data] == few + IMAGES + held_out
    assert images[int8.data] == few + IMAGES
    assert "Size and memory" in run.card.read_text()


def test_a_format_of_several_files_that_nothing_here_runs(run: RunDir) -> None:
    with register_format(LISTING):
        result = sdedge.export(run.path, formats=["listing"], int8=True, calibration_images=12)
        names = [[path.name for path in each.files] for each in result.artifacts]
        assert names == [
            ["model.onnx"],
            ["model.int8.onnx"],
            ["model.nodes.json", "model.weights.bin"],
            ["model.int8.nodes.json", "model.int8.weights.bin"],
        ]
        for artifact in result.artifacts:
            for path, data in artifact.files.items():
                assert path.read_bytes() == data
        listing, quantised = result.artifacts[2:]
        assert listing.graph is result.artifacts[0].graph
        assert len(json.loads(listing.data)["nodes"]) == sum(result.to_dict()["nodes"].values())
        assert b"QLinearConv" in quantised.data
        report = json.loads(run.export_report.read_text())["formats"]["listing"]["fp32"]
        assert report["accuracy"] is None
        assert report["file_size_bytes"] == sum(map(len, listing.files.values()))
        again = sdedge.export(run.path)
        assert not any(path.exists() for path in (*listing.files, *quantised.files))
        assert set(again.removed) >= {*listing.files, *quantised.files}
    with pytest.raises(ConfigError, match="format is 'listing'; choose from onnx"):
        sdedge.export(run.path, formats=["listing"])


def test_files_of_a_format_that_is_no_longer_known_go_as_well(run: RunDir) -> None:
    with register_format(LISTING):
        first = sdedge.export(run.path, formats=["listing"])
    report = json.loads(run.export_report.read_text())
    listed = report["formats"]["listing"]["fp32"]["files"]
    assert listed == ["model.nodes.json", "model.weights.bin"]
    kept = [run.weights, run.path / "model.txt", run.path.parent / "model.txt"]
    for path in kept[1:]:
        path.write_text("mine")
    outside = [
        "../model.txt",
        str(kept[2]),
        "weights.safetensors",
        "model.",
        "model.a/../model.txt",
    ]
    report["formats"]["listing"]["fp32"]["files"] = [*outside, *listed]
    run.export_report.write_text(json.dumps(report))
    again = sdedge.export(run.path)
    gone = set(first.artifacts[1].files)
    assert set(again.removed) >= gone
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)
    run.export_report.write_text('{"formats": 3}')
    assert sdedge.export(run.path).model.exists()


def test_a_format_with_an_interpreter_is_held_against_onnx(run: RunDir) -> None:
    with register_format(PACKED):
        result = sdedge.export(run.path, formats=["onnx", "packed"])
    (report,) = result.to_dict()["formats"]["packed"].values()
    assert report["images"] == IMAGES
    assert report["accuracy"] == result.to_dict()["onnx_accuracy"]
    assert (report["differing_predictions"], report["max_abs_logit_difference"]) == (0, 0.0)
    with (
        register_format(off_by(1.0)),
        pytest.raises(ExportError, match=r"packed file differ from ONNX's by 1,"),
    ):
        sdedge.export(run.path, formats=["packed"], normalize=True)
    assert json.loads(run.export_report.read_text())["normalized_in_graph"] is False


@pytest.mark.parametrize(
    ("form", "settings", "message"),
    [
        (replace(LISTING, operators=frozenset({"Conv"})), {}, "has no form in listing"),
        (replace(LISTING, precisions=("int8",)), {}, "is of int8 networks alone"),
        (replace(LISTING, suffixes=("json",)), {}, "wrote 2 files, and has suffixes for 1"),
        (LISTING, {"limit": 0}, "limit is 0; it must be a whole number from 1"),
        (LISTING, {"calibration_images": 0}, "calibration_images is 0"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_nothing_written(
    run: RunDir, form: Format, settings: dict[str, Any], message: str
) -> None:
    with register_format(form), pytest.raises((ConfigError, ExportError), match=message):
        sdedge.export(run.path, formats=["listing"], **settings)
    assert not run.onnx.exists()


def test_suffixes_of_another_format_are_refused() -> None:
    with pytest.raises(ConfigError, match="files ending in onnx, as format 'onnx' has"):
        register_format(replace(LISTING, suffixes=("onnx", "json")))


def explode(_: object) -> Any:
    raise KeyError("scale")


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        (replace(LISTING, write=explode), "writes no file: KeyError: .*scale"),
        (replace(LISTING, write=lambda _: b"12"), "wrote .*; `write` gives a tuple of bytes"),
        (replace(LISTING, write=lambda _: ("1", "2")), "wrote .*; `write` gives a tuple of bytes"),
        (replace(PACKED, load=explode), "cannot load its file: KeyError: .*scale"),
        (replace(PACKED, load=lambda _: explode), "cannot run its file: KeyError: .*scale"),
    ],
)
def test_the_error_of_a_format_names_it(run: RunDir, form: Format, problem: str) -> None:
    message = f"format '{form.name}' {problem}"
    with register_format(form), pytest.raises(ExportError, match=message) as raised:
        sdedge.export(run.path, formats=[form.name])
    assert isinstance(raised.value.__cause__, KeyError) == ("KeyError" in problem)
    assert not run.onnx.exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"suffixes": "toy"}, "has the suffixes 'toy'; give a tuple"),
        ({"suffixes": ()}, r"has the suffixes \(\); give a tuple"),
        ({"suffixes": ("a", "a")}, "has the suffixes"),
        ({"suffixes": ("../a",)}, "has the suffixes"),
        ({"suffixes": ("a\n",)}, "has the suffixes"),
        ({"suffixes": ("int8.onnx",)}, "has the suffixes"),
        ({"precisions": ()}, r"has the precisions \(\); give a tuple of one or more of fp32, int8"),
        ({"precisions": ("fp16",)}, "has the precisions"),
    ],
)
def test_a_format_without_file_names_or_precisions_is_refused(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(LISTING, **fields)


def test_fp32_is_written_and_reported_where_int8_fails(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ExportError("no range")

    monkeypatch.setattr(link, "quantize_model", fail)
    events: list[Event] = []
    with pytest.raises(ExportError, match=r"model\.int8\.onnx was not made, .*: no range"):
        sdedge.export(run.path, int8=True, reporter=events.append)
    (result,) = (event.result for event in events if isinstance(event, Exported))
    assert [artifact.precision for artifact in result.artifacts] == ["fp32"]
    assert run.onnx.read_bytes() == result.artifacts[0].data
    assert "int8" not in json.loads(run.export_report.read_text())


def test_a_written_file_runs_in_onnx_runtime_alone(run: RunDir, tiny_dataset: Dataset) -> None:
    result = sdedge.export(run.path, normalize=True)
    images = tiny_dataset.test.images[:3].transpose(0, 3, 1, 2) / np.float32(255)
    session = ort.InferenceSession(result.model, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"input": images.astype(np.float32)})
    assert scores.shape == (3, len(tiny_dataset.classes))


def test_the_page_shows_the_toy_word_for_word() -> None:
    section = PAGE.read_text(encoding="utf-8").split("\n## A format\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert blocks
    source = Path(__file__).read_text(encoding="utf-8")
    for block in blocks:
        for part in block.split("\n\n\n"):
            if not part.startswith(("from ", "import ")):
                assert part.strip() in source, part
