"""Rate limits: the throttle in front of all requests and the one of GET /users/:id.

Windows follow real time even where the instance's clock stands still: clients wait in real time.
"""

import math
import time
from email.utils import formatdate

from .answer import Answer, ApiError

_LOOKUP_PERIOD = 600


class Throttle:
    def __init__(self):
        self._windows = {}

    def check(self, user_id, settings):
        """Counts a request: (headers for its answer, or the 429 that replaces it)."""
        limit, period = settings.rate_limit["limit"], settings.rate_limit["period"]
        observed, reset = self._count(("all", user_id), period)
        headers = {
            "RateLimit-Limit": str(math.ceil(limit * 60 / period)),
            "RateLimit-Name": "throttle_authenticated_api" if user_id
                              else "throttle_unauthenticated_api",
            "RateLimit-Observed": str(observed),
            "RateLimit-Remaining": str(max(limit - observed, 0)),
            "RateLimit-Reset": str(math.ceil(reset)),
        }
        if observed <= limit:
            return headers if settings.rate_limit_headers else {}, None
        headers["RateLimit-ResetTime"] = formatdate(reset, usegmt=True)
        headers["Retry-After"] = str(max(1, math.ceil(reset - time.time())))
        return {}, Answer(429, b"Retry later\n", headers, "text/plain")

    def check_user_lookup(self, user, limit):
        observed, reset = self._count(("user lookup", user.id), _LOOKUP_PERIOD)
        if observed > limit:
            raise ApiError(429, {"message": {"error": (
                "This endpoint has been requested too many times. Try again later.")}},
                {"Retry-After": str(max(1, math.ceil(reset - time.time())))})

    def _count(self, key, period):
        """Requests in the window including this one, and the time at which the window ends."""
        now = time.time()
        started, count = self._windows.get(key, (now, 0))
        if now >= started + period:
            started, count = now, 0
        self._windows[key] = (started, count + 1)
        return count + 1, started + period
