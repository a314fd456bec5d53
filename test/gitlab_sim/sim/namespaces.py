"""Lists of groups and projects, which everybody may ask for: without a credential, too.

Without a membership, there are only public ones to see, and internal ones for who is signed in.
"""

from . import entities
from .answer import Answer, to_json
from .containers import DEVELOPER, MAINTAINER, OWNER, find_container, sees
from .pagination import (Page, check_offset, id_keyset_answer, keyset_answer, keyset_wanted,
                         no_keyset)
from .routing import READ, route

_ACCESS_LEVELS = (5, 10, 15, 20, 25, DEVELOPER, MAINTAINER, OWNER)
_VISIBILITIES = ("private", "internal", "public")

_ORDERS = {
    "id": lambda n: (n.id,),
    "name": lambda n: (n.name.lower(), n.id),
    "path": lambda n: (n.path.lower(), n.id),
    "similarity": lambda n: (n.name.lower(), n.id),
    "created_at": lambda n: (n.created_at, n.id),
    "updated_at": lambda n: (n.created_at, n.id),
    "last_activity_at": lambda n: (n.last_activity_at, n.id),
}
_GROUP_ORDERS = ("name", "path", "id", "similarity")
_PROJECT_ORDERS = ("id", "name", "path", "created_at", "updated_at", "last_activity_at",
                   "similarity")


def _wanted(request, namespaces, membership, owned, level, filters):
    """Those that the caller sees and wants. With a level, a membership is needed, which an
    administrator need not have."""
    store, user_id = request.sim.store, request.caller.user.id
    level = max(level or 0, OWNER if owned else 0, 1 if membership else 0)
    search = (filters["search"] or "").lower()

    def wanted(namespace):
        return ((filters["archived"] is None or namespace.archived == filters["archived"])
                and filters["visibility"] in (None, namespace.visibility)
                and (search in namespace.name.lower() or search in namespace.path.lower())
                and (store.access_level(user_id, namespace) >= level if level
                     else sees(request, namespace)))

    return [n for n in namespaces if wanted(n)]


def _filters(params):
    return {"archived": params.boolean("archived"),
            "visibility": params.one_of("visibility", _VISIBILITIES),
            "search": params.string("search")}


# Groups.


@route("GET", "/groups", READ, public=True)
def list_groups(request):
    return _list_groups(request, lambda: request.sim.store.groups.values(), everywhere=True)


@route("GET", "/groups/*id/descendant_groups", READ, public=True)
def list_descendants(request):
    return _list_groups(request, lambda: _groups_in(request, find_container(request, "group")[0]))


@route("GET", "/groups/*id/subgroups", READ, public=True)
def list_subgroups(request):
    def subgroups():
        group, _ = find_container(request, "group")
        return [g for g in _groups_in(request, group) if request.sim.store.parent(g) is group]

    return _list_groups(request, subgroups)


def _groups_in(request, group):
    return [n for n in request.sim.store.contents(group) if n.kind == "group"]


def _list_groups(request, groups, everywhere=False):
    sim, params = request.sim, request.params
    filters = _filters(params)
    owned = params.boolean("owned", False)
    top_level_only = params.boolean("top_level_only")
    level = params.integer_one_of("min_access_level", _ACCESS_LEVELS)
    order_by = params.one_of("order_by", _GROUP_ORDERS, "name")
    descending = params.one_of("sort", ("asc", "desc"), "asc") == "desc"
    for name in ("statistics", "with_custom_attributes"):
        params.boolean(name, False)
    page = Page(params)
    keyset = keyset_wanted(params)
    params.check()
    rows = _wanted(request, groups(), False, owned, level, filters)
    if top_level_only:
        rows = [group for group in rows if group.top_level]
    key = _ORDERS[order_by]

    def serialise(found):
        return to_json([entities.group(sim, row) for row in found])

    if everywhere and request.caller.anonymous:
        # Keyset pages, and a limit of the others, are only for them.
        if keyset and order_by == "name":
            return keyset_answer(request, sorted(rows, key=key), key, descending, serialise)
        if keyset:
            raise no_keyset()
        check_offset(sim, page, "Group")
    return page.answer(request, sorted(rows, key=key, reverse=descending), serialise)


@route("GET", "/groups/*id", READ, public=True)
def show_group(request):
    group, _ = find_container(request, "group")
    return Answer.json(200, entities.group(request.sim, group))


# Projects.


@route("GET", "/projects", READ, public=True)
def list_projects(request):
    sim, params = request.sim, request.params
    for name in ("imported", "statistics"):
        params.boolean(name, False)
    membership = params.boolean("membership", False)
    bounds = params.integer("id_after"), params.integer("id_before")
    query = _ProjectQuery(request)
    keyset = keyset_wanted(params)
    params.check()
    if keyset and query.order_by != "id":
        raise no_keyset()
    rows = [p for p in query.wanted(sim.store.projects.values(), membership)
            if (bounds[0] is None or p.id > bounds[0]) and (bounds[1] is None or p.id < bounds[1])]
    if keyset:
        return id_keyset_answer(request, rows, query.descending, query.serialise)
    check_offset(sim, query.page, "Project")
    return query.answer(rows)


@route("GET", "/groups/*id/projects", READ, public=True)
def list_projects_of_group(request):
    sim, params = request.sim, request.params
    subgroups = params.boolean("include_subgroups", False)
    params.boolean("include_ancestor_groups", False)
    params.boolean("with_shared", True)
    query = _ProjectQuery(request)
    params.check()
    group, _ = find_container(request, "group")
    rows = [n for n in sim.store.contents(group) if n.kind == "project"
            and (subgroups or sim.store.parent(n) is group)]
    return query.answer(query.wanted(rows, False))


@route("GET", "/projects/*id", READ, public=True)
def show_project(request):
    project, _ = find_container(request, "project")
    return Answer.json(200, entities.project(request.sim, project, simple=False,
                                             admin=request.caller.admin))


class _ProjectQuery:
    """The parameters that both lists of projects have."""

    def __init__(self, request):
        params = request.params
        self._request = request
        self._filters = _filters(params)
        self._owned = params.boolean("owned", False)
        self._level = params.integer_one_of("min_access_level", _ACCESS_LEVELS)
        self._simple = params.boolean("simple", False)
        for name in ("starred", "with_custom_attributes", "with_issues_enabled",
                     "with_merge_requests_enabled"):
            params.boolean(name, False)
        self.order_by = params.one_of("order_by", _PROJECT_ORDERS, "created_at")
        self.descending = params.one_of("sort", ("asc", "desc"), "desc") == "desc"
        self.page = Page(params)

    def wanted(self, projects, membership):
        return _wanted(self._request, projects, membership, self._owned, self._level,
                       self._filters)

    def serialise(self, rows):
        request = self._request
        return to_json([entities.project(request.sim, row, self._simple, request.caller.admin)
                        for row in rows])

    def answer(self, rows):
        rows = sorted(rows, key=_ORDERS[self.order_by], reverse=self.descending)
        return self.page.answer(self._request, rows, self.serialise)
