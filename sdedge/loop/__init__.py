"""The resumable epoch loop that a search and a training run in.

A phase says what one step does; the loop seeds every step, keeps checkpoints, logs epochs, stops
on Ctrl-C, and measures. Because each step is seeded by its number, a run resumed from any
checkpoint repeats bit for bit what an uninterrupted one would have done.
"""

from sdedge.loop.clock import Clock
from sdedge.loop.events import EpochEnded, Estimated, Stepped, Stopping
from sdedge.loop.phase import Phase
from sdedge.loop.runner import MEASURED, run_phase

__all__ = [
    "MEASURED",
    "Clock",
    "EpochEnded",
    "Estimated",
    "Phase",
    "Stepped",
    "Stopping",
    "run_phase",
]
