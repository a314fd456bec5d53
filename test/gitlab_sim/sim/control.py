"""The control interface: how tests set the stage and look behind the scenes.

JSON without authentication, below /-/sim. `simctl` is its client, README.md its reference.
"""

import re
from dataclasses import fields, replace
from functools import partial
from zoneinfo import available_timezones

from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from . import control_fields
from .clock import print_date_time_exactly
from .dates import SECOND, parse_date_time
from .faults import Fault
from .hooks import Hook
from .store import Settings

_SETTINGS = {f.name for f in fields(Settings)}


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
            Route("/next_ids", _json(self._set_next_ids), methods=["POST"]),
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
            *self._namespace_routes("project"),
            *self._namespace_routes("group"),
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

    def _namespace_routes(self, kind):
        """A project or group is named by its id or its path."""
        collection = "/%ss" % kind
        member = collection + "/{ref:path}"
        return [
            Route(collection, _json(partial(self._list_namespaces, kind))),
            Route(collection, _json(partial(self._add_namespace, kind)), methods=["POST"]),
            Route(member, _json(partial(self._change_namespace, kind)), methods=["PATCH"]),
            Route(member, _json(partial(self._remove_namespace, kind)), methods=["DELETE"]),
        ]

    async def __call__(self, scope, receive, send):
        path = scope["path"].removeprefix(self._sim.prefix + "/-/sim") or "/"
        await self._router(dict(scope, path=path), receive, send)

    # The instance.

    def _reset(self, spec, _request):
        self._sim.reset(**_known(spec, {"version", "dates", "empty", "tokens", "users",
                                        "projects", "groups", "accounts", "variables"}))

    def _show_status(self, _spec, _request):
        sim = self._sim
        return {"version": sim.version.short, "now": print_date_time_exactly(sim.clock.now()),
                "tokens": len(sim.store.tokens), "users": len(sim.store.users),
                "in_flight": self._api.in_flight, "late": self._api.late,
                "connections": self._open_connections()}

    def _show_settings(self, _spec, _request):
        return {name: getattr(self._sim.settings, name) for name in sorted(_SETTINGS)}

    def _change_settings(self, spec, request):
        for name, value in _known(spec, _SETTINGS).items():
            if type(getattr(Settings, name)) is bool and type(value) is not bool:
                raise ValueError("%s is true or false" % name)
        if spec.get("time_zone", "UTC") not in available_timezones():
            raise ValueError("there is no time zone %s" % spec["time_zone"])
        if spec.get("tier", "free") not in ("free", "premium"):
            raise ValueError("a tier is free or premium")
        self._sim.settings = replace(self._sim.settings, **spec)
        return self._show_settings(spec, request)

    def _set_next_ids(self, spec, _request):
        self._sim.store.continue_with_ids(**_known(spec, {"users", "tokens"}))

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
        return control_fields.show_token(row, self._sim.utc_today()) | {"username": owner}

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

    def _list_namespaces(self, kind, _spec, _request):
        store = self._sim.store
        namespaces = store.projects if kind == "project" else store.groups
        return [self._namespace(row) for row in namespaces.values()]

    def _add_namespace(self, kind, spec, _request):
        return self._namespace(self._sim.add_namespace(kind, spec))

    def _change_namespace(self, kind, spec, request):
        return self._namespace(
            self._sim.change_namespace(kind, request.path_params["ref"], spec))

    def _remove_namespace(self, kind, _spec, request):
        self._sim.store.remove_namespace(self._sim.namespace(kind, request.path_params["ref"]))

    def _namespace(self, row):
        users = self._sim.store.users
        return control_fields.show_namespace(row) | {
            "members": {users[user_id].username: level
                        for user_id, level in row.members.items() if user_id in users}}

    def _list_variables(self, _spec, request):
        store = self._sim.store
        rows = [self._variable(owner, row)
                for owner in store.owners_of_variables()
                for row in owner.variables]
        if request.query_params.get("dead"):
            rows = [row for row in rows if row["token_state"] not in (None, "active")]
        return rows

    def _variable(self, owner, row):
        token = self._sim.store.token_by_value(row.value)
        return ({"owner": (owner.kind + " " + owner.full_path).strip(),
                 "token_id": token.id if token else None,
                 "token_state": token.state(self._sim.utc_today()) if token else None}
                | control_fields.show_variable(row))

    def _put_variable(self, spec, _request):
        """Creates the variable or changes it."""
        return self._variable(*self._sim.put_variable(spec))

    def _remove_variable(self, spec, _request):
        self._sim.remove_variable(spec)

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
    control_fields.refuse_unknown(spec, names)
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
