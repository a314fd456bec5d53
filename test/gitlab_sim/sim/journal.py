"""What was asked: one entry for each API request, made when its handling starts.

Secrets are kept out: a test prints entries into its output.
"""

import re
import time
from collections import deque
from itertools import count

from . import auth

_CAPACITY = 200_000  # the oldest entries of a long benchmark go first

_SECRET_PARAMETER = re.compile(r"([?&](?:value|token|private_token|access_token)=)[^&]*")
_SECRET_FIELDS = {"value", "token", "private_token", "access_token"}


class Journal:
    def __init__(self):
        self.clear()
        self._started = time.monotonic()

    def clear(self):
        self.entries = deque(maxlen=_CAPACITY)
        self._numbers = count(1)

    def milliseconds(self):
        """Since the reset."""
        return round((time.monotonic() - self._started) * 1000, 3)

    def open(self, request, connection, in_flight, http_version):
        token = request.credential_token()
        entry = {
            "n": next(self._numbers),
            "method": request.method,
            "path": _SECRET_PARAMETER.sub(r"\1[FILTERED]", request.target),
            "status": None,
            "connection": connection,
            "t": self.milliseconds(),
            "duration_ms": None,
            "headers": sorted(request.headers),
            "user_agent": request.headers.get("user-agent"),
            "authorization": auth.credential(request)[1],
            "credential_token_id": token.id if token else None,
            "body": {name: "[FILTERED]" if name in _SECRET_FIELDS else value
                     for name, value in request.params.body.items()},
            "in_flight": in_flight,
            "http_version": http_version,
            "bytes": None,
        }
        self.entries.append(entry)
        return entry

    def close(self, entry, status, size):
        """`status` is None where no answer went out."""
        entry["status"] = status
        entry["bytes"] = size
        entry["duration_ms"] = round(self.milliseconds() - entry["t"], 3)

    def find(self, method=None, path=None):
        pattern = re.compile(path) if path else None
        return [entry for entry in self.entries
                if method in (None, "*", entry["method"])
                and (not pattern or pattern.search(entry["path"]))]
