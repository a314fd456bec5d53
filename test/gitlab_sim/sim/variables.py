"""CI/CD variables of projects and groups.

A variable is known by its owner, key and environment scope. What projects and groups differ in:
the role that is needed, what a variable is called that is not there, the way that the update
finds its variable, and that scopes of groups' variables are not for every tier.
"""

import re
from dataclasses import replace

from . import entities
from .answer import (Answer, ApiError, forbidden, invalid_fields, moved_permanently, not_found,
                     to_json)
from .pagination import Page
from .routing import READ, WRITE, route
from .store import Variable

_ROLE_NEEDED = {"project": 40, "group": 50}  # Maintainer, Owner
_NOUN = {"project": "Variable", "group": "GroupVariable"}
_TYPES = ("env_var", "file")
_NULLABLE = ("value", "description", "environment_scope")  # the others ignore null

# A masked value is looked for in job logs, so it must be one line and not too common. Which
# other characters are allowed depends on whether `$` in it would be expanded.
_MASKABLE = re.compile(r"[A-Za-z0-9_+=/@:.~-]{8,}")
_MASKABLE_RAW = re.compile(r"\S{8,}", re.ASCII)

_KEY = re.compile(r"[A-Za-z0-9_]+")
_SCOPE = re.compile(r"[A-Za-z0-9_/\\${}. *-]+")
_MAX_LENGTH = 255
_TOO_LONG = "is too long (maximum is %d characters)" % _MAX_LENGTH


def _routes(kind):
    collection = "/%ss/:id/variables" % kind
    member = collection + "/:key"

    @route("GET", collection, READ)
    def index(request):
        owner = _owner(request, kind)
        page = Page(request.params)
        request.params.check()
        return page.answer(request, owner.variables, _serialise)

    @route("GET", member, READ)
    def show(request):
        return Answer.json(200, entities.variable(_find(request, _owner(request, kind))))

    @route("POST", collection, WRITE)
    def create(request):
        return _create(request, _owner(request, kind))

    @route("PUT", member, WRITE)
    def update(request):
        return _update(request, _owner(request, kind))

    @route("DELETE", member, WRITE)
    def delete(request):
        owner = _owner(request, kind)
        request.sim.store.remove_variable(owner, _find(request, owner))
        return Answer.no_content()


_routes("project")
_routes("group")


def _serialise(rows):
    return to_json([entities.variable(row) for row in rows])


# The project or group.


def _owner(request, kind):
    """The one in the path, if the caller may manage its variables. All this is checked before
    GitLab looks at parameters."""
    store, wanted = request.sim.store, request.args["id"]
    owner = store.namespace(kind, wanted)
    renamed = owner is None and kind == "project"
    if renamed:
        owner = store.renamed_project(wanted)
    level = 0 if owner is None else owner.members.get(request.caller.user.id, 0)
    if owner is None or not (level or request.caller.admin):
        raise not_found(kind.capitalize())
    if renamed:
        raise _moved(request, owner)
    if level < _ROLE_NEEDED[kind] and not request.caller.admin:
        raise forbidden()
    return owner


def _moved(request, project):
    """The URL is the client's own, with the project's id for its former path."""
    if request.method != "GET":
        return ApiError(405, {"message": "Non GET methods are not allowed for moved projects"})
    rest = request.path.removeprefix("/projects/").partition("/")[2]
    query = "?" + request.query if request.query else ""
    return moved_permanently("%s/api/v4/projects/%d/%s%s"
                             % (request.base_url, project.id, rest, query))


# The variable.


def _find(request, owner):
    found = _matching(request, owner)
    if found is None:
        raise not_found(_NOUN[owner.kind])
    return found


def _find_to_update(request, owner):
    """GitLab is lenient with groups, whose variables had no scopes at first: without a filter,
    and even where the filter finds nothing, the first variable of this key is changed."""
    if owner.kind == "project":
        return _find(request, owner)
    found = _matching(request, owner) if "filter" in request.params else None
    if found is None:
        found = next((v for v in owner.variables if v.key == request.args["key"]), None)
    if found is None:
        raise not_found(_NOUN[owner.kind])
    return found


def _matching(request, owner):
    found = [v for v in owner.variables if v.key == request.args["key"]]
    scope = _scope_filter(request.params)
    if scope:
        found = [v for v in found if v.environment_scope == scope]
    if len(found) > 1:
        raise ApiError(409, {"message": "There are multiple variables with provided parameters. "
                                        "Please use 'filter[environment_scope]'"})
    return found[0] if found else None


def _scope_filter(params):
    value = params.get("filter")
    if value is None:
        return None
    if not isinstance(value, dict):
        params.complain("filter is invalid")
        params.check()
    return value.get("environment_scope")


def _create(request, owner):
    params = request.params
    key, value = params.required_string("key"), params.required_string("value")
    fields = _sent_fields(request, owner)
    together = params.boolean("masked_and_hidden")
    params.check()
    fields |= {"key": (key or "").strip(), "value": value}
    if together:
        fields |= {"masked": True, "hidden": True}
    _check(owner, Variable(id=None, **fields))
    return Answer.json(201, entities.variable(request.sim.store.add_variable(owner, **fields)))


def _update(request, owner):
    """Changes what was sent. The key stays, and so does `hidden`."""
    changes = _sent_fields(request, owner)
    request.params.check()
    variable = _find_to_update(request, owner)
    _check(owner, replace(variable, **changes), variable)
    request.sim.store.update_variable(variable, **changes)
    return Answer.json(200, entities.variable(variable))


def _sent_fields(request, owner):
    params = request.params
    fields = {
        "value": params.string("value"),
        "variable_type": params.one_of("variable_type", _TYPES),
        "protected": params.boolean("protected"),
        "masked": params.boolean("masked"),
        "raw": params.boolean("raw"),
        "environment_scope": (params.string("environment_scope") or "").strip(),
        "description": params.string("description"),
    }
    if owner.kind == "group" and not request.sim.settings.group_variable_scopes:
        del fields["environment_scope"]  # without a word
    return {name: value for name, value in fields.items()
            if name in params and (value is not None or name in _NULLABLE)}


def _check(owner, new, old=None):
    """The model's validations of a variable as it would be, and was."""
    errors = {}

    def complain_if(wrong, name, text):
        if wrong:
            errors.setdefault(name, []).append(text)

    same = owner.variable(new.key, new.environment_scope)
    taken = same is not None and same is not old
    complain_if(not new.key, "key", "can't be blank")
    complain_if(len(new.key) > _MAX_LENGTH, "key", _TOO_LONG)
    complain_if(not _KEY.fullmatch(new.key), "key", "can contain only letters, digits and '_'.")
    complain_if(taken, "key", "(%s) has already been taken" % new.key)
    complain_if(not new.environment_scope, "environment_scope", "can't be blank")
    complain_if(not _SCOPE.fullmatch(new.environment_scope), "environment_scope",
                "can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', '*' and "
                "spaces")
    complain_if(len(new.description or "") > _MAX_LENGTH, "description", _TOO_LONG)
    maskable = _MASKABLE_RAW if new.raw else _MASKABLE
    complain_if(new.masked and not maskable.fullmatch(new.value or ""), "value", "is invalid")
    complain_if(old and old.hidden and not new.masked, "base", (
        "The visibility setting cannot be changed for masked and hidden variables."))
    if errors:
        raise invalid_fields(errors)
