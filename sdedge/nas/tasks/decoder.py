"""The published decoder: from the last cell's features back to the image."""

from torch import Tensor, nn


class Decoder(nn.Module):
    """(N, C, H/4, W/4) features -> (N, 3, H, W) images, clipped to `value_range`.

    Semantic-DARTS, section III-D, with the widths of the authors' code: 4,018,819 weights and
    312.1M multiply-accumulates at C = 256 and H = 32, twice the supernet itself.
    """

    def __init__(self, channels: int, value_range: tuple[float, float]) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 4 * channels, 3, padding=1),
            nn.Conv2d(4 * channels, channels, 1),
            *_filter(channels),
            *_upsample(channels, half),
            *_filter(half),
            *_upsample(half, quarter),
            nn.Conv2d(quarter, 3, 3, padding=1),
            nn.Hardtanh(*value_range),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Reconstruct the normalised image."""
        return self.layers(features)  # type: ignore[no-any-return]


def _filter(channels: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(channels, channels, 3, padding=1)
    return conv, nn.BatchNorm2d(channels), nn.ReLU()


def _upsample(c_in: int, c_out: int) -> tuple[nn.Module, ...]:
    conv = nn.ConvTranspose2d(c_in, c_out, 4, stride=2, padding=1)
    return conv, nn.BatchNorm2d(c_out), nn.ReLU()
