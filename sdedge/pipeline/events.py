"""Events that links of the chain share; see `sdedge.events`."""

from sdedge.events import Event, Notice, Progressed, Reporter, silent

__all__ = ["Event", "Notice", "Progressed", "Reporter", "silent"]
