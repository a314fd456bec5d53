"""Time as the simulated instance sees it, and how GitLab prints it.

Instants are microseconds since the Unix epoch, see `dates`: GitLab's columns have that precision
while its answers show milliseconds, cut off and not rounded.
"""

import time
from datetime import datetime, timezone

from .dates import DAY, MILLISECOND, SECOND, civil, day_of, print_date, print_time

# The years for which the database of time zones is asked; before and after, theirs hold.
_FIRST = day_of(1, 1, 3) * DAY
_LAST = day_of(9999, 12, 29) * DAY


class Clock:
    """Runs with real time, ahead of it or behind, or stands still at a given instant."""

    def __init__(self):
        self._offset = 0
        self._frozen_at = None

    def now(self):
        if self._frozen_at is not None:
            return self._frozen_at
        return time.time_ns() // 1_000 + self._offset

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


def instant_of(moment):
    """An aware datetime as an instant, without going through a float."""
    since = moment - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds


def local_day(instant, zone):
    return (instant + _local(instant, zone)[0]) // DAY


def print_date_time(instant, zone):
    """With an offset, even where that is +00:00 as in a winter in London; only UTC is Z."""
    if instant is None:
        return None
    offset, name = _local(instant, zone)
    day, time_of_day = divmod(instant + offset, DAY)
    minutes = abs(offset) // SECOND // 60
    suffix = "Z" if name == "UTC" else "%s%02d:%02d" % (
        "-" if offset < 0 else "+", *divmod(minutes, 60))
    return "%sT%s.%03d%s" % (print_date(day), print_time(time_of_day),
                             time_of_day % SECOND // MILLISECOND, suffix)


def print_date_time_exactly(instant):
    """With microseconds, which the API never shows; for the control interface."""
    if instant is None:
        return None
    day, time_of_day = divmod(instant, DAY)
    return "%sT%s.%06dZ" % (print_date(day), print_time(time_of_day), time_of_day % SECOND)


def _local(instant, zone):
    """(offset in microseconds, name) of the zone at that instant."""
    if zone.key == "UTC":
        return 0, "UTC"
    instant = min(max(instant, _FIRST), _LAST)
    day, time_of_day = divmod(instant, DAY)
    moment = datetime(*civil(day), tzinfo=timezone.utc)
    moment = moment.replace(hour=time_of_day // SECOND // 3600,
                            minute=time_of_day // SECOND // 60 % 60,
                            second=time_of_day // SECOND % 60).astimezone(zone)
    return round(moment.utcoffset().total_seconds()) * SECOND, moment.tzname()
