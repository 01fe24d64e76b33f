"""Every JSON file of a run, a comparison or a device: an input is its name, and then its text."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fuzzing.harness import Target
from fuzzing.mutations import mutated
from fuzzing.structures import changed_json
from sdedge.comparison.method import Method
from sdedge.comparison.plan import Plan
from sdedge.comparison.trial import check_trials, run_trial, trial_config
from sdedge.config import SearchConfig, TrainConfig
from sdedge.data.catalog import describe_datasets
from sdedge.data.dataset import Dataset
from sdedge.data.meta import META_FILE, Counts, Meta, read_meta
from sdedge.deploy.board.calibrate import calibrate, read_result
from sdedge.deploy.card.write import card_text
from sdedge.deploy.fit.check import Limits
from sdedge.deploy.fit.mlperf import score_run
from sdedge.deploy.fit.requirements import Requirements
from sdedge.deploy.formats.onnx.format import ONNX
from sdedge.deploy.formats.onnx.metadata import read_metadata
from sdedge.deploy.ir.trace import trace_model
from sdedge.deploy.latency.profiler import Measurement
from sdedge.deploy.targets.target import load_target, read_target
from sdedge.errors import SdedgeError
from sdedge.events import silent
from sdedge.genotype import Genotype, load_genotype, published
from sdedge.nas.budget import PLACES, Costs
from sdedge.nas.record import SearchRecord
from sdedge.operations import DARTS_OPERATIONS
from sdedge.pipeline.budget import budgeted_size, planned_costs
from sdedge.pipeline.verdict import stored_requirements
from sdedge.run import RunDir, read_json
from sdedge.space.nasbench201.cell import Nb201Cell, read_cell
from sdedge.space.saved import NetworkDescription

_CELL = published()["DARTS_V2"].genotype
_METHODS = (Method("pc-darts", {"strategy": "pc-darts", "task": "classification"}),)
_PLAN = Plan(methods=_METHODS, seeds=(1, 2), preset="quick", settings={"epochs": 3})


def target(folder: Path) -> Target:
    """Reading one file of a sound run in which that file was changed."""
    run = RunDir(folder)
    sound = _files()
    for file in (run.onnx, run.onnx_int8):
        file.write_bytes(_model())
    readers = _readers(run)

    def read(data: bytes) -> None:
        name, _, text = data.partition(b"\n")
        for file, content in sound.items():
            (folder / file).write_bytes(content)
        (folder / name.decode()).write_bytes(text)
        readers[name.decode()]()

    originals = tuple(name.encode() + b"\n" + text for name, text in sound.items())
    return Target(originals, read, (SdedgeError,), _change)


def _change(originals: Sequence[bytes], rng: np.random.Generator) -> bytes:
    name, _, text = originals[rng.integers(len(originals))].partition(b"\n")
    lines = text.splitlines() if name == b"metrics.jsonl" else [text]
    if rng.random() < 0.3:
        return name + b"\n" + mutated([text], rng)
    lines[rng.integers(len(lines))] = changed_json(lines[-1], rng)
    return name + b"\n" + b"\n".join(lines) + b"\n"


def _readers(run: RunDir) -> dict[str, Callable[[], object]]:
    folder = run.path

    def config() -> None:
        SearchConfig.from_dict(run.settings("search"), source="config.json")
        TrainConfig.from_dict(run.settings("train"), source="config.json")
        card_text(run)

    def metrics() -> None:
        for record in run.read_metrics("search", SearchRecord):
            Genotype.from_dict(record["genotype"], source="metrics.jsonl")

    def comparison() -> None:
        plan = Plan.read(folder / "comparison.json")
        check_trials(plan)
        for method, seed in plan.trials:
            trial_config(plan, method, seed)

    def trial() -> None:
        run_trial(_PLAN, _METHODS[0], 1, folder, _no_data, silent)

    def budget() -> None:
        stored_requirements(run)
        planned_costs(run)
        budgeted_size(run, {}, {}, silent)

    def report() -> None:
        card_text(run)
        score_run(run)

    def metadata() -> None:
        model = onnx.load(run.onnx)
        entries = read_json(folder / "metadata.json")
        for name, value in entries.items():
            text = value if isinstance(value, str) else json.dumps(value)
            entry = next((e for e in model.metadata_props if e.key == name), None)
            (entry or model.metadata_props.add(key=name)).value = text.encode(errors="replace")
        changed = folder / "changed.onnx"
        changed.write_bytes(model.SerializeToString())
        read_metadata(changed)

    def genotype() -> None:
        load_genotype(folder / "genotype.json")

    def result() -> None:
        file = folder / "result.json"
        calibrate("pi4", read_result(file), source="result.json")

    def profile() -> None:
        read_target(folder / "profile.json").to_dict()

    def bench() -> None:
        Measurement.from_dict(read_json(folder / "bench.json"), source="bench.json")
        card_text(run)

    def cache() -> None:
        place = folder / "cache" / "a-b-c"
        place.mkdir(parents=True, exist_ok=True)
        (folder / META_FILE).replace(place / META_FILE)
        describe_datasets(folder)
        read_meta(place / META_FILE).to_json()

    def environment() -> None:
        run.record_phase("search", {}, {})

    return {
        "config.json": config,
        "metrics.jsonl": metrics,
        "comparison.json": comparison,
        "trial.json": trial,
        "budget.json": budget,
        "export.json": report,
        "fit.json": report,
        "targets.json": report,
        "bench.json": bench,
        "metadata.json": metadata,
        "genotype.json": genotype,
        "cell.json": lambda: read_cell(folder / "cell.json"),
        "result.json": result,
        "profile.json": profile,
        "environment.json": environment,
        META_FILE: cache,
    }


def _no_data(_: object) -> Dataset:
    raise SdedgeError("a finished trial is read, not run")


def _files() -> dict[str, bytes]:
    device = load_target("pi4")
    limits = Limits(max_latency_ms=5.0, max_params=10**6)
    wanted = Requirements(
        target=device, limits=limits, precision="fp32", classes=2, image_size=16
    ).to_dict()
    prices = {place: dict.fromkeys(DARTS_OPERATIONS[1:], 1.5) for place in PLACES}
    costs = asdict(Costs(limit=5.0, fixed=1.0, prices=prices, error=0.1))
    size = {"channels": 4, "cells": 4, "macs": 70, "found": {"max_latency_ms": 3.0}}
    sizes = {"sizes": [size], "chosen": size}
    search = SearchConfig.from_preset("quick", {})
    record = {
        "phase": "search", "epoch": 1, "train_loss": 0.5, "valid_accuracy": 0.5, "skip_count": 1,
        "genotype": _CELL.to_dict(), "peak_memory_bytes": 10, "elapsed_s": 1.5,
    }  # fmt: skip
    done = trial_config(_PLAN, _METHODS[0], 1)
    trial = {
        "method": "pc-darts", "seed": 1, "search": done.to_dict(), "genotype": _CELL.to_dict(),
        "params": 9, "macs": 9, "skip_count": 1, "collapsed": False, "epochs": 3, "epoch": 3,
        "best_epoch": 2, "search_seconds": 1.0, "peak_memory_bytes": 9, "valid_accuracy": 0.4,
    }  # fmt: skip
    class_counts = [{"name": "cat", "images": 4, "fp32_correct": 2, "int8_correct": 1}]
    int8 = {
        "onnx_accuracy": 0.5, "images": 8, "weight_limit": 127, "recommended": "int8",
        "reasons": ["smaller"], "settled": True, "threads": 1, "latency_p50_ms": 1.0,
        "latency_p99_ms": 2.0, "fp32_latency_p50_ms": 1.0, "fp32_latency_p99_ms": 2.0,
    }  # fmt: skip
    export = {
        "parameters": 9, "opset": 13, "images": 8, "onnx_accuracy": 0.5, "per_class": class_counts,
    }  # fmt: skip
    prediction = {
        "runtime": "ncnn", "threads": 4, "latency_ms": 1.0, "low_ms": 0.5, "high_ms": 2.0,
        "coverage": 0.9,
    }  # fmt: skip
    check = {
        "limit": "max_latency_ms", "unit": "ms", "allowed": 5.0, "found": 1.0, "margin": 4.0,
        "fits": True,
    }  # fmt: skip
    row = {
        "title": "Pi", "target": "pi4", "precision": "fp32", "if_quantised": False,
        "prediction": prediction,
    }  # fmt: skip
    fit = {
        "model": "model.onnx", "precision": "fp32", "if_quantised": False, "fits": True,
        "checks": [check], "prediction": prediction, "measured_p50_ms": None,
        "limits": {"max_latency_ms": 5.0}, "confidence": None, "target": "pi4",
    }  # fmt: skip
    metadata = {
        "classes": ["cat", "dog"], "genotype": _CELL.to_dict(), "sdedge_version": "1",
        "preprocessing": {
            "image_size": 16, "mean": [0.5] * 3, "std": [0.2] * 3, "normalized_in_graph": False,
            "resize": "bilinear",
        },
    }  # fmt: skip
    result = {
        "format": 1, "emulated": False, "threads": 4,
        "machine": {"cpu_model": "A72", "onnxruntime_version": "1.20"},
        "models": [{"file": "model.onnx", "outputs_match": True}],
        "micro": [{"file": "micro/a.onnx", "latency_p50_ms": 1.0, "settled": True}],
    }  # fmt: skip
    arch = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    values: dict[str, Any] = {
        "config.json": {
            "search": search.to_dict(),
            "train": TrainConfig.from_preset("quick", {}).to_dict(),
        },
        "comparison.json": {"plan": _PLAN.to_dict()},
        "trial.json": trial,
        "budget.json": {**wanted, "costs": {"max_latency_ms": costs}, **sizes},
        "export.json": {**export, "int8": int8},
        "fit.json": fit,
        "targets.json": {"targets": [row]},
        "bench.json": _bench(),
        "metadata.json": metadata,
        "genotype.json": _CELL.to_dict(),
        "cell.json": Nb201Cell.from_arch(arch).to_dict(),
        "result.json": result,
        "profile.json": device.to_dict(),
        "environment.json": {"search": {"python": "3"}, "train": {"threads": 2}},
        META_FILE: json.loads(_cache().to_json()),
    }
    files = {name: json.dumps(value).encode() for name, value in values.items()}
    lines = [json.dumps({**record, "epoch": epoch + 1}) for epoch in range(3)]
    return {**files, "metrics.jsonl": ("\n".join(lines) + "\n").encode()}


def _cache() -> Meta:
    return Meta(
        name="pets", origin="/images/pets", identity="pets", fingerprint="f", image_size=16,
        classes=("cat", "dog"), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2),
        counts=Counts(train=8, test=4), has_masks=False, notes=("1 file is left out",),
    )  # fmt: skip


def _bench() -> dict[str, Any]:
    operator = {"op_type": "Conv", "calls_per_run": 2.0, "ms_per_run": 1.0, "share": 1.0}
    node = {"name": "a", "op_type": "Conv", "ms_per_run": 1.0, "share": 1.0}
    texts = (
        "model input_name input_type output_name cpu_model platform python_version numpy_version "
        "onnxruntime_version"
    )
    counts = (
        "model_size_bytes runs peak_memory_bytes baseline_memory_bytes model_memory_bytes "
        "batch_size threads logical_cores physical_cores"
    )
    times = (
        "load_time_ms first_run_ms latency_p50_ms latency_p95_ms latency_p99_ms latency_mean_ms "
        "latency_min_ms latency_std_ms throughput_images_per_s load_average_1min"
    )
    return {
        **dict.fromkeys(texts.split(), "some text"),
        **dict.fromkeys(counts.split(), 3),
        **dict.fromkeys(times.split(), 1.5),
        "settled": True,
        "input_shape": [1, 3, 16, 16],
        "output_shape": [1, 2],
        "cpu_governor": None,
        "profile": {"runs": 9, "ms_per_run": 1.0, "operators": [operator], "top_nodes": [node]},
    }


def _model() -> bytes:
    description = NetworkDescription(
        genotype=_CELL, channels=2, cells=1, stem="cifar", classes=("cat", "dog"), image_size=16,
        mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), dataset="pets",
    )  # fmt: skip
    (model,) = ONNX.content(trace_model(description.build(), description))
    return model
