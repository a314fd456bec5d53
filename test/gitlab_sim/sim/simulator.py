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

    def reset(self, version=None, tokens=0, users=0):
        """Back to the fixture, with so many users and tokens in addition."""
        self.version = Version(version or self._default_version)
        self.store = fixture.build(tokens, users)
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
