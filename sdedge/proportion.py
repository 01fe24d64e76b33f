"""How certain an accuracy on few images is."""

import math

FEW_IMAGES = 100  # below this, an accuracy is shown with its interval
_Z = 1.96  # of 95%


def interval(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share found on `count` images, as fractions.

    Raises ValueError without images.
    """
    if count < 1:
        raise ValueError(f"a share of {count} images has no interval")
    weight = _Z**2 / count
    middle = (share + weight / 2) / (1 + weight)
    reach = _Z / (1 + weight) * math.sqrt(share * (1 - share) / count + weight / (4 * count))
    return max(0.0, middle - reach), min(1.0, middle + reach)
