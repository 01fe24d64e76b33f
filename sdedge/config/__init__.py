"""Settings of a search and of a training, checked when they are made. No torch.

A preset is a set of overrides of the defaults, and the defaults are the papers' CIFAR protocols.
"""

from sdedge.config.option import Option, options_of
from sdedge.config.phase import PhaseConfig
from sdedge.config.search import LIMIT_NAMES, SearchConfig
from sdedge.config.train import TrainConfig
from sdedge.config.validation import check_setting, parse_settings

__all__ = [
    "LIMIT_NAMES",
    "Option",
    "PhaseConfig",
    "SearchConfig",
    "TrainConfig",
    "check_setting",
    "options_of",
    "parse_settings",
]
