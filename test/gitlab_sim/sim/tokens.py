"""Personal access tokens."""

from . import entities
from .answer import Answer, ApiError, bad_request, not_found, to_json, unauthorized, unprocessable
from .finders import find_tokens
from .pagination import Page
from .params import integer_of
from .routing import ANY_SCOPE, READ, ROTATE_SELF, WRITE, WRITE_USERS, Permission, route
from .token_rules import (apply_model, check_granular_scopes, check_storable, insert,
                          new_token_params, revoke, rotate, sentence, token_filters, user_by_arg)

_ACCESS_LEVELS = (10, 15, 20, 30, 40, 50)
_OWN_SCOPES = ("k8s_proxy", "self_rotate")

_MAY_READ = Permission("user", "read_personal_access_token", "Personal Access Token: Read")
_MAY_ROTATE = Permission("user", "rotate_personal_access_token", "Personal Access Token: Rotate")
_MAY_REVOKE = Permission("user", "revoke_personal_access_token", "Personal Access Token: Revoke")
_MAY_CREATE = Permission("instance", "create_personal_access_token",
                         "Personal Access Token: Create")


# The credential itself.


@route("GET", "/personal_access_tokens/self", ANY_SCOPE, _MAY_READ)
def show_self(request):
    sim = request.sim
    ips = sim.version.shows_last_used_ips_everywhere
    return Answer.json(200, entities.token(sim, request.caller.token, ips=ips,
                                           granular_scopes=False))


@route("DELETE", "/personal_access_tokens/self", ANY_SCOPE, _MAY_REVOKE)
def revoke_self(request):
    revoke(request.sim, request.caller.token)
    return Answer.no_content()


@route("GET", "/personal_access_tokens/self/associations", ANY_SCOPE)
def show_associations(request):
    """What the credential's owner is a member of. Both lists are cut with the same page, and
    the headers describe the second."""
    level = request.params.integer("min_access_level", 0)
    if level and level not in _ACCESS_LEVELS:
        request.params.complain("min_access_level does not have a valid value")
    page = Page(request.params)
    request.params.check()
    user_id = request.caller.user.id

    def joined(namespaces):
        return [n for n in namespaces.values() if n.members.get(user_id, 0) >= max(level, 1)]

    store = request.sim.store
    first = (page.number - 1) * page.size
    groups = joined(store.groups)[first:first + page.size]

    def serialise(projects):
        return to_json({
            "groups": [_associated_group(request.sim, g, user_id) for g in groups],
            "projects": [_associated_project(request.sim, p, user_id) for p in projects]})

    return page.answer(request, joined(store.projects), serialise)


def _associated_group(sim, group, user_id):
    return {"id": group.id, "web_url": "%s/groups/%s" % (sim.external_url, group.full_path),
            "name": group.name, "parent_id": None, "organization_id": 1,
            "access_levels": group.members[user_id], "visibility": "private"}


def _associated_project(sim, project, user_id):
    namespace = project.full_path.rpartition("/")[0]
    return {"id": project.id, "description": None, "name": project.name,
            "name_with_namespace": "%s / %s" % (namespace, project.name),
            "path": project.name, "path_with_namespace": project.full_path,
            "created_at": "2024-01-01T00:00:00.000Z",
            "access_levels": {"project_access_level": project.members[user_id],
                              "group_access_level": None},
            "visibility": "private",
            "web_url": "%s/%s" % (sim.external_url, project.full_path),
            "namespace": {"id": 1, "name": namespace, "path": namespace, "kind": "group",
                          "full_path": namespace}}


@route("POST", "/personal_access_tokens/self/rotate", ROTATE_SELF, _MAY_ROTATE)
def rotate_self(request):
    return _rotate(request, request.caller.token,
                   granular_scopes=request.sim.version.shows_granular_scopes_everywhere)


# Any token.


