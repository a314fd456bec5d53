"""Personal access tokens and impersonation tokens."""

from datetime import timedelta

from . import entities
from .answer import (Answer, ApiError, bad_request, forbidden, invalid_fields, not_found,
                     to_json, unauthorized, unprocessable)
from .clock import SECOND
from .finders import find_tokens
from .pagination import Page
from .routing import ANY_SCOPE, READ, WRITE, route

_ROTATED_TOKEN_LIVES = timedelta(days=7)
_MAX_DESCRIPTION = 255
_GRANULAR_ACCESS = ("user", "instance", "all_memberships", "personal_projects",
                    "selected_memberships")
_ACCESS_LEVELS = (10, 15, 20, 30, 40, 50)


# The credential itself.


@route("GET", "/personal_access_tokens/self", ANY_SCOPE)
def show_self(request):
    sim = request.sim
    ips = sim.version.shows_last_used_ips_everywhere
    return Answer.json(200, entities.token(sim, request.caller.token, ips=ips,
                                           granular_scopes=False))


@route("DELETE", "/personal_access_tokens/self", ANY_SCOPE)
def revoke_self(request):
    _revoke(request.sim, request.caller.token)
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


@route("POST", "/personal_access_tokens/self/rotate", ("api", "self_rotate"))
def rotate_self(request):
    return _rotate(request, request.caller.token)


# Any token.


@route("GET", "/personal_access_tokens", READ)
def list_tokens(request):
    sim, params, caller = request.sim, request.params, request.caller
    user_id = params.integer("user_id")
    filters = {
        "revoked": params.boolean("revoked"),
        "state": params.one_of("state", ("active", "inactive")),
        "created_before": params.date_time("created_before"),
        "created_after": params.date_time("created_after"),
        "last_used_before": params.date_time("last_used_before"),
        "last_used_after": params.date_time("last_used_after"),
        "search": params.string("search"),
    }
    if sim.version.filters_by_expiry:
        filters["expires_before"] = params.date("expires_before")
        filters["expires_after"] = params.date("expires_after")
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


@route("GET", "/personal_access_tokens/:id", READ)
def show_token(request):
    token = _find_own_or_any(request)
    return Answer.json(200, entities.token(request.sim, token, ips=True))


@route("DELETE", "/personal_access_tokens/:id", WRITE)
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
    _revoke(sim, token)
    return Answer.no_content()


@route("POST", "/personal_access_tokens/:id/rotate", WRITE)
def rotate_token(request):
    return _rotate(request, _find_own_or_any(request))


def _token_by_arg(request):
    value = request.args["id"]
    if request.sim.version.checks_token_ids:
        return request.sim.store.tokens.get(request.integer_arg("id"))
    return request.sim.store.tokens.get(int(value) if value.isdecimal() else None)


def _find_own_or_any(request):
    """The token in the path; that others' tokens exist is hidden from normal users."""
    token = _token_by_arg(request)
    if token is None and request.caller.admin:
        raise not_found()
    if token is None or not (request.caller.admin or token.user_id == request.caller.user.id):
        raise unauthorized()
    return token


def _revoke(sim, token):
    if not token.revoked:
        sim.store.update_token(token, revoked=True, updated_at=sim.clock.now())


def _rotate(request, token):
    sim = request.sim
    expires_at = request.params.date("expires_at")
    request.params.check()
    if token.revoked:
        raise bad_request("Token already revoked")
    if expires_at is None and sim.settings.require_expiry:
        expires_at = sim.today() + _ROTATED_TOKEN_LIVES
    refusal = _check_lifetime(sim, expires_at)
    if refusal:
        raise bad_request(refusal)
    return Answer.json(200, entities.token(sim, replace(sim, token, expires_at), secret=True))


def replace(sim, token, expires_at):
    """Revokes the token and returns its successor."""
    _revoke(sim, token)
    now = sim.clock.now()
    return sim.store.add_token(
        user_id=token.user_id, name=token.name, description=token.description,
        scopes=token.scopes, granular=token.granular, granular_scopes=token.granular_scopes,
        impersonation=token.impersonation, expires_at=expires_at, previous_id=token.id,
        created_at=now, updated_at=now)


# Creation.


@route("POST", "/users/:user_id/personal_access_tokens", WRITE, admin=True)
def create_for_user(request):
    sim = request.sim
    fields = _new_token_params(
        request, granular=sim.version.takes_granular_scopes_from_administrators)
    return _create(request, _user_by_arg(request), fields)


@route("POST", "/user/personal_access_tokens", WRITE)
def create_for_oneself(request):
    """Deliberately narrow in GitLab: a leaked token must not be able to make better ones."""
    sim = request.sim
    fields = _new_token_params(request, scopes=("k8s_proxy",),
                               granular=sim.version.takes_granular_scopes)
    if fields["expires_at"] is None and sim.version.own_token_expires_tomorrow:
        fields["expires_at"] = sim.today() + timedelta(days=1)
    return _create(request, request.caller.user, fields)


def _new_token_params(request, scopes=None, granular=False):
    sim, params = request.sim, request.params
    fields = {"name": params.required_string("name")}
    granular_scopes = params.get("granular_scopes") if granular else None
    if granular_scopes is not None and "scopes" in params:
        params.complain("scopes, granular_scopes are mutually exclusive")
    elif granular_scopes is not None:
        fields.update(scopes=["granular"], granular=True,
                      granular_scopes=_granular_scopes(params, granular_scopes))
    else:
        fields["scopes"] = params.strings("scopes", scopes or sim.version.known_scopes)
    fields["description"] = params.string("description")
    fields["expires_at"] = params.date("expires_at")
    params.check()
    return fields


