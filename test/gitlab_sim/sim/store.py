"""What the simulated instance knows: users, tokens, CI/CD variables, and its settings.

All writes go through the store's methods, which keep the indexes and drop cached JSON. Results
of filters are remembered until something is written, so that a listing that is read page by
page is filtered once.
"""

import secrets
from bisect import insort
from dataclasses import dataclass, field

from .dates import parse_date_time


CREATED_AT = parse_date_time("2024-01-01")  # of what does not say when it was made


@dataclass(slots=True)
class User:
    id: int
    username: str
    name: str
    email: str
    created_at: int
    state: str = "active"
    locked: bool = False
    bot: bool = False
    service_account: bool = False
    external: bool = False
    is_admin: bool = False
    last_sign_in_at: int | None = None
    last_activity_on: int | None = None
    # Of a service account: the group or project that made it, if it is not the instance's.
    provisioned_by_group_id: int | None = None
    provisioned_by_project_id: int | None = None
    enterprise_group_id: int | None = None  # the group on gitlab.com that the user belongs to
    json: dict = field(default_factory=dict, repr=False)  # cache: variant -> bytes

    @property
    def human(self):
        return not self.bot

    @property
    def project_bot(self):
        """The owner of a project's or a group's token; GitLab has one type for both."""
        return self.bot and not self.service_account


@dataclass(slots=True)
class Token:
    id: int
    user_id: int
    name: str
    scopes: list
    token: str
    created_at: int
    description: str | None = None
    revoked: bool | None = False  # null in very old rows
    expires_at: int | None = None
    last_used_at: int | None = None
    last_used_ips: list = field(default_factory=list)
    impersonation: bool = False
    granular: bool = False
    granular_scopes: list = field(default_factory=list)
    previous_id: int | None = None  # the token that this one replaced by rotation
    updated_at: int | None = None
    json: tuple | None = field(default=None, repr=False)  # cache: (for what, bytes)

    def expired(self, today):
        return self.expires_at is not None and self.expires_at <= today

    def active(self, today):
        return not self.revoked and not self.expired(today)

    def state(self, today):
        return "revoked" if self.revoked else "expired" if self.expired(today) else "active"


@dataclass(slots=True)
class Variable:
    id: int
    key: str
    value: str | None
    variable_type: str = "env_var"
    protected: bool = False
    masked: bool = False
    hidden: bool = False
    raw: bool = False
    environment_scope: str = "*"
    description: str | None = None


@dataclass(slots=True)
class Namespace:
    """A project, a group or the instance: something that has CI/CD variables and members."""
    kind: str  # "project", "group" or "instance"
    id: int
    full_path: str
    members: dict = field(default_factory=dict)  # user id -> access level
    variables: list = field(default_factory=list)  # by id
    former_paths: list = field(default_factory=list)
    visibility: str = "private"
    archived: bool = False
    created_at: int = CREATED_AT
    last_activity_at: int = CREATED_AT
    token_creation_allowed: bool = True  # of a top-level group: bots' tokens below it
    name: str | None = None  # like the path, unless it is given

    def __post_init__(self):
        if self.name is None:
            self.name = self.path

    @property
    def path(self):
        """The last part of the full one."""
        return self.full_path.rpartition("/")[2]

    def has_path(self, path):
        return self.full_path.lower() == path.lower()

    @property
    def top_level(self):
        return "/" not in self.full_path

    @property
    def noreply_prefix(self):
        """Of the names of the bots and accounts in it."""
        return "%s_%d" % (self.kind, self.id)

    def contains(self, other):
        return self.kind == "group" and other.full_path.lower().startswith(
            self.full_path.lower() + "/")

    def variable(self, key, environment_scope):
        return next((v for v in self.variables
                     if v.key == key and v.environment_scope == environment_scope), None)


