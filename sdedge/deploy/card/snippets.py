"""Programs in a model card that run an exported network without sdedge."""

from sdedge.deploy.formats.onnx.metadata import Metadata
from sdedge.escape import string_literal

_PYTHON = """\
import numpy as np
import onnxruntime as ort
from PIL import Image, ImageOps
classes = [{classes}]
image = ImageOps.exif_transpose(Image.open("image.png")).convert("RGB")
image = ImageOps.fit(image, ({size}, {size}), Image.Resampling.BILINEAR)
x = (np.asarray(image) / 255 - [{mean}]) / [{std}]
x = x.astype(np.float32).transpose(2, 0, 1)[None]
scores = ort.InferenceSession({model}).run(None, {{"input": x}})[0][0]
print(classes[scores.argmax()], scores.max())
"""

_CPP = """\
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <vector>

int main() {{
  const char* classes[] = {{{classes}}};
  const float mean[] = {{{mean}}}, deviation[] = {{{std}}};
  std::vector<uint8_t> pixels({size} * {size} * 3);
  std::ifstream file("image.rgb", std::ios::binary);  // {size} x {size} x red, green, blue
  if (!file.read(reinterpret_cast<char*>(pixels.data()), pixels.size())) return 1;
  std::vector<float> image(pixels.size());
  for (size_t i = 0; i < pixels.size(); ++i)
    image[i % 3 * {size} * {size} + i / 3] = (pixels[i] / 255.f - mean[i % 3]) / deviation[i % 3];

  Ort::Env env;
  Ort::Session session(env, {model}, Ort::SessionOptions());
  const int64_t shape[] = {{1, 3, {size}, {size}}};
  auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  auto input = Ort::Value::CreateTensor<float>(memory, image.data(), image.size(), shape, 4);
  const char *in = "input", *out = "logits";
  auto outputs = session.Run(Ort::RunOptions(), &in, &input, 1, &out, 1);
  const float* scores = outputs[0].GetTensorData<float>();
  const float* best = std::max_element(scores, scores + {count});
  std::cout << classes[best - scores] << " " << *best << "\\n";
}}
"""


def python_snippet(metadata: Metadata, model: str) -> str:
    """Ten lines of Python: an image file in, its class and score out."""
    return _PYTHON.format(**_values(metadata, model))


def cpp_snippet(metadata: Metadata, model: str) -> str:
    """The same in C++, for pixels that were cut and scaled before."""
    return _CPP.format(**_values(metadata, model))


def _values(metadata: Metadata, model: str) -> dict[str, object]:
    """What both languages write alike: string literals and decimal numbers."""
    in_graph = metadata.normalized_in_graph
    mean, std = ((0, 0, 0), (1, 1, 1)) if in_graph else (metadata.mean, metadata.std)
    return {
        "classes": ", ".join(map(string_literal, metadata.classes)),
        "count": len(metadata.classes),
        "size": metadata.image_size,
        "mean": ", ".join(f"{value:.6g}" for value in mean),
        "std": ", ".join(f"{value:.6g}" for value in std),
        "model": string_literal(model),
    }
