"""Fused operators: a plain torch reference, Triton kernels, and for most a form for the CPU."""

if __name__ != "sdedge.kernels":
    raise ImportError("import this package as sdedge.kernels; its folder is not a package path")

from sdedge.kernels.dispatch import Impl, chosen
from sdedge.kernels.masked_mse import masked_mse
from sdedge.kernels.mixed_sum import mixed_sum
from sdedge.kernels.pools import pools
from sdedge.kernels.separable import separable

__all__ = ["Impl", "chosen", "masked_mse", "mixed_sum", "pools", "separable"]
