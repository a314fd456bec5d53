"""Which endpoint answers which request, and what a token must be allowed to call it.

Paths are matched as they arrive, before percent-decoding: the id of a project may be its full
path with the slashes written %2F.
"""

import re
from dataclasses import dataclass
from typing import Callable
from urllib.parse import unquote

from .answer import Answer


@dataclass(frozen=True)
class Scopes:
    """Any of `enough` will do; none: every token will. A refusal lists what the part of GitLab's
    API that the route is in has registered: for all methods, and in this order."""
    enough: tuple = ()
    registered: str = "api read_api"


_OF_USERS = "read_user ai_workflows api read_api"

READ = Scopes(("api", "read_api"))
WRITE = Scopes(("api",))
READ_USERS = Scopes(("api", "read_api", "read_user"), _OF_USERS)
WRITE_USERS = Scopes(("api",), _OF_USERS)
ROTATE_SELF = Scopes(("api", "self_rotate"), "api self_rotate api read_api")
ANY_SCOPE = Scopes()


@dataclass(frozen=True)
class Permission:
    """What a fine-grained token needs instead of a scope."""
    boundary: str  # "user", "project", "group" or "instance"
    name: str
    label: str     # in a refusal


_ROUTES = []


@dataclass(frozen=True)
class Route:
    method: str
    pattern: re.Pattern
    endpoint: Callable
    scopes: Scopes
    permission: Permission | None  # None: fine-grained tokens do not get in, but for ANY_SCOPE
    admin: bool    # only for administrators
    anonymous: str | None  # the 403 of a request without credential, where it is not 401
    public: bool   # needs no credential


def route(method, path, scopes, permission=None, admin=False, anonymous=None, public=False):
    """Registers an endpoint. Fixed path segments must be registered before variable ones.

    `:name` in the path matches up to a dot, after which GitLab expects a format such as json and
    ignores it; `*name` matches a whole segment.
    """
    pattern = re.sub(r":(\w+)", r"(?P<\1>[^/.]+)", re.sub(r"\*(\w+)", r"(?P<\1>[^/]+)", path))
    if "*" not in path.rpartition("/")[2]:
        pattern += r"(?:\.[^/.]+)?"
    pattern = re.compile(pattern + "/?")

    def register(endpoint):
        _ROUTES.append(Route(method, pattern, endpoint, scopes, permission, admin, anonymous,
                             public))
        return endpoint

    return register


def find_route(method, path):
    """(route, path parameters), or None. HEAD is GET; OPTIONS is answered by itself."""
    method = "GET" if method == "HEAD" else method
    for candidate in _ROUTES:
        match = candidate.pattern.fullmatch(path)
        if match and candidate.method == method:
            return candidate, {k: unquote(v) for k, v in match.groupdict().items()}
    return None


def allowed_methods(path):
    """The answer to OPTIONS, or None for a path that nobody knows."""
    first = next((r.pattern for r in _ROUTES if r.pattern.fullmatch(path)), None)
    methods = [r.method for r in _ROUTES if r.pattern == first]
    if not methods:
        return None
    head = ["HEAD"] if "GET" in methods else []
    return Answer(204, headers={"Allow": ", ".join(["OPTIONS", *methods, *head])},
                  content_type=None)
