"""Fields of users, tokens, projects, groups and variables, as control requests write them and
control answers show them."""

from dataclasses import fields

from .clock import print_date_time_exactly
from .dates import parse_date, parse_date_time, print_date
from .store import Namespace, Token, User, Variable

_INSTANTS = {"created_at", "updated_at", "last_used_at", "last_sign_in_at", "last_activity_at"}
_DATES = {"expires_at", "last_activity_on"}
_TEXTS = {"name", "description", "token", "username", "email", "key", "value",
          "environment_scope"}


def _names(model):
    return {f.name for f in fields(model)} - {"json"}


_TOKEN_FIELDS, _USER_FIELDS = _names(Token), _names(User)
_VARIABLE_FIELDS = _names(Variable) - {"id"}
_NAMESPACE_FIELDS = _names(Namespace) - {"kind", "full_path", "variables", "former_paths"}


def refuse_unknown(spec, known):
    unknown = spec.keys() - known
    if unknown:
        raise ValueError("unknown fields: %s" % ", ".join(sorted(unknown)))


def token_fields(spec):
    spec = dict(spec)
    if isinstance(spec.get("scopes"), str):
        spec["scopes"] = spec["scopes"].split(",")
    if "granular_scopes" in spec:
        spec["granular_scopes"] = [{"project_id": None, "group_id": None} | scope
                                   for scope in spec["granular_scopes"]]
    return _parse(spec, _TOKEN_FIELDS)


def user_fields(spec):
    return _parse(spec, _USER_FIELDS)


def variable_fields(spec):
    return _parse(spec, _VARIABLE_FIELDS)


def namespace_fields(spec):
    fields = _parse(spec, _NAMESPACE_FIELDS | {"path"})
    if "path" in spec:
        fields["full_path"] = str(fields.pop("path"))
    return fields


def show_namespace(row):
    return _show(row, _NAMESPACE_FIELDS) | {"path": row.full_path,
                                            "former_paths": row.former_paths}


def show_variable(row):
    return _show(row, _VARIABLE_FIELDS)


def show_token(row, today):
    return _show(row, _TOKEN_FIELDS) | {"state": row.state(today)}


def show_user(row):
    return _show(row, _USER_FIELDS)


def _parse(spec, known):
    refuse_unknown(spec, known)
    parsed = {}
    for name, value in spec.items():
        if value is not None and name in _INSTANTS:
            value = parse_date_time(value)
        elif value is not None and name in _DATES:
            value = parse_date(value)
        elif value is not None and name in _TEXTS:
            value = str(value)  # simctl takes 007 for a number
        parsed[name] = value
    return parsed


def _show(row, names):
    shown = {}
    for name in sorted(names):
        value = getattr(row, name)
        if name in _INSTANTS:
            value = print_date_time_exactly(value)
        elif name in _DATES:
            value = print_date(value)
        shown[name] = value
    return shown
