"""Figures with their units, as text."""

from collections.abc import Mapping

from sdedge.config import LIMIT_NAMES
from sdedge.counted import counted
from sdedge.proportion import FEW_IMAGES, interval


def duration(seconds: float) -> str:
    """Seconds as people say them: 48 s, 12 min, 3 h 20 min, 2 d 4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def percent(fraction: float) -> str:
    """A fraction as a percentage with two decimals."""
    return f"{100 * fraction:.2f}%"


def accuracy_on(fraction: float, images: int) -> str:
    """An accuracy and the images it is of; with its interval where they are few."""
    count = f"{images:,} image{'' if images == 1 else 's'}"
    return f"{percent(fraction)} of {count}{few_images(fraction, images)}"


def few_images(fraction: float, images: int) -> str:
    """The interval of an accuracy on so few images that it says little; "" for more."""
    if not 0 < images < FEW_IMAGES:
        return ""
    low, high = interval(fraction, images)
    return f" (on so few, {low:.0%} to {high:.0%} with 95% confidence)"


def mebibytes(count: float) -> str:
    """Bytes in MiB."""
    return f"{count / 2**20:,.0f} MiB"


def kilobytes(count: float, of: float | None = None) -> str:
    """Bytes in kB of 1024 bytes, or in MB of 1024 kB from ten of them; "3.2 of 64 kB" with `of`."""
    whole = count if of is None else of
    scale, unit = (2**20, "MB") if whole >= 10 * 2**20 else (2**10, "kB")
    sizes = (size for size in (count, of) if size is not None)
    return " of ".join(_few_digits(size / scale) for size in sizes) + f" {unit}"


def _few_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def milliseconds(value: float) -> str:
    """Milliseconds to three digits, without the unit."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def limit_amount(limit: str, value: float) -> str:
    """The value of a limit with its unit."""
    if limit == "max_latency_ms":
        return f"{milliseconds(value)} ms"
    return f"{value:,.0f}" if limit == "max_params" else kilobytes(1024 * value)


def limits_text(figures: Mapping[str, float]) -> str:
    """Limits, or what was measured for each, by the names that people use."""
    return ", ".join(
        f"{LIMIT_NAMES[limit]} {limit_amount(limit, value)}" for limit, value in figures.items()
    )


def threads_text(count: int) -> str:
    """1 thread, 4 threads."""
    return counted(count, "thread")
