"""What the instance knows at the start and after each reset; README.md lists it.

Tokens expire so many days from the day of the reset, or on fixed dates that are far away, as
tests want them whose output has dates.
"""

from .containers import DEVELOPER, MAINTAINER, OWNER
from .dates import SECOND, day_of, parse_date_time
from .store import Store

_FUTURE, _PAST = day_of(2099, 12, 31), day_of(2020, 6, 30)

_USERS = [
    dict(username="root", name="Administrator", is_admin=True),
    dict(username="alice", name="Alice Archer"),
    dict(username="bob", name="Bob Baker", state="blocked"),
    dict(username="carol", name="Carol Cook", state="deactivated"),
    dict(username="project_1_bot_a1b2c3", name="project bot", bot=True),
    dict(username="group_2_bot_d4e5f6", name="group bot", bot=True),
    dict(username="service_account_deploy", name="Deploy", bot=True, service_account=True,
         provisioned_by_group_id=1),
    dict(username="dave", name="Dave Dunn", external=True),
    dict(username="erin", name="Erin Engel", locked=True),
    dict(username="frank", name="Frank Fox", is_admin=True),
]

_ROOT, _ALICE, _BOB, _CAROL, _PROJECT_BOT, _GROUP_BOT, _DEPLOY, _DAVE, _ERIN, _FRANK = range(1, 11)

_TOKENS = [
    dict(user_id=_ROOT, name="administrator", scopes=["api", "admin_mode", "sudo"],
         token="glpat-sim-admin", expires_in=300),
    dict(user_id=_ALICE, name="alice api", scopes=["api"],
         token="glpat-sim-alice", expires_in=10),
    dict(user_id=_ALICE, name="alice read", scopes=["read_api"],
         token="glpat-sim-alice-read", expires_in=24),
    dict(user_id=_ROOT, name="root no admin mode", scopes=["api"],
         token="glpat-sim-noadminmode", expires_in=150),
    dict(user_id=_ALICE, name="expired", scopes=["api"],
         token="glpat-sim-expired", expires_in=-40),
    dict(user_id=_ALICE, name="revoked", scopes=["api"], revoked=True,
         token="glpat-sim-revoked", expires_in=120),
    dict(user_id=_DAVE, name="no expiry", scopes=["read_user"], description="",
         token="glpat-sim-noexpiry"),
    dict(user_id=_ALICE, name="impersonation", scopes=["api"], impersonation=True,
         token="glpat-sim-impersonation", expires_in=17),
    dict(user_id=_PROJECT_BOT, name="project bot", scopes=["read_repository"],
         token="glpat-sim-projectbot", expires_in=5),
    dict(user_id=_GROUP_BOT, name="group bot", scopes=["read_repository"],
         token="glpat-sim-groupbot", expires_in=28),
    dict(user_id=_DEPLOY, name="service account", scopes=["api"],
         token="glpat-sim-serviceaccount"),
    dict(user_id=_DAVE, name='deploy   key "x"', description="Ünïcödé ✓ <&>",
         scopes=["read_registry", "write_registry"], token="glpat-sim-deploykey",
         expires_in=75, last_used_at=parse_date_time("2024-02-03T04:05:06.789012Z"),
         last_used_ips=["192.0.2.7", "2001:db8::1"]),
    dict(user_id=_ALICE, name="fine-grained", scopes=["granular"], granular=True,
         granular_scopes=[dict(access="user", permissions=["read_personal_access_token"],
                               project_id=None, group_id=None)],
         token="glpat-sim-finegrained", expires_in=90),
    dict(user_id=_FRANK, name="rotator", scopes=["self_rotate"],
         token="glpat-sim-selfrotate", expires_in=200),
    dict(user_id=_FRANK, name="frank admin", scopes=["api", "admin_mode"],
         token="glpat-sim-frank", expires_in=340),
    dict(user_id=_BOB, name="blocked", scopes=["api"],
         token="glpat-sim-blocked", expires_in=45),
]

_GROUPS = [
    (dict(full_path="acme", members={_ALICE: OWNER}), [
        dict(key="GROUP_TOKEN", value="group-token-value", masked=True),
        dict(key="REGION", value="eu-central"),
    ]),
    (dict(full_path="acme/infra", members={_ALICE: OWNER, _GROUP_BOT: MAINTAINER}), [
        dict(key="REGION", value="eu-north", protected=True),
    ]),
]

_PROJECTS = [
    (dict(full_path="acme/app", members={_ALICE: MAINTAINER, _DAVE: DEVELOPER,
                                         _PROJECT_BOT: DEVELOPER}), [
        dict(key="DEPLOY_PAT", value="old-deploy-pat", masked=True),
        dict(key="DATABASE_URL", value="postgres://staging/app"),
        dict(key="DATABASE_URL", value="postgres://production/app", protected=True,
             environment_scope="production"),
        dict(key="HIDDEN_TOKEN", value="hidden-token-value", masked=True, hidden=True),
        dict(key="CONFIG", value="[app]\ndebug = \"no\"\n", variable_type="file", raw=True,
             description="Read at start <&>"),
    ]),
    (dict(full_path="acme/web", members={_ALICE: MAINTAINER}), [
        dict(key="DEPLOY_PAT", value="web-deploy-pat", masked=True),
    ]),
]


