"""From a credential to the user who makes the request and what that user may do."""

import re
from dataclasses import dataclass

from .answer import (ApiError, forbidden, insufficient_permission, insufficient_scope,
                     invalid_token, unauthorized)
from .dates import SECOND
from .store import Token, User

# Automatic reuse detection looks at the URL alone.
_ROTATE_PATH = re.compile(r"access_tokens/(\d+|self)/rotate$")

_USAGE_INTERVAL = 10 * 60 * SECOND  # last_used_at is written this often at most
_LAST_USED_IPS = 5

# What a fine-grained scope may say that is to reach a project or group; which ones it reaches is
# looked at when the one in the path is known.
_ACCESS_OF_BOUNDARY = {"project": ("all_memberships", "personal_projects",
                                   "selected_memberships"),
                       "group": ("all_memberships", "selected_memberships")}

_ACCOUNT_PROBLEMS = {
    "blocked": "Your account has been blocked.",
    "ldap_blocked": "Your account has been blocked.",
    "banned": "Your account has been blocked.",
    "blocked_pending_approval": "Your account is pending approval from your administrator and "
                                "hence blocked.",
    "deactivated": "Your account has been deactivated by your administrator. Please log back in "
                   "from a web browser to reactivate your account at %(url)s",
}


@dataclass
class Caller:
    user: User    # whose rights the request has
    token: Token | None
    admin: bool   # may administer all resources

    @property
    def anonymous(self):
        return self.token is None


_NOBODY = Caller(User(id=0, username="", name="", email="", created_at=0), None, admin=False)


def credential(request):
    """The secret that was sent and the way it came, or (None, "none")."""
    value = request.headers.get("private-token")
    if value:
        return value, "private-token"
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip(), "bearer"
    for name in ("private_token", "access_token"):
        value = request.params.get(name)
        if isinstance(value, str) and value:
            return value, "parameter"
    return None, "none"


def authenticate(request, route):
    """The caller, or the error that GitLab answers; in the order in which GitLab checks."""
    sim = request.sim
    value, _ = credential(request)
    if value is None and route.public:
        return _NOBODY
    if value is None and route.anonymous:
        raise forbidden(route.anonymous)
    token = sim.store.token_by_value(value) if value else None
    if token is None:
        raise unauthorized()
    _check_token(sim, request, token)
    _check_scopes(sim, route, token)
    user = sim.store.users[token.user_id]
    if user.state in _ACCOUNT_PROBLEMS:
        raise forbidden(_ACCOUNT_PROBLEMS[user.state] % {"url": sim.external_url})
    if sim.settings.track_usage:
        _track_usage(sim, token, request.client_address)
    user = _sudo(request, user, token) or user
    return Caller(user, token, _acts_as_admin(sim, user, token))


def _check_token(sim, request, token):
    if token.expired(sim.utc_today()):
        raise invalid_token("Token is expired. You can either do re-authorization or token "
                            "refresh.")
    if token.revoked:
        if _ROTATE_PATH.search(request.path):
            _revoke_family(sim, token)
        raise invalid_token("Token was revoked. You have to re-authorize from the user.")
    if token.impersonation and not sim.settings.impersonation_enabled:
        raise invalid_token("Token is an impersonation token but impersonation was disabled.")


def _check_scopes(sim, route, token):
    permission = route.permission
    if token.granular and permission and sim.version.shows_granular:
        accesses = _ACCESS_OF_BOUNDARY.get(permission.boundary, (permission.boundary,))
        if not any(scope["access"] in accesses and permission.name in scope["permissions"]
                   for scope in token.granular_scopes):
            raise insufficient_permission(permission.boundary, permission.label)
    elif route.scopes.enough and not set(route.scopes.enough) & set(token.scopes):
        raise insufficient_scope(route.scopes.registered)


def _revoke_family(sim, token):
    """Somebody rotates with a token that has been rotated: one of the two is a thief, and
    nobody knows which, so what came out of the token dies."""
    for descendant in sim.store.descendants(token):
        if descendant.active(sim.utc_today()):
            sim.store.update_token(descendant, revoked=True, updated_at=sim.clock.now())


def _acts_as_admin(sim, user, token):
    return user.is_admin and (not sim.settings.admin_mode or "admin_mode" in token.scopes)


def _sudo(request, user, token):
    sim = request.sim
    wanted = request.headers.get("sudo") or request.params.get("sudo")
    if wanted is None:
        return None
    if not _acts_as_admin(sim, user, token):
        raise forbidden("Must be admin to use sudo")
    if "sudo" not in token.scopes:
        raise insufficient_scope("sudo")
    wanted = str(wanted)
    other = (sim.store.users.get(int(wanted)) if wanted.isdigit()
             else sim.store.user_by_username(wanted))
    if other is None:
        raise ApiError(404, {"message": "404 User with ID or username '%s' Not Found" % wanted})
    return other


def _track_usage(sim, token, address):
    now = sim.clock.now()
    if token.last_used_at is not None and now - token.last_used_at < _USAGE_INTERVAL:
        return
    ips = [ip for ip in token.last_used_ips if ip != address] + [address]
    sim.store.update_token(token, last_used_at=now, last_used_ips=ips[-_LAST_USED_IPS:])
