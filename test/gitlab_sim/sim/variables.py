"""CI/CD variables of projects and groups.

A variable is known by its owner, key and environment scope; the answers and rules for projects
and groups are the same but for the role that is needed.
"""

import re

from . import entities
from .answer import Answer, ApiError, forbidden, invalid_fields, not_found, to_json
from .pagination import Page
from .routing import READ, WRITE, route

_ROLE_NEEDED = {"project": 40, "group": 50}  # Maintainer, Owner
_TYPES = ("env_var", "file")

# A masked value is looked for in job logs, so it must be one line and not too common.
_MASKABLE = re.compile(r"\S{8,}")
_KEY = re.compile(r"[A-Za-z0-9_]{1,255}")


def _routes(kind):
    collection = "/%ss/:id/variables" % kind
    member = collection + "/:key"

    @route("GET", collection, READ)
    def index(request):
        page = Page(request.params)
        request.params.check()
        return page.answer(request, _owner(request, kind).variables, _serialise)

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
        variable = _find(request, owner)
        owner.variables.remove(variable)
        return Answer.no_content()


_routes("project")
_routes("group")


def _serialise(rows):
    return to_json([entities.variable(row) for row in rows])


def _owner(request, kind):
    """The project or group in the path, if the caller may manage its variables."""
    owner = request.sim.store.namespace(kind, request.args["id"])
    level = 0 if owner is None else owner.members.get(request.caller.user.id, 0)
    if owner is None or not (level or request.caller.admin):
        raise not_found(kind.capitalize())
    if level < _ROLE_NEEDED[kind] and not request.caller.admin:
        raise forbidden()
    return owner


def _find(request, owner):
    found = [v for v in owner.variables if v.key == request.args["key"]]
    scope = _scope_filter(request.params)
    if scope is not None:
        found = [v for v in found if v.environment_scope == scope]
    if not found:
        raise not_found("Variable")
    if len(found) > 1:
        raise ApiError(409, {"message": "There are multiple variables with provided parameters. "
                                        "Please use 'filter[environment_scope]'."})
    return found[0]


def _scope_filter(params):
    value = params.get("filter")
    return value.get("environment_scope") if isinstance(value, dict) else None


def _create(request, owner):
    params = request.params
    fields = {"key": params.required_string("key"), "value": params.required_string("value")}
    fields |= _optional_fields(params)
    together = params.boolean("masked_and_hidden", False)
    params.check()
    if together:
        fields |= {"masked": True, "hidden": True}
    fields = {name: value for name, value in fields.items()
              if value is not None or name == "description"}
    _check(owner, fields)
    variable = request.sim.store.add_variable(owner, **fields)
    return Answer.json(201, entities.variable(variable))


def _update(request, owner):
    """Changes what was sent. The key stays, and so does `hidden`."""
    params = request.params
    changes = {"value": params.string("value")} | _optional_fields(params)
    params.check()
    variable = _find(request, owner)
    changes = {name: value for name, value in changes.items()
               if value is not None or name == "description" and name in params}
    merged = {name: getattr(variable, name)
              for name in ("key", "value", "masked", "hidden", "environment_scope")}
    _check(owner, merged | changes, besides=variable)
    for name, value in changes.items():
        setattr(variable, name, value)
    return Answer.json(200, entities.variable(variable))


def _optional_fields(params):
    return {
        "variable_type": params.one_of("variable_type", _TYPES),
        "protected": params.boolean("protected"),
        "masked": params.boolean("masked"),
        "raw": params.boolean("raw"),
        "environment_scope": params.string("environment_scope"),
        "description": params.string("description"),
    }


def _check(owner, fields, besides=None):
    """The model's validations."""
    errors = {}
    key, scope = fields["key"] or "", fields.get("environment_scope", "*")
    if not _KEY.fullmatch(key):
        errors["key"] = ["can contain only letters, digits and '_'."]
    elif any(v.key == key and v.environment_scope == scope
             for v in owner.variables if v is not besides):
        errors["key"] = ["(%s) has already been taken" % key]
    if fields.get("masked") and not _MASKABLE.fullmatch(fields["value"] or ""):
        errors["value"] = ["is invalid"]
    if fields.get("hidden") and not fields.get("masked"):
        errors["masked"] = ["must be true for a hidden variable"]
    if errors:
        raise invalid_fields(errors)