def build(today=None, tokens=0, users=0, projects=0, groups=0, accounts=0, variables=0):
    """A store with the fixture, and with so many more users, tokens, projects, groups, service
    accounts of the first group, and variables of the first project and the first group. Without
    `today`, tokens expire on fixed dates."""
    store = Store()
    for n, fields in enumerate(_USERS, start=1):
        store.add_user(email=fields["username"] + "@example.com",
                       created_at=parse_date_time("2024-01-%02d" % n), **fields)
    for n, fields in enumerate(_TOKENS, start=1):
        # The fourth to sixth digit make printed times differ from stored ones.
        created_at = parse_date_time("2024-01-01T00:00:%02d.%03d%03d" % (n, n, 100 * (n % 9) + n))
        fields = dict(fields, expires_at=_expiry(fields.get("expires_in"), today))
        fields.pop("expires_in", None)
        store.add_token(created_at=created_at, updated_at=created_at, **fields)
    for kind, namespaces in (("group", _GROUPS), ("project", _PROJECTS)):
        for fields, its_variables in namespaces:
            namespace = store.add_namespace(
                kind, **{**fields, "members": dict(fields["members"])})
            for variable in its_variables:
                store.add_variable(namespace, **variable)
    _seed_users(store, users)
    _seed_tokens(store, tokens, today)
    _seed_projects(store, projects)
    _seed_groups(store, groups)
    _seed_accounts(store, accounts, today)
    for owner in (store.projects[1], store.groups[1]):
        _seed_variables(store, owner, variables)
    return store


def _expiry(days, today):
    if days is None:
        return None
    if today is not None:
        return today + days
    return _FUTURE if days > 0 else _PAST


def _seed_users(store, count):
    first = parse_date_time("2024-02-01")
    for n in range(1, count + 1):
        store.add_user(
            id=len(_USERS) + n, username="user%05d" % n, name="User %05d" % n,
            email="user%05d@example.com" % n, created_at=first + n * 60 * SECOND,
            last_sign_in_at=first + n * 3600 * SECOND if n % 2 else None,
            last_activity_on=day_of(2024, 3, 1) + n % 300 if n % 3 else None)


def _seed_tokens(store, count, today):
    """Deterministic, and of every ten: one revoked, two expired, one that never expires."""
    scopes = [["api"], ["read_api"], ["read_user", "read_repository"], ["write_repository"],
              ["read_registry", "write_registry"]]
    owners = list(store.users)
    first = parse_date_time("2024-03-01")
    for n in range(1, count + 1):
        digit = n % 10
        created_at = first + n * 60 * SECOND + n * 7919 % SECOND
        if digit == 9:
            expires_at = None
        elif digit in (2, 6):
            expires_at = day_of(2021, 1, 1) + n % 730 if today is None else today - n % 730
        else:
            expires_at = day_of(2090, 1, 1) + n % 730 if today is None else today + 1 + n % 365
        used = n % 3 != 0
        store.add_token(
            user_id=owners[(n - 1) % len(owners)], name="token %05d" % n,
            scopes=scopes[n % len(scopes)], token="glpat-sim-%05d" % n, created_at=created_at,
            updated_at=created_at, revoked=digit == 3, expires_at=expires_at,
            description=None if n % 4 else "number %d" % n,
            last_used_at=created_at + (n % 1000 + 1) * 3600 * SECOND if used else None,
            last_used_ips=["192.0.2.%d" % (n % 250 + 1)] if used else [])


def _seed_groups(store, count):
    """Below the first one."""
    for n in range(1, count + 1):
        store.add_namespace("group", full_path="acme/group%05d" % n)


def _seed_accounts(store, count, today):
    """Service accounts of the first group, each with a token."""
    created_at = parse_date_time("2024-02-01")
    for n in range(1, count + 1):
        username = "service_account_group_1_%05d" % n
        account = store.add_user(
            username=username, name="Service account %05d" % n, email=username + "@example.com",
            bot=True, service_account=True, external=True, provisioned_by_group_id=1,
            created_at=created_at)
        store.add_token(user_id=account.id, name="account token %05d" % n, scopes=["read_api"],
                        token="glpat-sim-account-%05d" % n, created_at=created_at,
                        updated_at=created_at, expires_at=_expiry(n % 365 + 1, today))


def _seed_projects(store, count):
    """Each with one variable."""
    for n in range(1, count + 1):
        project = store.add_namespace("project", full_path="acme/project%05d" % n,
                                      members={_ALICE: MAINTAINER})
        store.add_variable(project, key="DEPLOY_PAT", value="project-%05d-pat" % n, masked=True)


def _seed_variables(store, owner, count):
    """Deterministic; each third key occurs in two scopes."""
    for n in range(1, count + 1):
        second = n % 3 == 2
        store.add_variable(
            owner, key="VARIABLE_%05d" % (n - second), value="value-%05d" % n,
            environment_scope="production" if second else "*", masked=n % 2 == 0,
            protected=n % 5 == 0, raw=n % 7 == 0, variable_type="env_var" if n % 4 else "file",
            description=None if n % 4 else "number %d" % n)
