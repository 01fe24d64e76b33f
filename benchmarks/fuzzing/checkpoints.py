"""Weights and checkpoints: a safetensors file, its index, and the JSON that sdedge keeps in it."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fuzzing.harness import Target
from fuzzing.mutations import mutated
from fuzzing.structures import changed_json
from sdedge.config import TrainConfig
from sdedge.data.dataset import Dataset, Split
from sdedge.errors import InterruptedRunError, SdedgeError
from sdedge.events import silent
from sdedge.genotype import Genotype
from sdedge.loop import run_phase
from sdedge.run import RunDir
from sdedge.space.saved import load_network, save_network
from sdedge.training.phase import TrainPhase

_CELL = Genotype(
    normal=(("sep_conv_3x3", 0), ("skip_connect", 1)),
    reduce=(("max_pool_3x3", 0), ("skip_connect", 1)),
    normal_concat=(2,),
    reduce_concat=(2,),
)
_SIZE = 8  # bytes of a safetensors file that say how long its index is


def target(folder: Path) -> Target:
    """Loading a trained network, and going on with a training that had ended."""
    torch.set_num_threads(1)
    run = RunDir.create("fuzz", folder / "run")
    phase = _phase()
    run_phase(phase, run, silent, resume=False, checkpoint_seconds=1e9)
    save_network(run.weights, phase.finish(), phase.description)
    metrics = run.metrics.read_bytes()
    files = {b"weights": run.weights, b"checkpoint": run.checkpoint("train")}

    def read(data: bytes) -> None:
        kind, _, content = data.partition(b"\n")
        files[kind].write_bytes(content)
        run.metrics.write_bytes(metrics)
        if kind == b"weights":
            load_network(run.weights)
        else:
            run_phase(phase, run, silent, resume=True, checkpoint_seconds=1e9)

    originals = tuple(kind + b"\n" + file.read_bytes() for kind, file in files.items())
    return Target(originals, read, (SdedgeError, InterruptedRunError), _change)


def _change(originals: Sequence[bytes], rng: np.random.Generator) -> bytes:
    kind, _, data = originals[rng.integers(len(originals))].partition(b"\n")
    turn = rng.random()
    if turn < 0.35:
        return kind + b"\n" + mutated([data], rng)
    size = int.from_bytes(data[:_SIZE], "little")
    index, tensors = data[_SIZE : _SIZE + size], data[_SIZE + size :]
    if turn < 0.65:  # what sdedge says in the file
        entries = json.loads(index)
        header = entries["__metadata__"]
        header["sdedge"] = changed_json(header["sdedge"].encode(), rng).decode()
        index = json.dumps(entries).encode()
    elif turn < 0.9:  # shapes, types and places of tensors
        index = changed_json(index, rng)
    else:
        index = mutated([index], rng)
    return kind + b"\n" + len(index).to_bytes(_SIZE, "little") + index + tensors


def _phase() -> TrainPhase:
    config = TrainConfig.from_preset(
        "demo",
        {
            "epochs": 1,
            "channels": 2,
            "cells": 1,
            "batch_size": 4,
            "warmup_epochs": 0.0,
            "device": "cpu",
        },
    )
    return TrainPhase(config, _CELL, _dataset())


def _dataset() -> Dataset:
    rng = np.random.default_rng(0)
    first, second = (
        Split(rng.integers(0, 256, (8, 16, 16, 3), np.uint8), np.arange(8) % 2) for _ in range(2)
    )
    return Dataset(
        name="tiny", classes=("a", "b"), image_size=16, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2),
        train=first, test=second,
    )  # fmt: skip
