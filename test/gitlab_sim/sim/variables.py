"""CI/CD variables of projects, of groups and of the instance.

A variable is known by its owner, key and environment scope; the instance's have no scope. What
else differs: the role that is needed, what a variable is called that is not there, how an update
finds its variable, some limits, and that scopes of groups' variables are not for every tier.
"""

import re
from dataclasses import dataclass, replace

from . import entities
from .answer import Answer, ApiError, forbidden, internal_error, invalid_fields, not_found, to_json
from .containers import MAINTAINER, OWNER, find_container
from .pagination import Page
from .routing import READ, WRITE, route
from .store import Variable

_TYPES = ("env_var", "file")
_FLAGS = ("protected", "masked", "raw")

# A masked value is looked for in job logs, so it must be one line and not too common. Which
# other characters are allowed depends on whether `$` in it would be expanded.
_MASKABLE = re.compile(r"[A-Za-z0-9_+=/@:.~-]{8,}")
_MASKABLE_RAW = re.compile(r"\S{8,}", re.ASCII)

_KEY = re.compile(r"[A-Za-z0-9_]+")
_SCOPE = re.compile(r"[A-Za-z0-9_/\\${}. *-]+")
_MAX_LENGTH = 255
_TOO_LONG = "is too long (maximum is %d characters)" % _MAX_LENGTH
_MAX_INSTANCE_VALUE = {"env_var": 10_000, "file": 50_000}


@dataclass(frozen=True)
class Kind:
    """What is particular to the variables of a kind of owner."""
    path: str         # of the collection
    noun: str         # in a 404
    limited: str      # in the complaint about too many
    role: int = 0     # that the caller needs; 0: administrators only
    scoped: bool = True


_KINDS = {
    "project": Kind("/projects/*id/variables", "Variable", "project ci variables", MAINTAINER),
    "group": Kind("/groups/*id/variables", "GroupVariable", "group ci variables", OWNER),
    "instance": Kind("/admin/ci/variables", "InstanceVariable", "ci instance level variables",
                     scoped=False),
}


def _routes(name, kind):
    member = kind.path + "/*key"
    admin = not kind.role

    @route("GET", kind.path, READ, admin=admin)
    def index(request):
        owner = _owner(request, name)
        page = Page(request.params)
        request.params.check()
        return page.answer(request, owner.variables, lambda rows: to_json(
            [entities.variable(row, kind.scoped) for row in rows]))

    @route("GET", member, READ, admin=admin)
    def show(request):
        return _answer(200, kind, _find(request, _owner(request, name)))

    @route("POST", kind.path, WRITE, admin=admin)
    def create(request):
        return _create(request, _owner(request, name))

    @route("PUT", member, WRITE, admin=admin)
    def update(request):
        return _update(request, _owner(request, name))

    @route("DELETE", member, WRITE, admin=admin)
    def delete(request):
        owner = _owner(request, name)
        request.sim.store.remove_variable(owner, _find(request, owner))
        return Answer.no_content()


for _name, _kind in _KINDS.items():
    _routes(_name, _kind)


def _owner(request, kind):
    """The one in the path, if the caller may manage its variables. All this is checked before
    GitLab looks at parameters."""
    if kind == "instance":
        return request.sim.store.instance
    owner, level = find_container(request, kind)
    if level < _KINDS[kind].role:
        raise forbidden()
    return owner


def _answer(status, kind, variable):
    return Answer.json(status, entities.variable(variable, kind.scoped))


# Which variable is meant.


def _find(request, owner):
    found = _matching(request, owner)
    if found is None:
        raise not_found(_KINDS[owner.kind].noun)
    return found


def _find_to_update(request, owner):
    """GitLab is lenient with groups, whose variables had no scopes at first: without a filter,
    and even where the filter finds nothing, the first variable of this key is changed."""
    if owner.kind != "group":
        return _find(request, owner)
    found = _matching(request, owner) if "filter" in request.params else None
    if found is None:
        found = next((v for v in owner.variables if v.key == request.args["key"]), None)
    if found is None:
        raise not_found(_KINDS[owner.kind].noun)
    return found


def _matching(request, owner):
    found = [v for v in owner.variables if v.key == request.args["key"]]
    scope = _scope_filter(request.params, owner)
    if scope:
        found = [v for v in found if v.environment_scope == scope]
    if len(found) > 1:
        raise ApiError(409, {"message": "There are multiple variables with provided parameters. "
                                        "Please use 'filter[environment_scope]'"})
    return found[0] if found else None


def _scope_filter(params, owner):
    value = params.get("filter")
    if value is None or owner.kind == "instance":
        return None
    if isinstance(value, dict):
        return value.get("environment_scope")
    if owner.kind == "group":
        raise internal_error()  # GitLab does not check it there
    params.complain("filter is invalid")
    params.check()


# Writing.


def _create(request, owner):
    sim, params, kind = request.sim, request.params, _KINDS[owner.kind]
    key, value = params.required_string("key"), params.required_string("value")
    fields = _sent_fields(request, owner)
    together = kind.scoped and params.boolean("masked_and_hidden")
    params.check()
    fields |= {"key": (key or "").strip(), "value": value}
    if together:
        fields |= {"masked": True, "hidden": True}
    errors = _complaints(owner, Variable(id=None, **fields))
    limit = getattr(sim.settings, owner.kind + "_variable_limit")
    if not errors and len(owner.variables) >= limit:
        errors["base"] = ["Maximum number of %s (%d) exceeded" % (kind.limited, limit)]
    _store_unless(errors, owner, fields)
    return _answer(201, kind, sim.store.add_variable(owner, **fields))


def _update(request, owner):
    """Changes what was sent. The key stays, and so does `hidden`."""
    changes = _sent_fields(request, owner)
    request.params.check()
    variable = _find_to_update(request, owner)
    _store_unless(_complaints(owner, replace(variable, **changes), variable), owner, changes)
    request.sim.store.update_variable(variable, **changes)
    return _answer(200, _KINDS[owner.kind], variable)


def _sent_fields(request, owner):
    params, kind = request.params, _KINDS[owner.kind]
    fields = {
        "value": params.string("value"),
        "variable_type": params.one_of("variable_type", _TYPES),
        "protected": params.boolean("protected"),
        "masked": params.boolean("masked"),
        "raw": params.boolean("raw"),
        "environment_scope": (params.string("environment_scope") or "").strip(),
        "description": params.string("description"),
    }
    if not kind.scoped or owner.kind == "group" and not _group_scopes(request.sim):
        del fields["environment_scope"]  # without a word
    if fields["variable_type"] is None:
        del fields["variable_type"]
    return {name: value for name, value in fields.items() if name in params}


def _group_scopes(sim):
    return sim.settings.group_variable_scopes and sim.settings.tier != "free"


def _store_unless(errors, owner, fields):
    """400 for what the model refuses, and 500 for what only the database does. A null flag of an
    instance variable becomes false."""
    if errors:
        raise invalid_fields(errors)
    for name in _FLAGS:
        if name in fields and fields[name] is None:
            if owner.kind != "instance":
                raise internal_error()
            fields[name] = False
    if owner.kind == "group" and len(fields.get("environment_scope", "")) > _MAX_LENGTH:
        raise internal_error()


def _complaints(owner, new, old=None):
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
    if owner.kind == "instance":
        limit = _MAX_INSTANCE_VALUE[new.variable_type]
        complain_if(len(new.value or "") > limit, "value", (
            "The value of the provided variable exceeds the %d character limit" % limit))
    complain_if(old and old.hidden and not new.masked, "base", (
        "The visibility setting cannot be changed for masked and hidden variables."))
    return errors
