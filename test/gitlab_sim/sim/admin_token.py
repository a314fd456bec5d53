"""/admin/token: from a secret to its token, for administrators."""

from . import entities
from .answer import Answer, ApiError, internal_error, unprocessable
from .routing import WRITE, route
from .token_rules import revoke

# Of secrets that GitLab knows but that are no access tokens; none of those is simulated.
_OTHER_KINDS = ("gldt-", "glft-", "glimt-", "gloas-", "glagent-", "glrt-", "glptt-", "glcbt-",
                "glffct-", "_gitlab_session=")


@route("POST", "/admin/token", WRITE, admin=True)
def look_up(request):
    return Answer.json(200, entities.token(request.sim, _find(request)))


@route("DELETE", "/admin/token", WRITE, admin=True)
def revoke_by_secret(request):
    revoke(request.sim, _find(request))
    return Answer.no_content()


def _find(request):
    secret = request.params.required_string("token")
    request.params.check()
    if secret is None:
        raise internal_error()
    if not secret.startswith(("glpat-", *_OTHER_KINDS)):
        raise unprocessable("Token type not supported.")
    token = request.sim.store.token_by_value(secret)
    if token is None:
        raise ApiError(404, {"message": {"error": "Not found"}})
    return token
