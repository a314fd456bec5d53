"""The simulated instance as a whole, and its reset."""

from . import control_fields, fixture
from .clock import Clock
from .faults import Faults
from .journal import Journal
from .rules import Rules
from .store import Settings
from .throttle import Throttle
from .version import Version


class Simulator:
    def __init__(self, version, prefix):
        self.prefix = prefix
        self._default_version = version
        self.clock = Clock()
        self.faults = Faults(Rules())
        self.hooks = Rules()
        self.resets = 0
        self.reset()

    def reset(self, version=None, **additions):
        """Back to the fixture, with so many users, tokens and so on in addition."""
        self.version = Version(version or self._default_version)
        self.store = fixture.build(**additions)
        self.settings = Settings()
        self.clock.back_to_real_time()
        self.latency = 0.0  # seconds
        self.throttle = Throttle()
        self.faults.clear()
        self.hooks.clear()
        self.journal = Journal()
        self.resets += 1

    @property
    def external_url(self):
        """GitLab builds links with the host name in its configuration, which need not be the
        one that clients use. By default, it is not."""
        return self.settings.external_url or "http://gitlab.internal.invalid" + self.prefix

    def today(self):
        return self.clock.today()

    def add_token(self, spec):
        """A token with any fields that a test wants."""
        fields = control_fields.token_fields(spec)
        fields.setdefault("created_at", self.clock.now())
        fields.setdefault("updated_at", fields["created_at"])
        fields.setdefault("name", "token")
        fields.setdefault("user_id", 1)
        fields.setdefault("scopes", ["api"])
        if fields["user_id"] not in self.store.users:
            raise ValueError("no user %s" % fields["user_id"])
        return self.store.add_token(**fields)

    def add_user(self, spec):
        fields = control_fields.user_fields(spec)
        fields.setdefault("name", fields["username"].capitalize())
        fields.setdefault("email", fields["username"] + "@example.com")
        fields.setdefault("created_at", self.clock.now())
        return self.store.add_user(**fields)

    # Projects and groups, which are named by id or path.

    def namespace(self, kind, id_or_path):
        namespace = self.store.namespace(kind, str(id_or_path))
        if namespace is None:
            raise KeyError("%s %s" % (kind, id_or_path))
        return namespace

    def add_namespace(self, kind, spec):
        fields = control_fields.namespace_fields(spec)
        fields["members"] = self._members({}, fields.get("members", {}))
        return self.store.add_namespace(kind, **fields)

    def change_namespace(self, kind, id_or_path, spec):
        """Members are added to those that there are; level 0 removes one."""
        namespace = self.namespace(kind, id_or_path)
        fields = control_fields.namespace_fields(spec)
        members = self._members(namespace.members, fields.get("members", {}))
        if "full_path" in fields:
            self.store.rename_namespace(namespace, fields["full_path"])
        namespace.members = members
        return namespace

    def _members(self, old, changes):
        members = old | {self._user_id(name): level for name, level in changes.items()}
        return {user_id: level for user_id, level in members.items() if level}

    def _user_id(self, id_or_name):
        user = (self.store.users.get(int(id_or_name)) if id_or_name.isdecimal()
                else self.store.user_by_username(id_or_name))
        if user is None:
            raise KeyError("user %s" % id_or_name)
        return user.id

    # Variables, which are named by project or group, key and scope.

    def put_variable(self, spec):
        """Creates it or changes it; returns its owner and itself."""
        owner, variable, fields = self._find_variable(spec)
        if variable is None:
            return owner, self.store.add_variable(owner, **{"value": "", **fields})
        self.store.update_variable(variable, **fields)
        return owner, variable

    def remove_variable(self, spec):
        owner, variable, fields = self._find_variable(spec)
        if variable is None:
            raise KeyError("variable %s" % fields["key"])
        self.store.remove_variable(owner, variable)

    def _find_variable(self, spec):
        spec = dict(spec)
        kind = "project" if "project" in spec else "group"
        owner = self.namespace(kind, spec.pop(kind))
        fields = control_fields.variable_fields(spec)
        return owner, owner.variable(fields["key"], fields.get("environment_scope", "*")), fields
