"""The simulated instance as a whole, and its reset."""

from zoneinfo import ZoneInfo

from . import bots, control_fields, fixture
from .clock import Clock, local_day, print_date_time
from .dates import DAY
from .faults import Faults
from .journal import Journal
from .rules import Rules
from .store import Settings, Store
from .throttle import Throttle
from .version import Version


class Simulator:
    def __init__(self, version, prefix, dates, jitter=None):
        """`dates` of the fixture's tokens: "today", around it, or "fixed". `jitter` draws the
        seconds that the next request waits before anything else happens to it; a reset does
        not end it."""
        self.prefix = prefix
        self.jitter = jitter
        self._default_dates = dates
        self._default_version = version
        self.clock = Clock()
        self.faults = Faults(Rules())
        self.hooks = Rules()
        self.resets = 0
        self.reset()

    def reset(self, version=None, dates=None, empty=False, **additions):
        """Back to the fixture, with so many users, tokens and so on in addition, or to
        nothing."""
        self.version = Version(version or self._default_version)
        self.settings = Settings()
        self.clock.back_to_real_time()
        if (dates or self._default_dates) == "today":
            additions["today"] = self.today()
        self.store = Store() if empty else fixture.build(**additions)
        self._last_night = None
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

    @property
    def zone(self):
        return ZoneInfo(self.settings.time_zone)

    @property
    def host(self):
        """The name alone, of the host in links."""
        return self.external_url.partition("://")[2].partition("/")[0].partition(":")[0]

    def today(self):
        """The date in the instance's zone: what `state` and the bounds of expiry go by."""
        return local_day(self.clock.now(), self.zone)

    def utc_today(self):
        """What the field `active` and authentication go by: tokens die at midnight UTC."""
        return self.clock.now() // DAY

    def nightly(self):
        """What GitLab does after midnight, if there has been one."""
        today = self.today()
        if today != self._last_night:
            self._last_night = today
            bots.clean_up(self)

    def print_time(self, instant):
        return print_date_time(instant, self.zone)

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
        fields["members"] = members
        if "full_path" in fields:
            self.store.rename_namespace(namespace, fields.pop("full_path"))
        self.store.update_namespace(namespace, **fields)
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
        if spec.pop("instance", False):
            owner = self.store.instance
        else:
            kind = "project" if "project" in spec else "group"
            owner = self.namespace(kind, spec.pop(kind))
        fields = control_fields.variable_fields(spec)
        return owner, owner.variable(fields["key"], fields.get("environment_scope", "*")), fields
