"""ONNX: what every export writes, and what is measured and predicted."""

NAME = "onnx"
