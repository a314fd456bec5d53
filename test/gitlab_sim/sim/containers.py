"""The project or group in a path: does the caller see it, and with which role?

Members of a group are members of all that is below it, and whoever is a member of something in a
group sees that there is such a group.
"""

from .answer import ApiError, insufficient_permission, moved_permanently, not_found

DEVELOPER, MAINTAINER, OWNER = 30, 40, 50


def find_container(request, kind):
    """(the container, the caller's access level in it), or 404 if the caller does not see it.
    An administrator has every role. A fine-grained token must have been made for it."""
    store, wanted = request.sim.store, request.args["id"]
    container = store.namespace(kind, wanted)
    renamed = container is None and kind == "project"
    if renamed:
        container = store.renamed_project(wanted)
    if container is None or not sees(request, container):
        raise not_found(kind.capitalize())
    if renamed:
        raise _moved(request, container)
    _check_permission(request, container)
    return container, level_in(request, container)


def level_in(request, container):
    """The caller's."""
    if request.caller.admin:
        return OWNER
    return request.sim.store.access_level(request.caller.user.id, container)


def holds(level, other):
    """May who has one level give the other to somebody? 15 and 25 have permissions that only
    Owners hold besides them."""
    return level >= OWNER or other <= level and other not in (15, 25)


def sees(request, container):
    store, user_id = request.sim.store, request.caller.user.id
    return (request.caller.admin or container.visibility == "public"
            or container.visibility == "internal" and not request.caller.anonymous
            or store.access_level(user_id, container) > 0
            or any(user_id in inner.members for inner in store.contents(container)))


def _check_permission(request, container):
    permission, token = request.permission, request.caller.token
    if permission is None or token is None or not token.granular:
        return
    above = {container.id} if container.kind == "project" else set()
    groups = {g.id for g in request.sim.store.groups.values()
              if g is container or g.contains(container)}
    if not any(permission.name in scope["permissions"]
               and (scope["access"] == "all_memberships" or scope["project_id"] in above
                    or scope["group_id"] in groups)
               for scope in token.granular_scopes):
        raise insufficient_permission(permission.boundary, permission.label)


def _moved(request, project):
    """The URL is the client's own, with the project's id for its former path."""
    if request.method != "GET":
        return ApiError(405, {"message": "Non GET methods are not allowed for moved projects"})
    _, slash, rest = request.path.removeprefix("/projects/").partition("/")
    query = "?" + request.query if request.query else ""
    return moved_permanently("%s/api/v4/projects/%d%s%s"
                             % (request.base_url, project.id, slash + rest, query))
