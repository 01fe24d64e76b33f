"""Numbers with their nouns. No torch."""

__all__ = ["counted"]


def counted(count: int, noun: str) -> str:
    """1 epoch, 2 epochs, 1,000 epochs."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
