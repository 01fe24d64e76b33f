"""The parts of a model card on how the network is used, and where it fails."""

from collections.abc import Mapping
from typing import Any

from sdedge.deploy.card.snippets import cpp_snippet, python_snippet
from sdedge.deploy.formats.onnx.metadata import Metadata
from sdedge.escape import markdown


def input_part(metadata: Metadata) -> str:
    """What the files take and give."""
    size = metadata.image_size
    scaling = "red, green, blue from 0 to 1"
    if not metadata.normalized_in_graph:
        mean, std = (", ".join(f"{x:.6g}" for x in v) for v in (metadata.mean, metadata.std))
        scaling += f", then (x - mean) / std with mean {mean} and std {std} of the channels"
    return (
        f"`input`: float32 (batch, 3, {size}, {size}). Of an image: {markdown(metadata.resize)}; "
        f"{scaling}. "
        f"`logits`: float32 (batch, {len(metadata.classes)}), one score a class in the order "
        "above, higher is likelier. The same is in the metadata of the ONNX files."
    )


def limits_part(export: Mapping[str, Any], dataset: str) -> str:
    """What the network is for, and what is not known of it; `dataset` is Markdown."""
    lines = [
        f"For images like those of {dataset}, whole and centred as there. Any other image gets "
        "one of these classes, too: there is no answer for none of them.",
        "Scores are no calibrated probabilities.",
        f"Accuracy is known on the test images of {dataset} alone: not under other light, "
        "cameras or noise, not against attacks, and not for groups within a class.",
        "The files carry no licence of their own. What may be done with a network trained on "
        f"{dataset} depends on the terms of those images.",
    ]
    int8 = export.get("int8")
    if int8 and int8["weight_limit"] > 64:  # two products then overflow 16 bits
        lines.append(
            "On an x86 processor with AVX2 but without VNNI, ONNX Runtime's int8 sums saturate "
            "and int8 gives other scores: use fp32 there, or test it with `sdedge bundle`."
        )
    return "\n".join(f"- {line}" for line in lines)


def programs_part(metadata: Metadata, model: str) -> str:
    """Programs that run the file named `model`."""
    return (
        "Python, with onnxruntime, numpy and Pillow, for any picture:\n\n"
        f"```python\n{python_snippet(metadata, model)}```\n\n"
        "C++, with ONNX Runtime's header and library, for the bytes of a picture already cut and "
        "scaled:\n\n"
        f"```cpp\n{cpp_snippet(metadata, model)}```"
    )
