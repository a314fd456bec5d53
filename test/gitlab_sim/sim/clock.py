"""Time as the simulated instance sees it, and how GitLab reads and prints it.

Instants are integers, microseconds since the Unix epoch: GitLab's columns have that precision
while its answers show milliseconds, cut off and not rounded.
"""

import re
import time
from datetime import date, datetime, timedelta, timezone

SECOND = 1_000_000
MILLISECOND = 1_000

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

# What Ruby's DateTime.parse makes of the forms that API clients use; "T:12:30:26" is no typo.
_DATE_TIME = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:[T ]:?(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d+))?)?)?"
    r"\s?(Z|UTC|[+-]\d{2}:?\d{2})?", re.IGNORECASE)
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:T.*)?")


class Clock:
    """Runs with real time, ahead of it or behind, or stands still at a given instant."""

    def __init__(self):
        self._offset = 0
        self._frozen_at = None

    def now(self):
        if self._frozen_at is not None:
            return self._frozen_at
        return time.time_ns() // 1_000 + self._offset

    def today(self):
        return date_of(self.now())

    def freeze(self, instant):
        self._frozen_at = instant

    def run_from(self, instant):
        self._frozen_at = None
        self._offset = instant - time.time_ns() // 1_000

    def advance(self, duration):
        if self._frozen_at is None:
            self._offset += duration
        else:
            self._frozen_at += duration

    def back_to_real_time(self):
        self._offset = 0
        self._frozen_at = None


def date_of(instant):
    return datetime.fromtimestamp(instant // SECOND, timezone.utc).date()


def instant_of(moment):
    """An aware datetime as an instant, without going through a float."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds


def parse_date_time(text):
    """An instant, or ValueError. A date alone is its midnight, a missing zone is UTC."""
    match = _DATE_TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    moment = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0),
                      int(second or 0), int((fraction or "0")[:6].ljust(6, "0")),
                      tzinfo=timezone.utc)
    instant = instant_of(moment)
    if zone and zone[0] in "+-":
        offset = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
        instant -= (offset if zone[0] == "+" else -offset) * SECOND
    return instant


def parse_date(text):
    match = _DATE.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    return date.fromisoformat(match.group(1))


def print_date_time(instant):
    if instant is None:
        return None
    moment = datetime.fromtimestamp(instant // SECOND, timezone.utc)
    return "%s.%03dZ" % (moment.strftime("%Y-%m-%dT%H:%M:%S"), instant % SECOND // MILLISECOND)


def print_date_time_exactly(instant):
    """With microseconds, which the API never shows; for the control interface."""
    if instant is None:
        return None
    return (_EPOCH + timedelta(microseconds=instant)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def print_date(day):
    return None if day is None else day.isoformat()
