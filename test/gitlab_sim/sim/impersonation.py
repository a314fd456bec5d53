"""Impersonation tokens, which administrators make to act as somebody."""

from . import entities
from .answer import Answer, ApiError, forbidden, invalid_fields, not_found
from .dates import SECOND
from .finders import find_tokens
from .pagination import Page
from .routing import READ_USERS, WRITE_USERS, route
from .token_rules import (apply_model, check_granular_scopes, check_storable, insert,
                          new_token_params, revoke, user_by_arg)


@route("GET", "/users/:user_id/impersonation_tokens", READ_USERS, admin=True)
def list_impersonation_tokens(request):
    sim = request.sim
    state = request.params.one_of("state", ("all", "active", "inactive"), "all")
    page = Page(request.params)
    request.params.check()
    user = user_by_arg(request)
    filters = {"impersonation": True, "state": None if state == "all" else state}
    rows = find_tokens(sim, sim.store.tokens_of(user.id), user.id, filters)
    return page.answer(request, rows, lambda found: entities.impersonation_token_list(sim, found))


@route("POST", "/users/:user_id/impersonation_tokens", WRITE_USERS, admin=True)
def create_impersonation_token(request):
    """Refusals have another shape and status here than those of personal access tokens."""
    sim = request.sim
    fields = new_token_params(request, scopes=(), required=False,
                              granular=sim.version.takes_granular_scopes)
    user = user_by_arg(request)
    check_granular_scopes(sim, fields)
    errors = apply_model(sim, fields, user, fill_expiry=False)
    if errors:
        raise invalid_fields({name: [text] for name, text in errors.items()})
    if not sim.settings.impersonation_enabled:
        raise forbidden()
    check_storable(fields["expires_at"])
    token = insert(sim, user, fields, impersonation=True)
    return Answer.json(201, entities.impersonation_token(sim, token, secret=True))


@route("GET", "/users/:user_id/impersonation_tokens/:impersonation_token_id", READ_USERS,
       admin=True)
def show_impersonation_token(request):
    token = _impersonation_token_by_arg(request)
    return Answer.json(200, entities.impersonation_token(request.sim, token))


@route("DELETE", "/users/:user_id/impersonation_tokens/:impersonation_token_id", WRITE_USERS,
       admin=True)
def revoke_impersonation_token(request):
    token = _impersonation_token_by_arg(request)
    unmodified_since = request.http_date("if-unmodified-since")
    if unmodified_since is not None and token.updated_at // SECOND > unmodified_since // SECOND:
        raise ApiError(412, {"message": "412 Precondition Failed"})
    revoke(request.sim, token)
    return Answer.no_content()


def _impersonation_token_by_arg(request):
    user = user_by_arg(request)
    token = request.sim.store.tokens.get(request.integer_arg("impersonation_token_id"))
    if token is None or token.user_id != user.id or not token.impersonation:
        raise not_found("Impersonation Token")
    return token