@route("GET", "/personal_access_tokens", READ, _MAY_READ)
def list_tokens(request):
    sim, params, caller = request.sim, request.params, request.caller
    user_id = params.integer("user_id")
    filters = token_filters(sim, params)
    sort = params.string("sort") if sim.version.sorts_tokens else None
    page = Page(params)
    params.check()

    if caller.admin:
        if params.blank("user_id") or user_id is not None and user_id not in sim.store.users:
            raise not_found()
        candidates = sim.store.all_tokens() if user_id is None else sim.store.tokens_of(user_id)
        of_user = user_id
    else:
        if user_id is not None and user_id != caller.user.id:
            raise unauthorized()
        candidates = sim.store.tokens_of(caller.user.id)
        of_user = caller.user.id
        filters["impersonation"] = False

    rows = find_tokens(sim, candidates, of_user, filters, sort)
    return page.answer(request, rows, lambda found: entities.token_list(sim, found))


@route("GET", "/personal_access_tokens/:id", READ, _MAY_READ)
def show_token(request):
    token = _find_own_or_any(request)
    return Answer.json(200, entities.token(request.sim, token, ips=True))


@route("DELETE", "/personal_access_tokens/:id", WRITE, _MAY_REVOKE)
def revoke_token(request):
    sim, caller = request.sim, request.caller
    token = _token_by_arg(request)
    if token is None:
        # For every caller, and spelt differently from other 404s.
        raise ApiError(404, {"message": "404 Not found"})
    own = token.user_id == caller.user.id and not token.impersonation
    if not (caller.admin or own) or not sim.settings.revoke_permitted:
        raise bad_request("Not permitted to revoke" if sim.version.names_refused_revocations
                          else None)
    revoke(sim, token)
    return Answer.no_content()


@route("POST", "/personal_access_tokens/:id/rotate", WRITE, _MAY_ROTATE)
def rotate_token(request):
    return _rotate(request, _find_own_or_any(request))


def _token_by_arg(request):
    if request.sim.version.checks_token_ids:
        return request.sim.store.tokens.get(request.integer_arg("id"))
    return request.sim.store.tokens.get(integer_of(request.args["id"]))


def _find_own_or_any(request):
    """The token in the path; that others' tokens exist is hidden from normal users."""
    token = _token_by_arg(request)
    if token is None and request.caller.admin:
        raise not_found()
    if token is None or not (request.caller.admin or token.user_id == request.caller.user.id):
        raise unauthorized()
    return token


def _rotate(request, token, granular_scopes=True):
    expires_at = request.params.date("expires_at")
    request.params.check()
    successor = rotate(request, token, expires_at)
    return Answer.json(200, entities.token(request.sim, successor, secret=True,
                                           granular_scopes=granular_scopes))


# Creation.


@route("POST", "/users/:user_id/personal_access_tokens", WRITE_USERS, _MAY_CREATE, admin=True)
def create_for_user(request):
    sim = request.sim
    fields = new_token_params(
        request, granular=sim.version.takes_granular_scopes_from_administrators)
    user = user_by_arg(request)
    return _create(request, user, fields)


@route("POST", "/user/personal_access_tokens", WRITE_USERS)
def create_for_oneself(request):
    """Deliberately narrow in GitLab: a leaked token must not be able to make better ones."""
    sim = request.sim
    scopes = _OWN_SCOPES if sim.version.takes_own_self_rotate else _OWN_SCOPES[:1]
    fields = new_token_params(request, scopes, granular=sim.version.takes_granular_scopes)
    request.params.check()
    if fields["expires_at"] is None and sim.version.own_token_expires_tomorrow:
        fields["expires_at"] = sim.today() + 1
    return _create(request, request.caller.user, fields)


def _create(request, user, fields):
    sim = request.sim
    if not sim.settings.create_permitted:
        raise unprocessable("Not permitted to create")
    if sim.settings.granular_tokens_enforced and not fields.get("granular") and user.human:
        raise unprocessable("Creation of legacy personal access tokens is disabled. "
                            "Use a fine-grained token instead.")
    check_granular_scopes(sim, fields)
    errors = apply_model(sim, fields, user)
    if errors:
        raise unprocessable(sentence(errors))
    check_storable(fields["expires_at"])
    return Answer.json(201, entities.token(
        sim, insert(sim, user, fields), secret=True,
        granular_scopes=sim.version.shows_granular_scopes_everywhere))
