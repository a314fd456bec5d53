"""Service accounts of the instance, of groups and of projects, and their personal access tokens.

A service account is a user that can have any number of tokens. The tokens of the instance's are
made where everybody's are.
"""

from dataclasses import dataclass

from . import entities
from .answer import Answer, ApiError, bad_request, forbidden, not_found, to_json, unprocessable
from .bots import generated_username, noreply_address
from .containers import MAINTAINER, OWNER, find_container
from .finders import USER_ORDERS, find_tokens
from .pagination import Page, keyset_answer, keyset_wanted, no_keyset
from .params import integer_of
from .routing import READ, WRITE, route
from .token_rules import (apply_model, check_storable, insert, new_token_params, revoke, rotate,
                          sentence, token_filters)

_DEFAULT_NAME = "Service account user"
_FREE_ACCOUNTS = 100
_ORDERS = ("id", "username")


@dataclass(frozen=True)
class Kind:
    """What is particular to the accounts of a kind of container."""
    role: int          # that the caller needs
    missing_token: str | None  # in the 404 of a rotation


_KINDS = {"group": Kind(OWNER, None),
          "project": Kind(MAINTAINER, "Personal Access Token")}


# Accounts.


@route("GET", "/service_accounts", READ, admin=True)
def list_instance_accounts(request):
    return _list(request, lambda: _accounts(request, None))


@route("POST", "/service_accounts", WRITE, admin=True)
def create_instance_account(request):
    return _create(request, lambda: None)


@route("PATCH", "/service_accounts/:user_id", WRITE, admin=True)
def change_instance_account(request):
    user_id = request.integer_arg("user_id")
    fields = _sent_fields(request)
    user = request.sim.store.users.get(user_id)
    if user is None:
        raise ApiError(404, {"message": "404 Not found"})
    if not user.service_account:
        raise ApiError(400, {"message": "User is not a service account"})
    return _change(request, user, fields)


def _routes(name, kind):
    collection = "/%ss/*id/service_accounts" % name
    member = collection + "/:user_id"
    tokens = member + "/personal_access_tokens"

    def container(request):
        return _container(request, name)

    def account(request):
        return _account(request, container(request))

    @route("GET", collection, READ)
    def index(request):
        return _list(request, lambda: _accounts(request, container(request)))

    @route("POST", collection, WRITE)
    def create(request):
        return _create(request, lambda: container(request))

    @route("PATCH", member, WRITE)
    def change(request):
        fields = _sent_fields(request)
        return _change(request, account(request), fields)

    @route("DELETE", member, WRITE)
    def delete(request):
        user = account(request)
        if request.sim.settings.deletes_accounts:
            request.sim.store.remove_user(user)
        return Answer.no_content()

    @route("GET", tokens, READ)
    def list_tokens(request):
        return _list_tokens(request, account)

    @route("POST", tokens, WRITE)
    def create_token(request):
        fields = new_token_params(request)
        request.params.check()
        return _create_token(request, account(request), fields)

    @route("POST", tokens + "/:token_id/rotate", WRITE)
    def rotate_token(request):
        token_id = request.integer_arg("token_id")
        expires_at = request.params.date("expires_at")
        request.params.check()
        token = _token(request, account(request), token_id, kind.missing_token)
        successor = rotate(request, token, expires_at)
        return Answer.json(200, entities.token(request.sim, successor, secret=True))

    @route("DELETE", tokens + "/:token_id", WRITE)
    def revoke_token(request):
        token_id = request.integer_arg("token_id")
        revoke(request.sim, _token(request, account(request), token_id, "Personal Access Token"))
        return Answer.no_content()


for _name, _kind in _KINDS.items():
    _routes(_name, _kind)


