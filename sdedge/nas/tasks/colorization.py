"""Colorization: which colour has each pixel of a grey image (Zhang et al., 2016).

https://arxiv.org/abs/1603.08511, as UnNAS searches with it: colours are 313 cells of the ab plane
of CIE Lab, which cover all that sRGB reaches, and no colour counts more than another.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sdedge.config import SearchConfig
from sdedge.data.augment import Augmentation
from sdedge.nas.tasks.proxy import Normalisation, ProxyTask
from sdedge.nas.tasks.task import TaskBatch, TaskSetting

_STEP = 10
# a -> lowest and highest b of the cells' centres.
_B_RANGE = {
    -90: (50, 90),
    -80: (20, 90),
    -70: (0, 90),
    -60: (-20, 90),
    -50: (-30, 100),
    -40: (-40, 100),
    -30: (-50, 100),
    -20: (-50, 100),
    -10: (-60, 100),
    0: (-70, 100),
    10: (-80, 90),
    20: (-80, 90),
    30: (-90, 90),
    40: (-100, 90),
    50: (-100, 80),
    60: (-110, 80),
    70: (-110, 80),
    80: (-110, 70),
    90: (-110, 70),
    100: (-90, 0),
}
CENTRES = tuple((a, b) for a, (low, high) in _B_RANGE.items() for b in range(low, high + 1, _STEP))

_MIN_A, _MAX_A, _MIN_B, _MAX_B = -90, 100, -110, 100

# Linear sRGB to XYZ (IEC 61966-2-1); a row's sum is the white point D65.
_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)


def lab(rgb: Tensor) -> Tensor:
    """sRGB in 0..1 to CIE Lab under D65: (N, 3, H, W) -> (N, 3, H, W), L from 0 to 100."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    red, green, blue = linear.unbind(dim=1)
    x, y, z = (_compressed((r * red + g * green + b * blue) / (r + g + b)) for r, g, b in _XYZ)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def _compressed(share: Tensor) -> Tensor:
    """The cube root that Lab is made of, a line near black; of a share of the white point."""
    edge = 6 / 29
    return torch.where(share > edge**3, share ** (1 / 3), share / (3 * edge**2) + 4 / 29)


class ColorizationTask(ProxyTask):
    """The supernet sees lightness; a head names each pixel's colour, and jointly the class.

    Lightness is shown in all three channels of the stem. A stem of one channel, as the authors
    have, computes the same functions: its kernel is the sum of the three, and the sum starts with
    the variance of a kernel of one. So the supernet stays the one of every other task.
    """

    augmentation = Augmentation(flip=True)
    cells: Tensor

    def __init__(self, config: SearchConfig, setting: TaskSetting, *, classify: bool) -> None:
        super().__init__(setting, classify=classify)
        self.image_size = setting.image_size
        self.normalisation = Normalisation(setting)
        self.head = nn.Conv2d(setting.feature_channels, len(CENTRES), 1)
        self.register_buffer("cells", _cells(), persistent=False)

    def prepare(self, images: Tensor, labels: Tensor) -> TaskBatch:
        """Split the images into lightness and colour; nothing is random.

        inputs: (N, 3, H, W), L / 100 normalised with the means over the data set's channels;
        target: (N, H, W), the nearest centre of each pixel.
        """
        lightness, a, b = lab(self.normalisation.undo(images)).unbind(dim=1)
        mean, std = self.normalisation.mean.mean(), self.normalisation.std.mean()
        grey = ((lightness / 100 - mean) / std)[:, None].expand_as(images)
        inputs = grey.contiguous(memory_format=torch.channels_last)
        return TaskBatch(inputs, images, labels, self._nearest(a, b))

    def answer(self, features: Tensor) -> Tensor:
        """Scores (N * H * W, 313) of the colours, for features (N, C, h, w)."""
        size = (self.image_size, self.image_size)
        coarse = self.head(features)
        scores = F.interpolate(coarse, size, mode="bilinear", align_corners=True)
        # As rows: the cross-entropy of images is not the same to the bit at every run on a GPU.
        return scores.movedim(1, -1).flatten(0, -2)

    def _nearest(self, a: Tensor, b: Tensor) -> Tensor:
        """Which centre is nearest; of the shape of a and b."""
        rows, columns = self.cells.shape
        row = ((a - _MIN_A) / _STEP).round().long().clamp(0, rows - 1)
        column = ((b - _MIN_B) / _STEP).round().long().clamp(0, columns - 1)
        return self.cells[row, column]


def _cells() -> Tensor:
    """The centre nearest to each point of the grid that they lie on: (20, 22).

    All colours of sRGB round to a point that is a centre itself, and so the nearest one.
    """
    a = torch.arange(_MIN_A, _MAX_A + 1, _STEP, dtype=torch.float64)
    b = torch.arange(_MIN_B, _MAX_B + 1, _STEP, dtype=torch.float64)
    centres = torch.tensor(CENTRES, dtype=torch.float64)
    distance = torch.cdist(torch.cartesian_prod(a, b), centres)
    return distance.argmin(dim=1).view(len(a), len(b))