def _granular_scopes(params, values):
    """As stored: one entry for each project or group."""
    stored = []
    for value in values if isinstance(values, list) else [None]:
        if not isinstance(value, dict) or value.get("access") not in _GRANULAR_ACCESS:
            params.complain("granular_scopes is invalid")
            continue
        scope = {"access": value["access"], "permissions": value.get("permissions", []),
                 "project_id": None, "group_id": None}
        boundaries = ([{"project_id": n} for n in value.get("project_ids") or ()]
                      + [{"group_id": n} for n in value.get("group_ids") or ()])
        stored += [scope | boundary for boundary in boundaries or [{}]]
    return stored


def _create(request, user, fields):
    sim = request.sim
    if not sim.settings.create_permitted:
        raise unprocessable("Not permitted to create")
    errors = _apply_model(sim, fields)
    if errors:
        texts = ["%s %s" % (_LABELS[name], text) for name, text in errors.items()]
        raise unprocessable(_sentence(texts))
    return Answer.json(201, entities.token(sim, _insert(sim, user, fields), secret=True))


_LABELS = {"name": "Name", "scopes": "Scopes", "description": "Description",
           "expires_at": "Expiration date"}


def _apply_model(sim, fields):
    """Completes the fields of a new token and returns the model's complaints by field."""
    errors = {}
    if not (fields["name"] or "").strip():
        errors["name"] = "can't be blank"
    if not fields["scopes"]:
        errors["scopes"] = "can't be blank"
    if len(fields["description"] or "") > _MAX_DESCRIPTION:
        errors["description"] = "is too long (maximum is %d characters)" % _MAX_DESCRIPTION
    if fields["expires_at"] is None and sim.settings.require_expiry:
        fields["expires_at"] = _latest_expiry(sim)
    refusal = _check_lifetime(sim, fields["expires_at"])
    if refusal:
        errors["expires_at"] = refusal.removeprefix(_LABELS["expires_at"] + " ")
    return errors


def _latest_expiry(sim):
    return sim.today() + timedelta(days=sim.settings.max_lifetime_days)


def _check_lifetime(sim, expires_at):
    """The bound is inclusive, whatever the text says. There is no lower bound."""
    if not sim.settings.require_expiry or expires_at is None:
        return None
    latest = _latest_expiry(sim)
    if expires_at <= latest:
        return None
    return "%s must be before %s" % (_LABELS["expires_at"], latest.isoformat())


def _sentence(texts):
    if len(texts) < 3:
        return " and ".join(texts)
    return ", ".join(texts[:-1]) + ", and " + texts[-1]


def _insert(sim, user, fields, **more):
    now = sim.clock.now()
    return sim.store.add_token(user_id=user.id, created_at=now, updated_at=now, **fields, **more)


def _user_by_arg(request):
    user = request.sim.store.users.get(request.integer_arg("user_id"))
    if user is None:
        raise not_found("User")
    return user


# Impersonation tokens.


@route("GET", "/users/:user_id/impersonation_tokens", READ, admin=True)
def list_impersonation_tokens(request):
    sim = request.sim
    state = request.params.one_of("state", ("all", "active", "inactive"), "all")
    page = Page(request.params)
    request.params.check()
    user = _user_by_arg(request)
    filters = {"impersonation": True, "state": None if state == "all" else state}
    rows = find_tokens(sim, sim.store.tokens_of(user.id), user.id, filters)
    return page.answer(request, rows, lambda found: entities.impersonation_token_list(sim, found))


@route("POST", "/users/:user_id/impersonation_tokens", WRITE, admin=True)
def create_impersonation_token(request):
    """Refusals have another shape and status here than those of personal access tokens."""
    sim, params = request.sim, request.params
    if "scopes" not in params and "granular_scopes" not in params:
        params["scopes"] = []  # optional here; the model complains instead
    fields = _new_token_params(request, granular=sim.version.takes_granular_scopes)
    user = _user_by_arg(request)
    errors = _apply_model(sim, fields)
    if errors:
        raise invalid_fields({name: [text] for name, text in errors.items()})
    if not sim.settings.impersonation_enabled:
        raise forbidden()
    token = _insert(sim, user, fields, impersonation=True)
    return Answer.json(201, entities.token(sim, token, impersonation=True, secret=True))


@route("GET", "/users/:user_id/impersonation_tokens/:impersonation_token_id", READ, admin=True)
def show_impersonation_token(request):
    token = _impersonation_token_by_arg(request)
    return Answer.json(200, entities.token(request.sim, token, impersonation=True))


@route("DELETE", "/users/:user_id/impersonation_tokens/:impersonation_token_id", WRITE,
       admin=True)
def revoke_impersonation_token(request):
    token = _impersonation_token_by_arg(request)
    unmodified_since = request.http_date("if-unmodified-since")
    if unmodified_since is not None and token.updated_at // SECOND > unmodified_since // SECOND:
        raise ApiError(412, {"message": "412 Precondition Failed"})
    _revoke(request.sim, token)
    return Answer.no_content()


def _impersonation_token_by_arg(request):
    user = _user_by_arg(request)
    token = request.sim.store.tokens.get(request.integer_arg("impersonation_token_id"))
    if token is None or token.user_id != user.id or not token.impersonation:
        raise not_found("Impersonation Token")
    return token