@dataclass
class Settings:
    """Instance settings, and knobs that have no counterpart in GitLab but help tests."""
    admin_mode: bool = False
    require_expiry: bool = True
    max_lifetime_days: int = 365
    time_zone: str = "UTC"               # of the instance, any name of the IANA database
    impersonation_enabled: bool = True
    granular_tokens_enforced: bool = False  # people get no other tokens
    last_used_ips: bool = True           # the flag behind which GitLab shows them
    tier: str = "premium"                # or "free"
    saas: bool = False                   # gitlab.com, whose groups have credentials inventories
    group_owners_manage_accounts: bool = True  # Owners, not only administrators
    service_account_expiry_enforced: bool = True
    deletes_accounts: bool = True        # false: a deletion never comes to its end
    keep_inactive_bots_days: int | None = 30  # after the last token died; None: for ever
    resource_tokens_without_expiry: bool = False  # a flag: no date in the request means none
    group_variable_scopes: bool = True   # false: without the paid tier that has them
    project_variable_limit: int = 8_000
    group_variable_limit: int = 30_000
    instance_variable_limit: int = 25
    read_only: bool = False
    track_usage: bool = False            # off, so that last_used_at stays what a test made it
    external_url: str | None = None      # what Link headers start with; None: a foreign host
    rate_limit: dict | None = None       # {"limit": requests, "period": seconds} per user
    rate_limit_headers: bool = True      # RateLimit-* with every answer, as gitlab.com does
    user_lookup_limit: int = 300         # GET /users/:id per 10 minutes, non-administrators
    count_limit: int = 10_000            # above it, answers carry no totals
    offset_limit: int = 50_000           # of lists that have keyset pages; 0: none
    create_permitted: bool = True        # false: 422 "Not permitted to create"
    revoke_permitted: bool = True        # false: 400 even for administrators


