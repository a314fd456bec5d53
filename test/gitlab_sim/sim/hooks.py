"""What other people do at the same time: changes made right after a request was answered.

They are carried out before the answer leaves, so that the client's next request sees them.
"""

from . import control_fields as fields
from .rules import Rule
from .token_rules import replace


class Hook(Rule):
    def __init__(self, spec):
        super().__init__(spec)
        self._actions = spec.pop("do")
        for action in self._actions:
            if len(action) != 1 or not action.keys() <= _ACTIONS.keys():
                raise ValueError("unknown action %r" % action)
        if spec:
            raise ValueError("unknown fields: %s" % ", ".join(sorted(spec)))

    def run(self, sim):
        self.fired += 1
        for action in self._actions:
            for name, argument in action.items():
                try:
                    _ACTIONS[name](sim, argument)
                except KeyError:
                    pass  # the thing is gone, perhaps by the same hook's previous run

    def describe(self):
        return super().describe() | {"do": self._actions}


def _create(sim, spec):
    sim.add_token(dict(spec))


def _revoke(sim, token_id):
    sim.store.update_token(sim.store.tokens[token_id], revoked=True)


def _remove(sim, token_id):
    sim.store.remove_token(sim.store.tokens[token_id])


def _use(sim, token_id):
    sim.store.update_token(sim.store.tokens[token_id], last_used_at=sim.clock.now())


def _rotate(sim, token_id):
    token = sim.store.tokens[token_id]
    replace(sim, token, token.expires_at)


def _set(sim, spec):
    spec = dict(spec)
    token = sim.store.tokens[spec.pop("id")]
    sim.store.update_token(token, **fields.token_fields(spec))


def _set_variable(sim, spec):
    sim.put_variable(spec)


def _remove_variable(sim, spec):
    sim.remove_variable(spec)


def _set_namespace(kind):
    def action(sim, spec):
        spec = dict(spec)
        sim.change_namespace(kind, spec.pop(kind), spec)
    return action


def _remove_namespace(kind):
    def action(sim, id_or_path):
        sim.store.remove_namespace(sim.namespace(kind, id_or_path))
    return action


_ACTIONS = {"create": _create, "revoke": _revoke, "remove": _remove, "use": _use,
            "rotate": _rotate, "set": _set,
            "set_variable": _set_variable, "remove_variable": _remove_variable,
            "set_project": _set_namespace("project"), "set_group": _set_namespace("group"),
            "remove_project": _remove_namespace("project"),
            "remove_group": _remove_namespace("group")}
