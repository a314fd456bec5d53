"""Which endpoint answers which request.

Paths are matched as they arrive, before percent-decoding: `:id` of a project may be its full
path with the slashes written %2F.
"""

import re
from dataclasses import dataclass
from typing import Callable
from urllib.parse import unquote

READ = ("api", "read_api")
READ_USERS = ("api", "read_api", "read_user")
WRITE = ("api",)
ANY_SCOPE = ()

_ROUTES = []


@dataclass(frozen=True)
class Route:
    method: str
    pattern: re.Pattern
    endpoint: Callable
    scopes: tuple  # any of them is enough; none: every token will do
    admin: bool    # only for administrators
    anonymous: str | None  # the 403 of a request without credential, where it is not 401


def route(method, path, scopes, admin=False, anonymous=None):
    """Registers an endpoint. Fixed path segments must be registered before variable ones."""
    pattern = re.compile(re.sub(r":(\w+)", r"(?P<\1>[^/]+)", path))

    def register(endpoint):
        _ROUTES.append(Route(method, pattern, endpoint, scopes, admin, anonymous))
        return endpoint

    return register


def find_route(method, path):
    """(route, path parameters), or (None, whether another method would have been right)."""
    path_known = False
    for candidate in _ROUTES:
        match = candidate.pattern.fullmatch(path)
        if match is None:
            continue
        if candidate.method == method:
            return candidate, {k: unquote(v) for k, v in match.groupdict().items()}
        path_known = True
    return None, path_known
