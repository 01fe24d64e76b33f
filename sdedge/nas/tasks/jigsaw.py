"""Jigsaw: which permutation shuffled the image's patches (Noroozi and Favaro, 2016).

https://arxiv.org/abs/1603.09246, as the authors of Semantic-DARTS search with it on CIFAR: a grid
of 2 x 2, so that all 24 permutations are used, and tiles smaller than the patches, at random
places in them, so that edges do not continue from tile to tile.
"""

from itertools import permutations

import torch
from torch import Tensor, nn

from sdedge.config import SearchConfig
from sdedge.data.augment import Augmentation
from sdedge.errors import ConfigError
from sdedge.nas.tasks.proxy import Normalisation, ProxyTask
from sdedge.nas.tasks.task import TaskBatch, TaskSetting

_GRID = 2
_TILES = _GRID**2
_TILE_SHARE = 0.76  # of a patch's side: 12 of 16 pixels on CIFAR, 64 of 85 in UnNAS on ImageNet
_GREY_PROBABILITY = 0.3
_GREY = (0.2125, 0.7154, 0.0721)  # luminance of linear RGB primaries (ITU-R BT.709)
# One grey level in one pixel of a tile spreads more; it only keeps a flat tile at zero.
_MIN_SPREAD = 1e-5

# Tile k goes to slot PERMUTATIONS[label][k]; in lexicographic order.
PERMUTATIONS = tuple(permutations(range(_TILES)))


class JigsawTask(ProxyTask):
    """The supernet sees tiles one by one; heads read the features of all slots side by side.

    A tile's side is 0.76 of its patch's, rounded down: 12 px for images of 32 px, 42 for 112.
    Raises ConfigError unless the patches tile the image.
    """

    augmentation = Augmentation(flip=True)
    permutations: Tensor

    def __init__(self, config: SearchConfig, setting: TaskSetting, *, classify: bool) -> None:
        super().__init__(setting, classify=classify, views=_TILES)
        if setting.image_size % _GRID:
            raise ConfigError(
                f"image_size is {setting.image_size}; jigsaw cuts images into {_GRID} x {_GRID} "
                f"patches, so it must be even: use --image-size {setting.image_size - 1}"
            )
        self.patch_size = setting.image_size // _GRID
        self.tile_size = int(_TILE_SHARE * self.patch_size)
        self.normalisation = Normalisation(setting)
        self.head = nn.Linear(_TILES * setting.feature_channels, len(PERMUTATIONS))
        self.register_buffer("permutations", torch.tensor(PERMUTATIONS), persistent=False)

    def prepare(self, images: Tensor, labels: Tensor) -> TaskBatch:
        """Cut a tile from each patch at a random place, and shuffle them by a random permutation.

        While training, three images in ten are grey: a lens's colour fringes tell places.
        inputs: (4 * N, 3, tile, tile), an image's slots in a row; target: (N,), permutations.
        """
        n, device = len(images), images.device
        shown = self._some_grey(images) if self.training else images
        target = torch.randint(len(PERMUTATIONS), (n,), device=device)
        tiles = _normalised(self._tiles(shown))
        in_slot = self.permutations[target].argsort(dim=1)  # the tile of each slot
        shuffled = tiles[torch.arange(n, device=device)[:, None], in_slot].flatten(0, 1)
        inputs = shuffled.contiguous(memory_format=torch.channels_last)
        return TaskBatch(inputs, images, labels, target)

    def answer(self, features: Tensor) -> Tensor:
        """Scores (N, 24) of the permutations."""
        return self.head(self.side_by_side(features))  # type: ignore[no-any-return]

    def _some_grey(self, images: Tensor) -> Tensor:
        red, green, blue = self.normalisation.undo(images).unbind(dim=1)
        grey = _GREY[0] * red + _GREY[1] * green + _GREY[2] * blue
        chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < _GREY_PROBABILITY
        return torch.where(chosen, self.normalisation(torch.stack([grey] * 3, dim=1)), images)

    def _tiles(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 4, 3, tile, tile), row by row."""
        n, device = len(images), images.device
        slack = self.patch_size - self.tile_size
        start = torch.arange(_GRID, device=device) * self.patch_size
        corner = torch.cartesian_prod(start, start).T[:, None, :, None]  # (2, 1, 4, 1)
        corner = corner + torch.randint(slack + 1, (2, n, _TILES, 1), device=device)
        rows, columns = corner + torch.arange(self.tile_size, device=device)  # (N, 4, tile)
        which = torch.arange(n, device=device)[:, None, None, None]
        tiles = images[which, :, rows[..., None], columns[..., None, :]]
        return tiles.permute(0, 1, 4, 2, 3)


def _normalised(tiles: Tensor) -> Tensor:
    """Every tile at mean 0 and standard deviation 1 over its pixels and channels."""
    each = (2, 3, 4)
    spread = tiles.std(dim=each, correction=0, keepdim=True).clamp_min(_MIN_SPREAD)
    return (tiles - tiles.mean(dim=each, keepdim=True)) / spread