class Store:
    """Users, tokens, projects and groups, with the indexes that lookups and lists need."""

    # Results of filters kept at a time; a test suite reads a few lists concurrently.
    CACHED_RESULTS = 64

    def __init__(self):
        self.users = {}
        self.tokens = {}
        self.projects = {}
        self.groups = {}
        self.instance = Namespace("instance", 0, "")  # what has the instance's variables
        self._users_by_username = {}
        self._tokens_by_value = {}
        self._tokens_in_order = []
        self._tokens_by_user = {}
        self._last_token_id = 0
        self._last_user_id = 0
        self._last_variable_id = 0
        self._last_namespace_ids = {"project": 0, "group": 0}
        self._results = {}

    def cached(self, key, compute):
        """compute(), remembered under the key until something is written."""
        rows = self._results.get(key)
        if rows is None:
            if len(self._results) >= self.CACHED_RESULTS:
                self._results.clear()
            rows = self._results[key] = compute()
        return rows

    def _written(self):
        self._results.clear()

    def continue_with_ids(self, users=None, tokens=None):
        """The ids of the next user and the next token."""
        if users is not None:
            self._last_user_id = users - 1
        if tokens is not None:
            self._last_token_id = tokens - 1

    # Users.

    def add_user(self, **fields):
        fields.setdefault("id", self._last_user_id + 1)
        user = User(**fields)
        if user.id in self.users:
            raise ValueError("there is a user %d already" % user.id)
        self._last_user_id = max(self._last_user_id, user.id)
        self.users[user.id] = user
        self._users_by_username[user.username.lower()] = user
        self._written()
        return user

    def update_user(self, user, /, **fields):
        self._users_by_username.pop(user.username.lower(), None)
        for name, value in fields.items():
            setattr(user, name, value)
        user.json.clear()
        self._users_by_username[user.username.lower()] = user
        self._written()

    def remove_user(self, user):
        """With all tokens, physically: what GitLab does some time after a deletion."""
        for token in list(self.tokens_of(user.id)):
            self.remove_token(token)
        for namespace in [*self.projects.values(), *self.groups.values()]:
            namespace.members.pop(user.id, None)
        del self.users[user.id]
        self._users_by_username.pop(user.username.lower(), None)
        self._written()

    def user_by_username(self, username):
        return self._users_by_username.get(username.lower())

    # Tokens.

    def add_token(self, **fields):
        """A new token; id, value and so on are chosen unless they are given."""
        fields.setdefault("id", self._last_token_id + 1)
        if fields.get("token") is None:
            fields["token"] = "glpat-" + secrets.token_urlsafe(15)  # 20 characters
        token = Token(**fields)
        if token.id in self.tokens:
            raise ValueError("there is a token %d already" % token.id)
        self.tokens[token.id] = token
        self._tokens_by_value[token.token] = token
        for index in (self._tokens_in_order, self._tokens_by_user.setdefault(token.user_id, [])):
            if index and index[-1].id > token.id:
                insort(index, token, key=_id)
            else:
                index.append(token)
        self._last_token_id = max(self._last_token_id, token.id)
        self._written()
        return token

    def lose_token_id(self):
        """What a sequence does when a transaction is rolled back."""
        self._last_token_id += 1

    def lose_user_id(self):
        """What the users' sequence does then."""
        self._last_user_id += 1

    def update_token(self, token, /, **fields):
        self._tokens_by_value.pop(token.token, None)
        owner = token.user_id
        for name, value in fields.items():
            setattr(token, name, value)
        if token.user_id != owner:
            self._tokens_by_user[owner].remove(token)
            insort(self._tokens_by_user.setdefault(token.user_id, []), token, key=_id)
        self._tokens_by_value[token.token] = token
        token.json = None
        self._written()

    def remove_token(self, token):
        del self.tokens[token.id]
        self._tokens_by_value.pop(token.token, None)
        # New lists, since a page of the old ones may be held by somebody.
        self._tokens_in_order = [t for t in self._tokens_in_order if t is not token]
        self._tokens_by_user[token.user_id] = [
            t for t in self._tokens_by_user[token.user_id] if t is not token]
        self._written()

    def token_by_value(self, value):
        return self._tokens_by_value.get(value)

    def all_tokens(self):
        """All tokens, by id. Not to be changed, like every list that the store returns."""
        return self._tokens_in_order

    def tokens_of(self, user_id):
        return self._tokens_by_user.get(user_id, [])

    def descendants(self, token):
        """The tokens that rotation made out of this one, directly or indirectly."""
        found, ids = [], {token.id}
        for candidate in self.tokens_of(token.user_id):
            if candidate.previous_id in ids:
                found.append(candidate)
                ids.add(candidate.id)
        return found

    # Projects, groups and their variables.

    def add_namespace(self, kind, **fields):
        self._check_path(kind, fields["full_path"])
        fields.setdefault("id", self._last_namespace_ids[kind] + 1)
        namespace = Namespace(kind, **fields)
        if namespace.id in self._namespaces(kind):
            raise ValueError("there is a %s %d already" % (kind, namespace.id))
        self._last_namespace_ids[kind] = max(self._last_namespace_ids[kind], namespace.id)
        self._namespaces(kind)[namespace.id] = namespace
        self._written()
        return namespace

    def update_namespace(self, namespace, /, **fields):
        for name, value in fields.items():
            setattr(namespace, name, value)
        self._written()

    def rename_namespace(self, namespace, path):
        """With all that is in it."""
        if not namespace.has_path(path):
            self._check_path(namespace.kind, path)
        old = namespace.full_path
        for moved in [namespace] + self.contents(namespace):
            moved.former_paths.append(moved.full_path)
            moved.full_path = path + moved.full_path[len(old):]
        self._written()

    def remove_namespace(self, namespace):
        """With all that is in it."""
        for removed in [namespace] + self.contents(namespace):
            del self._namespaces(removed.kind)[removed.id]
        self._written()

    def namespace(self, kind, id_or_path):
        namespaces = self._namespaces(kind)
        if id_or_path.isascii() and id_or_path.isdigit():
            return namespaces.get(int(id_or_path))
        return next((n for n in namespaces.values() if n.has_path(id_or_path)), None)

    def renamed_project(self, path):
        """The project that had this path, the newest of several. GitLab's API has no such thing
        for groups."""
        return next((p for p in reversed(self.projects.values())
                     if path.lower() in map(str.lower, p.former_paths)), None)

    def access_level(self, user_id, namespace):
        """The highest of those in it and in the groups above; 0 for who is no member."""
        above = [g for g in self.groups.values() if g.contains(namespace)]
        return max(n.members.get(user_id, 0) for n in [namespace, *above])

    def parent(self, namespace):
        """The group that it is in, or None."""
        return self.namespace("group", namespace.full_path.rpartition("/")[0])

    def root(self, namespace):
        """The top-level group above it, or itself."""
        return self.namespace("group", namespace.full_path.partition("/")[0]) or namespace

    def bots(self, namespace):
        """The direct members that are bots of access tokens, by id."""
        members = (self.users[user_id] for user_id in sorted(namespace.members)
                   if user_id in self.users)
        return [user for user in members if user.project_bot]

    def namespaces_of(self, user):
        """Where the user is a direct member."""
        return [n for n in [*self.projects.values(), *self.groups.values()]
                if user.id in n.members]

    def contents(self, namespace):
        """The projects and groups in a group."""
        return [n for n in [*self.projects.values(), *self.groups.values()]
                if namespace.contains(n)]

    def _namespaces(self, kind):
        return self.projects if kind == "project" else self.groups

    def _check_path(self, kind, path):
        if kind == "project" and "/" not in path:
            raise ValueError("a project is in a group, so its path has a slash")
        if self.namespace("project", path) or self.namespace("group", path):
            raise ValueError("there is a project or group %s already" % path)

    def owners_of_variables(self):
        return [*self.projects.values(), *self.groups.values(), self.instance]

    def add_variable(self, namespace, **fields):
        self._last_variable_id += 1
        variable = Variable(self._last_variable_id, **fields)
        namespace.variables.append(variable)
        return variable

    def update_variable(self, variable, /, **fields):
        for name, value in fields.items():
            setattr(variable, name, value)

    def remove_variable(self, namespace, variable):
        namespace.variables.remove(variable)


def _id(row):
    return row.id
