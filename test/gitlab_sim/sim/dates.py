"""Calendar days, and the lenient forms of dates and times that GitLab reads.

A day is an integer, days since 1970-01-01 in the proleptic Gregorian calendar, and an instant
is an integer, microseconds since the Unix epoch. Python's own types end where PostgreSQL's go
on: GitLab stores, prints and compares dates of the year 0, BC, and up to 5874897.
"""

import re
from dataclasses import dataclass
from datetime import date

SECOND = 1_000_000
MILLISECOND = 1_000
DAY = 86_400 * SECOND

_EPOCH = date(1970, 1, 1).toordinal()
_DAYS_OF_CYCLE = 146_097  # 400 years


def day_of(year, month, day):
    """ValueError if the calendar has no such day."""
    cycles, year_of_cycle = divmod(year - 1, 400)
    return (date(year_of_cycle + 1, month, day).toordinal() - _EPOCH
            + cycles * _DAYS_OF_CYCLE)


def civil(day):
    """(year, month, day)."""
    cycles, day_of_cycle = divmod(day + _EPOCH - 1, _DAYS_OF_CYCLE)
    in_cycle = date.fromordinal(day_of_cycle + 1)
    return in_cycle.year + 400 * cycles, in_cycle.month, in_cycle.day


def print_date(day):
    """As Ruby prints it: the year has a sign where it needs one, and four digits or more."""
    if day is None:
        return None
    year, month, day = civil(day)
    return "%s%04d-%02d-%02d" % ("-" if year < 0 else "", abs(year), month, day)


def print_time(time_of_day):
    seconds = time_of_day // SECOND
    return "%02d:%02d:%02d" % (seconds // 3600, seconds // 60 % 60, seconds % 60)


# What PostgreSQL can store; GitLab answers 500 to what is beyond.
FIRST_DAY = day_of(-4713, 11, 24)
LAST_DAY = day_of(5874897, 12, 31)
FIRST_INSTANT = FIRST_DAY * DAY
LAST_INSTANT = (day_of(294276, 12, 31) + 1) * DAY - 1


@dataclass
class Parsed:
    """What a text says: a day (None: it has a time only) and a time of day with its offset."""
    day: int | None
    time: int   # microseconds; of 24:00 a whole day
    offset: int  # of the zone from UTC, in seconds


def parse_date(text):
    """A day, or ValueError."""
    parsed = _parse(text)
    if parsed.day is None:
        raise ValueError(text)
    return parsed.day


def parse_date_time(text, today=None):
    """An instant, or ValueError. A date alone is its midnight, a missing zone is UTC, and a time
    alone is one of `today`."""
    return parse_date_time_and_print(text, today)[0]


def parse_date_time_and_print(text, today):
    """The instant, and how a Link header repeats it: in its own zone, without the fraction."""
    parsed = _parse(text)
    day = today if parsed.day is None else parsed.day
    if day is None:
        raise ValueError(text)
    local = day * DAY + parsed.time
    minutes = abs(parsed.offset) // 60
    printed = "%sT%s%s%02d:%02d" % (
        print_date(local // DAY), print_time(local % DAY), "-" if parsed.offset < 0 else "+",
        *divmod(minutes, 60))
    return local - parsed.offset * SECOND, printed


# The forms are those of Ruby's DateTime.parse that clients may come up with. Like that one, this
# looks for a time and a date somewhere in the text and does not mind what else is there.

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = r"(?P<month>%s)[a-z]*" % "|".join(_MONTHS)

_TIME = re.compile(
    r"(?P<hour>\d+):(?P<minute>\d+)(?::(?P<second>\d+)(?:[.,](?P<fraction>\d*))?)?"
    r"\s*(?P<half>[ap]m\b)?\s*(?P<zone>[-+]\d+(?::\d+)?|[a-z]+\b)?")

_DATES = [re.compile(form) for form in (
    r"(?P<day>\d+)(?:st|nd|rd|th)?\s*%s\s*(?P<year>-?\d+)" % _MONTH,
    r"\b%s\s*(?P<day>\d+)(?:st|nd|rd|th)?\s*,?\s*(?P<year>-?\d+)" % _MONTH,
    r"(?P<year>[-+]?\d+)-(?P<month>\d+)-(?P<day>\d+)",
    r"\b(?P<year>\d{4})-?w(?P<week>\d{2})(?:-?(?P<weekday>\d))?\b",
    r"\b(?P<year>\d{4})-(?P<yearday>\d{3})\b",
    r"(?P<day>\d{1,2})[/.](?P<month>\d+)[/.](?P<year>\d{3,})",
    r"(?P<year>\d+)[/.](?P<month>\d+)[/.](?P<day>\d+)",
    r"(?<!\d)(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})(?:\d{4}|\d{6})?(?!\d)",
)]

# A time without colons, after a date without hyphens.
_COMPACT = re.compile(r"(?<!\d)(\d{8})\s*t?\s*(\d{2})(\d{2})(\d{2})?\s*(z|[-+]\d+)?(?!\d)")

_OFFSETS = {"est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8,
            "pdt": -7, "bst": 1, "cet": 1, "cest": 2, "eet": 2, "eest": 3, "msk": 3, "jst": 9}


def _parse(text):
    if not isinstance(text, str):
        raise ValueError(text)
    text = _COMPACT.sub(_with_colons, text.strip().lower())
    time, offset = 0, 0
    found = _TIME.search(text)
    if found:
        time, offset = _time_of_day(found), _offset(found["zone"])
        text = text[:found.start()] + " " + text[found.end():]
    for form in _DATES:
        match = form.search(text)
        if match:
            return Parsed(_day(match.groupdict(), text), time, offset)
    if found is None:
        raise ValueError(text)
    return Parsed(None, time, offset)


def _with_colons(match):
    day, hour, minute, second, zone = match.groups(default="")
    return "%s %s:%s:%s%s" % (day, hour, minute, second or "00", zone)


def _time_of_day(found):
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"] or 0)
    second = 59 if second == 60 else second  # as DateTime has it
    if found["half"]:
        hour = hour % 12 + (12 if found["half"] == "pm" else 0)
    if hour > 24 or hour == 24 and minute + second or minute > 59 or second > 59:
        raise ValueError(found[0])
    fraction = int((found["fraction"] or "")[:6].ljust(6, "0"))  # cut off, not rounded
    return ((hour * 60 + minute) * 60 + second) * SECOND + fraction


def _offset(zone):
    if not zone or zone[0] not in "+-":
        return _OFFSETS.get(zone, 0) * 3600
    digits = zone[1:].replace(":", "")
    hours, minutes = (digits[:-2], digits[-2:]) if len(digits) > 2 else (digits, 0)
    seconds = (int(hours) * 60 + int(minutes)) * 60
    return -seconds if zone[0] == "-" else seconds


def _day(parts, text):
    year = int(parts["year"])
    if len(parts["year"]) <= 2:
        year += 2000 if year < 69 else 1900
    if re.search(r"\bbc\b", text):
        year = 1 - year
    if parts.get("week"):
        return (date.fromisocalendar(year, int(parts["week"]), int(parts["weekday"] or 1))
                .toordinal() - _EPOCH)
    if parts.get("yearday"):
        day = day_of(year, 1, 1) + int(parts["yearday"]) - 1
        if civil(day)[0] != year:
            raise ValueError(text)
        return day
    month = parts["month"]
    return day_of(year, _MONTHS.index(month) + 1 if month in _MONTHS else int(month),
                  int(parts["day"]))
