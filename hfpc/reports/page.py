"""From a template and its values to one self-contained HTML page."""

import math
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """Fills a template of this package.

    Every value is escaped, because labels, texts and errors are whatever users' data holds. A page
    loads nothing and runs no script, and its content security policy forbids both.

    Args:
        template: File name in `templates/`.
        **values: What the template shows.
    """
    page = _environment().get_template(template).render(values)
    # A lone surrogate, which broken input can bring, could not be written as UTF-8.
    return page.encode("utf-8", "replace").decode("utf-8")


def clipped(text: str, characters: int = 600) -> str:
    """A text of at most so many characters, its length told where some are left out."""
    if len(text) <= characters:
        return text
    return f"{text[:characters].rstrip()} … ({len(text):,} characters in all)"


def number(value: Any) -> str:
    """A number for reading: whole ones with thousands separators, others with three decimals or digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """Seconds as a person says them: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds is None:
        return "—"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def moment(seconds: float | None) -> str:
    """Seconds since the epoch as date and time in UTC."""
    return "—" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("hfpc.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(clipped=clipped, number=number, duration=duration, moment=moment)
    return environment
