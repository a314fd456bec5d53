"""Access tokens of projects and groups.

Each belongs to a bot that is a direct member of the project or group, with the token's access
level. Refusals vary: who may not list or rotate gets 401, who may not create or revoke 400.
"""

from . import entities
from .answer import Answer, ApiError, bad_request, not_found, unauthorized
from .bots import create_bot
from .containers import MAINTAINER, OWNER, find_container, holds
from .finders import find_tokens
from .pagination import Page
from .params import integer_of
from .routing import READ, ROTATE_SELF, WRITE, Permission, route
from .token_rules import (apply_model, check_storable, insert, latest_expiry, rotate, revoke,
                          sentence, token_filters)

ACCESS_LEVELS = (10, 15, 20, 25, 30, 40, 50)

_ROLE_NEEDED = {"project": MAINTAINER, "group": OWNER}
_NOT_FOR_BOTS = {"read_user", "sudo", "admin_mode", "read_service_ping", "granular"}


def _routes(kind):
    collection = "/%ss/*id/access_tokens" % kind
    member = collection + "/:token_id"

    def permission(verb):
        return Permission(kind, verb + "_resource_access_token",
                          "Resource Access Token: " + verb.capitalize())

    @route("GET", collection, READ, permission("read"))
    def index(request):
        return _list(request, kind)

    @route("GET", member, READ, permission("read"))
    def show(request):
        container, level = find_container(request, kind)
        if level < _ROLE_NEEDED[kind]:
            raise unauthorized()
        return _answer(request, 200, container, _find(request, container))

    @route("POST", collection, WRITE, permission("create"))
    def create(request):
        return _create(request, kind)

    @route("POST", collection + "/self/rotate", ROTATE_SELF, permission("rotate"))
    def rotate_self(request):
        return _rotate_self(request, kind)

    @route("POST", member + "/rotate", WRITE, permission("rotate"))
    def rotate_one(request):
        return _rotate(request, kind)

    @route("DELETE", member, WRITE, permission("delete"))
    def revoke_one(request):
        return _revoke(request, kind)


_routes("project")
_routes("group")


def resource_tokens(sim, container):
    """The tokens of its bots, by id."""
    rows = [token for bot in sim.store.bots(container) for token in sim.store.tokens_of(bot.id)
            if not token.impersonation]
    return sorted(rows, key=lambda token: token.id)


def may_make_tokens(request, container, level):
    """Creating and rotating is not for bots, and can be switched off for all below a top-level
    group. On gitlab.com it is not free."""
    settings = request.sim.settings
    return (level >= _ROLE_NEEDED[container.kind] and not request.caller.user.project_bot
            and request.sim.store.root(container).token_creation_allowed
            and not (settings.saas and settings.tier == "free"))


def _answer(request, status, container, token, secret=False):
    return Answer.json(status, entities.resource_token(request.sim, token, container,
                                                       secret=secret))


def _list(request, kind):
    sim, params = request.sim, request.params
    filters = token_filters(sim, params)
    if not sim.version.filters_resource_tokens:
        filters = {"state": filters["state"]}
    sort = params.string("sort") if sim.version.sorts_tokens else None
    params.check()
    page = Page(params, declared=False)
    container, level = find_container(request, kind)
    if level < _ROLE_NEEDED[kind]:
        raise unauthorized()
    rows = find_tokens(sim, resource_tokens(sim, container),
                       (kind, container.id, tuple(container.members)), filters, sort)
    return page.answer(request, rows, lambda found: entities.resource_token_list(
        sim, found, lambda token: container))


def _find(request, container):
    token_id = integer_of(request.args["token_id"])
    token = request.sim.store.tokens.get(token_id)
    if token is None or token.impersonation or not any(
            bot.id == token.user_id for bot in request.sim.store.bots(container)):
        raise not_found("%s Access Token" % container.kind)
    return token


def _create(request, kind):
    sim, params = request.sim, request.params
    fields = {"name": params.required_string("name"),
              "scopes": params.array("scopes", sim.version.known_scopes - _NOT_FOR_BOTS)}
    access_level = params.integer_one_of("access_level", ACCESS_LEVELS, MAINTAINER)
    fields["description"] = params.string("description")
    fields["expires_at"] = params.date("expires_at")
    params.check()
    container, level = find_container(request, kind)
    _check_expiry_was_sent(request)
    if not may_make_tokens(request, container, level):
        raise bad_request("User does not have permission to create %s access token" % kind)
    if not holds(level, access_level):
        raise bad_request("Access level of the token contains permissions not held by the "
                          "creating user")
    if not sim.version.resource_tokens_may_never_expire and fields["expires_at"] is None:
        fields["expires_at"] = latest_expiry(sim)
    errors = apply_model(sim, fields)
    if errors:
        sim.store.lose_user_id()  # the bot was there already, and is deleted again
        raise bad_request(sentence(errors))
    check_storable(fields["expires_at"])
    bot = create_bot(sim, container, fields["name"], access_level, request.caller.user)
    return _answer(request, 201, container, insert(sim, bot, fields), secret=True)


def _check_expiry_was_sent(request):
    sim, params = request.sim, request.params
    if not sim.version.resource_tokens_need_expiry:
        return
    if sim.settings.resource_tokens_without_expiry:
        missing = sim.settings.require_expiry and params.get("expires_at") in (None, "")
    else:
        missing = "expires_at" not in params
    if missing:
        raise bad_request("expires_at is missing")


def _rotate(request, kind):
    expires_at = request.params.date("expires_at")
    request.params.check()
    container, level = find_container(request, kind)
    try:
        if not may_make_tokens(request, container, level):
            raise unauthorized()
        token = _find(request, container)
    except ApiError:
        # Which of both is wrong is hidden from everybody.
        raise not_found() if request.caller.admin else unauthorized()
    if not holds(level, container.members[token.user_id]):
        raise bad_request("Not eligible to rotate tokens with permissions not held by the user")
    successor = rotate(request, token, expires_at)
    return _answer(request, 200, container, successor, secret=True)


def _rotate_self(request, kind):
    expires_at = request.params.date("expires_at")
    request.params.check()
    container, _ = find_container(request, kind)
    token, bot = request.caller.token, request.caller.user
    if not bot.project_bot or token.user_id != bot.id:
        raise ApiError(405, {"message": "405 Method Not Allowed"})
    if bot.id not in container.members:
        raise unauthorized()
    return _answer(request, 200, container, rotate(request, token, expires_at), secret=True)


def _revoke(request, kind):
    sim = request.sim
    container, level = find_container(request, kind)
    token = _find(request, container)
    bot = sim.store.users[token.user_id]
    if level < _ROLE_NEEDED[kind]:
        raise bad_request("%s cannot delete %s" % (request.caller.user.name, bot.name))
    revoke(sim, token)
    if not sim.version.keeps_bots:
        sim.store.remove_user(bot)
    return Answer.no_content()
