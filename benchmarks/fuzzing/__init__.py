"""Mutated inputs for everything that sdedge reads: one module a target, one harness for all.

A target is a module with a function `target(folder: Path) -> Target`, named in `harness.TARGETS`;
`folder` is empty and the target's own.
"""
