"""Numbers, durations and paths as short text."""

from pathlib import Path
from typing import Any


def duration(seconds: float) -> str:
    """E.g. "0.4s", "52s", "3:07", "1:02:03"."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest}s"


def number(value: float) -> str:
    """E.g. "24,123", "0.882", "5e-05"."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"


def pairs(values: dict[str, Any], width: int) -> str:
    """As many of the first values as fit, at least one, e.g. "accuracy 0.882 · macro_f1 0.881"."""
    line = ""
    for name, value in values.items():
        if value == "":
            continue
        shown = number(value) if isinstance(value, int | float) else value
        longer = f"{line} · " * bool(line) + f"{name.rpartition('/')[2]} {shown}"
        if line and len(longer) > width:
            break
        line = longer
    return line


def path(place: Path) -> str:
    """A path, from `~` where it lies in the user's home."""
    home = Path.home()
    return f"~/{place.relative_to(home)}" if place.is_relative_to(home) else str(place)
