"""The control interface: how tests set the stage and look behind the scenes.

JSON without authentication, below /-/sim. `simctl` is its client, README.md its reference.
"""

import re
from dataclasses import fields, replace

from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from . import control_fields
from .clock import SECOND, parse_date_time, print_date_time_exactly
from .faults import Fault
from .hooks import Hook
from .store import Settings, Variable

_SETTINGS = {f.name for f in fields(Settings)}
_VARIABLE_FIELDS = {f.name for f in fields(Variable)} - {"id"}


class Control:
    def __init__(self, sim, api, open_connections):
        self._sim = sim
        self._api = api
        self._open_connections = open_connections
        self._router = Router([
            Route("/reset", _json(self._reset), methods=["POST"]),
            Route("/status", _json(self._show_status)),
            Route("/settings", _json(self._show_settings)),
            Route("/settings", _json(self._change_settings), methods=["POST"]),
            Route("/clock", _json(self._set_clock), methods=["POST"]),
            Route("/latency", _json(self._set_latency), methods=["POST"]),
            Route("/tokens", _json(self._list_tokens)),
            Route("/tokens", _json(self._add_token), methods=["POST"]),
            Route("/tokens/{id:int}", _json(self._change_token), methods=["PATCH"]),
            Route("/tokens/{id:int}", _json(self._remove_token), methods=["DELETE"]),
            Route("/users", _json(self._list_users)),
            Route("/users", _json(self._add_user), methods=["POST"]),
            Route("/users/{id:int}", _json(self._change_user), methods=["PATCH"]),
            Route("/users/{id:int}", _json(self._remove_user), methods=["DELETE"]),
            Route("/variables", _json(self._list_variables)),
            Route("/variables", _json(self._put_variable), methods=["POST"]),
            Route("/variables", _json(self._remove_variable), methods=["DELETE"]),
            Route("/faults", _json(self._list_faults)),
            Route("/faults", _json(self._add_fault), methods=["POST"]),
            Route("/faults", _json(self._clear_faults), methods=["DELETE"]),
            Route("/hooks", _json(self._list_hooks)),
            Route("/hooks", _json(self._add_hook), methods=["POST"]),
            Route("/hooks", _json(self._clear_hooks), methods=["DELETE"]),
            Route("/journal", _json(self._show_journal)),
            Route("/journal", _json(self._clear_journal), methods=["DELETE"]),
            Route("/count", _json(self._count)),
        ])

    async def __call__(self, scope, receive, send):
        path = scope["path"].removeprefix(self._sim.prefix + "/-/sim") or "/"
        await self._router(dict(scope, path=path), receive, send)

    # The instance.

    def _reset(self, spec, _request):
        self._sim.reset(**_known(spec, {"version", "tokens", "users"}))

    def _show_status(self, _spec, _request):
        sim = self._sim
        return {"version": sim.version.short, "now": print_date_time_exactly(sim.clock.now()),
                "tokens": len(sim.store.tokens), "users": len(sim.store.users),
                "in_flight": self._api.in_flight, "connections": self._open_connections()}

    def _show_settings(self, _spec, _request):
        return {name: getattr(self._sim.settings, name) for name in sorted(_SETTINGS)}

    def _change_settings(self, spec, request):
        for name, value in _known(spec, _SETTINGS).items():
            if type(getattr(Settings, name)) is bool and type(value) is not bool:
                raise ValueError("%s is true or false" % name)
        self._sim.settings = replace(self._sim.settings, **spec)
        return self._show_settings(spec, request)

    def _set_clock(self, spec, _request):
        clock = self._sim.clock
        spec = _known(spec, {"now", "advance", "running"})
        if "now" in spec and spec["now"] is None:
            clock.back_to_real_time()
        elif "now" in spec:
            instant = parse_date_time(spec["now"])
            (clock.run_from if spec.get("running") else clock.freeze)(instant)
        clock.advance(int(spec.get("advance", 0) * SECOND))
        return {"now": print_date_time_exactly(clock.now())}

    def _set_latency(self, spec, _request):
        self._sim.latency = _known(spec, {"ms"})["ms"] / 1000

    # What it knows.

    def _list_tokens(self, _spec, request):
        tokens = self._sim.store.tokens
        ids = [int(n) for n in request.query_params.getlist("id")]
        rows = [tokens[n] for n in ids if n in tokens] if ids else self._sim.store.all_tokens()
        return [self._token(row) for row in rows]

    def _add_token(self, spec, _request):
        return self._token(self._sim.add_token(spec))

    def _change_token(self, spec, request):
        token = self._sim.store.tokens[request.path_params["id"]]
        self._sim.store.update_token(token, **control_fields.token_fields(spec))
        return self._token(token)

    def _remove_token(self, _spec, request):
        self._sim.store.remove_token(self._sim.store.tokens[request.path_params["id"]])

    def _token(self, row):
        owner = self._sim.store.users[row.user_id].username
        return control_fields.show_token(row, self._sim.today()) | {"username": owner}

    def _list_users(self, _spec, _request):
        return [control_fields.show_user(row) for row in self._sim.store.users.values()]

    def _add_user(self, spec, _request):
        return control_fields.show_user(self._sim.add_user(spec))

    def _change_user(self, spec, request):
        user = self._sim.store.users[request.path_params["id"]]
        self._sim.store.update_user(user, **control_fields.user_fields(spec))
        return control_fields.show_user(user)

    def _remove_user(self, _spec, request):
        self._sim.store.remove_user(self._sim.store.users[request.path_params["id"]])

    def _list_variables(self, _spec, _request):
        store = self._sim.store
        return [self._variable(owner, row)
                for owners in (store.projects, store.groups) for owner in owners.values()
                for row in owner.variables]

    def _variable(self, owner, row):
        token = self._sim.store.token_by_value(row.value)
        return ({"owner": owner.kind + " " + owner.full_path,
                 "token_id": token.id if token else None}
                | {name: getattr(row, name) for name in sorted(_VARIABLE_FIELDS)})

    def _put_variable(self, spec, _request):
        """Creates the variable or changes it."""
        owner, row, spec = self._find_variable(spec)
        spec = _known(spec, _VARIABLE_FIELDS)
        if "value" in spec:
            spec["value"] = str(spec["value"])
        if row is None:
            row = self._sim.store.add_variable(owner, **spec)
        for name, value in spec.items():
            setattr(row, name, value)
        return self._variable(owner, row)

    def _remove_variable(self, spec, _request):
        owner, row, _ = self._find_variable(spec)
        owner.variables.remove(row)

    def _find_variable(self, spec):
        spec = dict(spec)
        kind = "project" if "project" in spec else "group"
        owner = self._sim.store.namespace(kind, str(spec.pop(kind)))
        if owner is None:
            raise ValueError("no such %s" % kind)
        scope = spec.get("environment_scope", "*")
        row = next((v for v in owner.variables
                    if v.key == spec["key"] and v.environment_scope == scope), None)
        return owner, row, spec

    # Faults and hooks.

    def _add_fault(self, spec, _request):
        return {"id": self._sim.faults.rules.add(Fault(dict(spec)))}

    def _list_faults(self, _spec, _request):
        return self._sim.faults.rules.describe()

    def _clear_faults(self, _spec, _request):
        self._sim.faults.clear()

    def _add_hook(self, spec, _request):
        return {"id": self._sim.hooks.add(Hook(dict(spec)))}

    def _list_hooks(self, _spec, _request):
        return self._sim.hooks.describe()

    def _clear_hooks(self, _spec, _request):
        self._sim.hooks.clear()

    # The journal.

    def _show_journal(self, _spec, request):
        return self._found(request)

    def _clear_journal(self, _spec, _request):
        self._sim.journal.clear()

    def _count(self, _spec, request):
        return {"count": len(self._found(request))}

    def _found(self, request):
        query = request.query_params
        return self._sim.journal.find(query.get("method"), query.get("path"))


def _known(spec, names):
    unknown = spec.keys() - names
    if unknown:
        raise ValueError("unknown fields: %s" % ", ".join(sorted(unknown)))
    return spec


def _json(handler):
    """An endpoint out of a function from a JSON object to JSON, or to None: 204."""
    async def endpoint(request):
        try:
            spec = await request.json() if await request.body() else {}
            result = handler(spec, request)
        except KeyError as error:
            return JSONResponse({"error": "there is no %s" % error}, 404)
        except (ValueError, TypeError, re.error) as error:
            return JSONResponse({"error": str(error)}, 400)
        return Response(status_code=204) if result is None else JSONResponse(result)

    return endpoint
