"""When a schedule runs: cron, time zone, first and last moment. Checked before anything is asked."""

import re
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from hfpc.errors import ArgumentError

DEFAULT_ZONE = "UTC"

_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_DAYS = "sun mon tue wed thu fri sat".split()
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("day of the week", 0, 7, {name: number for number, name in enumerate(_DAYS)}),
)
_PART = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[1-9]\d?))?")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """When to run.

    Attributes:
        cron: Five fields, e.g. "0 6 * * 1" for Mondays at six, alone or behind `TZ=ZONE`. After construction they
            are alone.
        time_zone: IANA name of the time zone that the fields are in; "" takes the one before the fields, else UTC.
            After construction it is never "".
        start: ISO 8601 time before which nothing runs; "" for now. Without an offset it is in the time zone.
        end: ISO 8601 time after which nothing runs; "" for never.
        max_concurrent_runs: Runs that may be under way at once; a run that is due beyond them is left out.
    """

    cron: str
    time_zone: str = ""
    start: str = ""
    end: str = ""
    max_concurrent_runs: int = 1

    def __post_init__(self) -> None:
        zone, alone = _apart(self.cron)
        if zone and self.time_zone not in ("", zone):
            raise ArgumentError("time_zone", self.time_zone, f"cron names {zone}: give one of them")
        object.__setattr__(self, "cron", alone)
        object.__setattr__(self, "time_zone", self.time_zone or zone or DEFAULT_ZONE)
        fields = self.cron.split()
        if len(fields) != len(_FIELDS):
            raise ArgumentError("cron", self.cron, "give minute, hour, day, month and weekday, e.g. '0 6 * * 1'")
        for text, (what, least, most, names) in zip(fields, _FIELDS, strict=True):
            if not all(_fits(part.lower(), least, most, names) for part in text.split(",")):
                raise ArgumentError("cron", self.cron, f"its {what} {text!r} is wrong: give {least} to {most}, or *")
        try:
            ZoneInfo(self.time_zone)
        except (OSError, ValueError, KeyError) as error:
            raise ArgumentError("time_zone", self.time_zone, "give an IANA time zone, e.g. Europe/Paris") from error
        if self.max_concurrent_runs < 1:
            raise ArgumentError("max_concurrent_runs", self.max_concurrent_runs, "give at least 1")
        start, end = self.moment("start"), self.moment("end")
        if start and end and start >= end:
            raise ArgumentError("end", self.end, f"give a time after start={self.start}")

    @property
    def text(self) -> str:
        """Cron with the time zone, as Vertex AI takes it."""
        return f"TZ={self.time_zone} {' '.join(self.cron.split())}"

    def moment(self, which: str) -> datetime | None:
        """`start` or `end` as a time; None where it is "".

        Raises:
            ArgumentError: It is no ISO 8601 time.
        """
        given = str(getattr(self, which))
        if not given:
            return None
        try:
            found = datetime.fromisoformat(given)
        except ValueError as error:
            raise ArgumentError(which, given, "give an ISO 8601 time, e.g. 2027-01-31T06:00") from error
        return found if found.tzinfo else found.replace(tzinfo=ZoneInfo(self.time_zone))


def with_sunday_as_0(weekdays: str) -> str:
    """The same days of the week where 7 means nothing, e.g. "0,5,6" for "5-7".

    Args:
        weekdays: Last field of a valid cron.
    """
    names = _FIELDS[-1][-1]
    days: set[int] = set()
    for part in weekdays.lower().split(","):
        found = _PART.fullmatch(part)
        assert found
        first, last = (int(names.get(end, end)) if end else None for end in (found["first"], found["last"]))
        if first is None:
            first, last = 0, 6
        elif last is None:
            last = max(first, 6) if found["step"] else first
        days |= {day % 7 for day in range(first, last + 1, int(found["step"] or 1))}
    return ",".join(map(str, sorted(days)))


def _apart(cron: str) -> tuple[str, str]:
    """Time zone ("" for none) and fields of a cron expression, as Vertex AI and Cloud Scheduler spell it."""
    found = re.fullmatch(r"(?:CRON_)?TZ=(\S+)\s+(.*)", cron.strip())
    return (found[1], found[2]) if found else ("", cron.strip())


def _fits(part: str, least: int, most: int, names: dict[str, int]) -> bool:
    found = _PART.fullmatch(part)
    if not found:
        return False
    ends = [names.get(text, text) for text in (found["first"], found["last"]) if text is not None]
    numbers = [int(end) for end in ends if str(end).isdecimal()]
    return (
        len(numbers) == len(ends) and all(least <= number <= most for number in numbers) and numbers == sorted(numbers)
    )
