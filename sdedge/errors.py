"""Every error that sdedge raises on purpose.

SdedgeError
├── ConfigError     a setting that is out of range or contradicts another
├── DataError       a data set that is missing, unreadable or unusable
├── GenotypeError   a genotype that is unknown, malformed or not of the space
├── KernelError     a fused kernel that was asked for and cannot run
├── RunError        a run directory, checkpoint or output file that cannot be used
├── ExportError     a network that cannot be exported, or an export that fails its checks
├── BenchError      a model that cannot be profiled
├── TargetError     a device profile that is unknown, damaged or does not know an operator
└── InterruptedRunError  a run that was asked to stop, and did so after a checkpoint

The message of each says what is wrong, with the value and the file, and the way out.
"""

__all__ = [
    "BenchError",
    "ConfigError",
    "DataError",
    "ExportError",
    "GenotypeError",
    "InterruptedRunError",
    "KernelError",
    "RunError",
    "SdedgeError",
    "TargetError",
]


class SdedgeError(Exception):
    """Base of the tree; the command line turns it into one message and exit code 1."""


class ConfigError(SdedgeError):
    """A setting is out of range or contradicts another; the message names field and value."""


class DataError(SdedgeError):
    """A data set is missing, unreadable or unusable; the message names the file."""


class GenotypeError(SdedgeError):
    """A genotype is unknown, malformed or uses an operation its space does not have."""


class KernelError(SdedgeError):
    """A fused kernel was asked for explicitly and cannot run here."""


class RunError(SdedgeError):
    """A run directory, a checkpoint or an output file cannot be read or written."""


class ExportError(SdedgeError):
    """A network cannot be exported, or the exported file fails its own checks."""


class BenchError(SdedgeError):
    """A model cannot be profiled."""


class TargetError(SdedgeError):
    """A device profile is unknown or damaged, or cannot predict a model."""


class InterruptedRunError(SdedgeError):
    """A run was asked to stop (Ctrl-C, SIGTERM) and did so after writing a checkpoint."""
