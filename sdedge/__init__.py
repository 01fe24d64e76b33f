"""sdedge: search, train, export and profile small convolutional networks for edge devices."""

__version__ = "0.1.0"