def _container(request, kind):
    """The one in the path, if there are service accounts and the caller may manage them."""
    sim = request.sim
    container, level = find_container(request, kind)
    everywhere = sim.version.service_accounts_everywhere
    if not everywhere and (kind == "project" or not container.top_level
                           or sim.settings.tier == "free"):
        raise not_found()
    owners = sim.settings.saas or sim.settings.group_owners_manage_accounts
    if level < _KINDS[kind].role or kind == "group" and not (owners or request.caller.admin):
        raise forbidden()
    return container


def _accounts(request, container):
    """Those of the container, or all of the instance."""
    return [user for user in request.sim.store.users.values() if user.service_account
            and (container is None or _provisioned_by(user, container))]


def _provisioned_by(user, container):
    return container.id == (user.provisioned_by_project_id if container.kind == "project"
                            else user.provisioned_by_group_id)


def _account(request, container):
    user = request.sim.store.users.get(integer_of(request.args["user_id"]))
    if user is None or not user.service_account or not _provisioned_by(user, container):
        raise not_found("User")
    return user


def _list(request, accounts):
    params = request.params
    order_by = params.one_of("order_by", _ORDERS, "id")
    descending = params.one_of("sort", ("asc", "desc"), "desc") == "desc"
    page = Page(params)
    keyset = keyset_wanted(params)
    params.check()
    key = USER_ORDERS[order_by]

    def serialise(rows):
        return to_json([entities.service_account(row) for row in rows])

    if keyset:
        return keyset_answer(request, sorted(accounts(), key=key), key, descending, serialise)
    return page.answer(request, sorted(accounts(), key=key, reverse=descending), serialise)


def _sent_fields(request):
    params = request.params
    fields = {name: params.string(name) for name in ("name", "username", "email")}
    params.check()
    return {name: value for name, value in fields.items() if value}


def _check_taken(store, fields, user=None):
    for name, label in (("username", "Username"), ("email", "Email")):
        if any(getattr(other, name).lower() == fields.get(name, "").lower()
               for other in store.users.values() if other is not user):
            raise bad_request(label + " has already been taken")


def _create(request, find):
    sim = request.sim
    fields = _sent_fields(request)
    container = find()
    if sim.settings.tier == "free" and len(_accounts(request, None)) >= _FREE_ACCOUNTS:
        raise bad_request("No more seats are available to create Service Account User")
    _check_taken(sim.store, fields)
    prefix = "service_account" + ("_" + container.noreply_prefix if container else "")
    generated = generated_username(prefix)
    provisioned_by = {"provisioned_by_%s_id" % container.kind: container.id} if container else {}
    user = sim.store.add_user(
        bot=True, service_account=True, external=True, created_at=sim.clock.now(),
        **{"name": _DEFAULT_NAME, "username": generated,
           "email": noreply_address(sim, generated)} | fields | provisioned_by)
    return Answer.json(201, entities.service_account(user))


def _change(request, user, fields):
    _check_taken(request.sim.store, fields, user)
    request.sim.store.update_user(user, **fields)
    return Answer.json(200, entities.service_account(user))


# Their tokens.


def _list_tokens(request, find_account):
    sim, params = request.sim, request.params
    filters = token_filters(sim, params) | {"impersonation": False}
    sort = params.string("sort") if sim.version.sorts_tokens else None
    page = Page(params)
    keyset = keyset_wanted(params)
    params.check()
    user = find_account(request)
    if keyset:
        raise no_keyset()
    rows = find_tokens(sim, sim.store.tokens_of(user.id), user.id, filters, sort)
    return page.answer(request, rows, lambda found: to_json(
        [entities.token(sim, row) for row in found]))


def _create_token(request, user, fields):
    sim = request.sim
    errors = apply_model(sim, fields, user)
    if errors:
        raise unprocessable(sentence(errors))
    check_storable(fields["expires_at"])
    return Answer.json(201, entities.token(sim, insert(sim, user, fields), secret=True))


def _token(request, user, token_id, noun):
    token = request.sim.store.tokens.get(token_id)
    if token is None or token.user_id != user.id or token.impersonation:
        raise not_found(noun)
    return token
