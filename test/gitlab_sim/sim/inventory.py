"""The credentials inventory of a top-level group on gitlab.com: /groups/:id/manage.

It holds the personal access tokens of the group's enterprise users and service accounts, and the
tokens of all projects and groups below it.
"""

from . import entities
from .answer import Answer, ApiError, forbidden, internal_error, not_found, to_json
from .containers import OWNER, find_container
from .finders import find_tokens
from .pagination import Page
from .resource_tokens import may_make_tokens, resource_tokens
from .routing import READ, WRITE, route
from .token_rules import revoke, rotate, token_filters

_PERSONAL = "/groups/*id/manage/personal_access_tokens"
_RESOURCE = "/groups/*id/manage/resource_access_tokens"

# GitLab's query for personal tokens breaks with any other order.
_PERSONAL_ORDERS = ("created_asc", "created_desc", "created_at_asc", "created_at_desc",
                    "created_date", "name_asc", "name_desc")


def _group(request):
    """(the group, the caller's level); 404 anywhere but on gitlab.com's paid tiers."""
    settings = request.sim.settings
    if not settings.saas or settings.tier == "free" or not request.sim.version.has_inventory:
        raise not_found()
    group, level = find_container(request, "group")
    if level < OWNER:
        raise forbidden()
    return group, level


def _list(request, rows_of, serialise, orders=None):
    sim, params = request.sim, request.params
    filters = token_filters(sim, params)
    sort = params.string("sort")
    sort = "created_asc" if sort is None else sort
    page = Page(params)
    params.check()
    group, _ = _group(request)
    if orders and sort not in orders:
        raise internal_error()
    rows = find_tokens(sim, rows_of(group), ("inventory", rows_of.__name__, group.id), filters,
                       sort)
    return page.answer(request, rows, serialise)


def _token(request, name):
    request.integer_arg(name)
    request.params.check()
    token = request.sim.store.tokens.get(request.args[name])
    if token is None:
        raise ApiError(404, {"message": "404 Not found"})
    return token


# Personal tokens.


@route("GET", _PERSONAL, READ)
def list_personal(request):
    sim = request.sim

    def personal(group):
        return sorted((token for user in sim.store.users.values() if _enterprise(sim, user, group)
                       for token in sim.store.tokens_of(user.id) if not token.impersonation),
                      key=lambda token: token.id)

    return _list(request, personal,
                 lambda rows: to_json([entities.token(sim, row) for row in rows]),
                 _PERSONAL_ORDERS)


@route("DELETE", _PERSONAL + "/:pat_id", WRITE)
def revoke_personal(request):
    request.integer_arg("pat_id")
    group, _ = _group(request)
    token = _token(request, "pat_id")
    if not _enterprise(request.sim, request.sim.store.users[token.user_id], group):
        raise forbidden()
    revoke(request.sim, token)
    return Answer.no_content()


@route("POST", _PERSONAL + "/:pat_id/rotate", WRITE)
def rotate_personal(request):
    sim = request.sim
    request.integer_arg("pat_id")
    expires_at = request.params.date("expires_at")
    request.params.check()
    group, _ = _group(request)
    token = _token(request, "pat_id")
    if sim.store.users[token.user_id].enterprise_group_id != group.id:
        raise forbidden()  # service accounts, too
    return Answer.json(200, entities.token(
        sim, rotate(request, token, expires_at), secret=True,
        granular_scopes=sim.version.shows_granular_scopes_everywhere))


def _enterprise(sim, user, group):
    """An enterprise user of the group, or a service account of it or of a group below."""
    maker = sim.store.groups.get(user.provisioned_by_group_id)
    return user.enterprise_group_id == group.id or (
        maker is not None and group.top_level and sim.store.root(maker) is group)


# Tokens of projects and groups.


@route("GET", _RESOURCE, READ)
def list_resource(request):
    sim = request.sim

    def resource(group):
        return sorted((token for container in _below(sim, group)
                       for token in resource_tokens(sim, container)),
                      key=lambda token: token.id)

    return _list(request, resource, lambda rows: entities.resource_token_list(
        sim, rows, lambda token: sim.store.namespaces_of(sim.store.users[token.user_id])[0]))


@route("DELETE", _RESOURCE + "/:prat_id", WRITE)
def revoke_resource(request):
    request.integer_arg("prat_id")
    group, _ = _group(request)
    token, _ = _resource_token(request, group)
    revoke(request.sim, token)
    return Answer.no_content()


@route("POST", _RESOURCE + "/:prat_id/rotate", WRITE)
def rotate_resource(request):
    sim = request.sim
    request.integer_arg("prat_id")
    expires_at = request.params.date("expires_at")
    request.params.check()
    group, level = _group(request)
    if not may_make_tokens(request, group, level):
        raise forbidden()
    token, container = _resource_token(request, group)
    return Answer.json(200, entities.resource_token(
        sim, rotate(request, token, expires_at), container, secret=True))


def _below(sim, group):
    """Where the inventory of a group looks: a subgroup has none of its own."""
    return [group, *sim.store.contents(group)] if group.top_level else []


def _resource_token(request, group):
    """(the token in the path, its project or group)."""
    sim = request.sim
    token = _token(request, "prat_id")
    bot = sim.store.users[token.user_id]
    if not bot.project_bot:
        raise forbidden("Cannot revoke resource access token: Token does not belong to bot user")
    for container in _below(sim, group):
        if bot.id in container.members:
            return token, container
    raise forbidden("Cannot access resource access token: Token belongs to a resource outside "
                    "group's hierarchy")
