"""Users: GET /users, /users/:id and /user. Read-only, as far as access tokens need them."""

from . import entities
from .answer import Answer, not_found
from .finders import USER_FLAGS, USER_ORDERS, find_users
from .pagination import Page, check_offset, keyset_answer, keyset_wanted
from .routing import READ_USERS, route

_ONLY_FOR_ADMINISTRATORS = ("admins",)


@route("GET", "/users", READ_USERS, anonymous="Not authorized to access /api/v4/users")
def list_users(request):
    sim, params, admin = request.sim, request.params, request.caller.admin
    filters = {name: params.boolean(name) for name in USER_FLAGS}
    filters["username"] = params.string("username")
    filters["search"] = params.string("search") or None
    created = {name: params.date_time(name) for name in ("created_after", "created_before")}
    order_by = params.one_of("order_by", USER_ORDERS, "id")
    descending = params.one_of("sort", ("asc", "desc"), "desc") == "desc"
    page = Page(params)
    keyset = keyset_wanted(params)
    params.check()

    if admin:
        filters.update(created)
    else:
        for name in _ONLY_FOR_ADMINISTRATORS:
            filters[name] = None
    entity = entities.user_with_admin if admin else entities.user_basic

    def serialise(found):
        return entities.user_list(sim, found, entity)

    if keyset:
        rows = find_users(sim, admin, filters, order_by)
        return keyset_answer(request, rows, USER_ORDERS[order_by], descending, serialise)
    check_offset(sim, page, "User")
    rows = find_users(sim, admin, filters, order_by, descending)
    return page.answer(request, rows, serialise)


@route("GET", "/users/:id", READ_USERS, anonymous="Not authorized!")
def show_user(request):
    sim = request.sim
    user_id = request.integer_arg("id")
    if not request.caller.admin:
        sim.throttle.check_user_lookup(request.caller.user, sim.settings.user_lookup_limit)
    user = sim.store.users.get(user_id)
    if user is None:
        raise not_found("User")
    if not request.caller.admin:
        return Answer.json(200, entities.user_public(sim, user))
    return Answer.json(200, entities.user_with_admin(sim, user) | {
        "highest_role": 0, "current_sign_in_ip": None, "last_sign_in_ip": None,
        "sign_in_count": 0, "plan": None, "trial": None})


@route("GET", "/user", READ_USERS)
def show_current_user(request):
    sim, user = request.sim, request.caller.user
    fields = entities.user_with_admin(sim, user)
    if not request.caller.admin:
        del fields["is_admin"], fields["note"]
    return Answer.json(200, fields)
