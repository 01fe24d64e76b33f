"""sdedge: search, train, export and profile small convolutional networks for edge devices."""

from sdedge.version import __version__ as __version__
