"""What holds for access tokens of every kind: parameters, the model's rules, and their life."""

import re

from .answer import bad_request, internal_error, not_found, unprocessable
from .dates import FIRST_DAY, LAST_DAY, print_date

_ROTATED_TOKEN_LIVES = 7  # days, unless the request says otherwise

_MAX_DESCRIPTION = 255
_GRANULAR_ACCESS = ("user", "instance", "all_memberships", "personal_projects",
                    "selected_memberships")
_GRANULAR_PERMISSIONS = re.compile(r"(?:read|create|update|delete|rotate|revoke|admin)_\w+")
_LABELS = {"name": "Name", "scopes": "Scopes", "description": "Description",
           "expires_at": "Expiration date"}


# Parameters.


def token_filters(sim, params):
    """The filters that all lists of tokens have."""
    filters = {
        "revoked": params.boolean("revoked"),
        "state": params.one_of("state", ("active", "inactive")),
        "created_before": params.date_time("created_before"),
        "created_after": params.date_time("created_after"),
        "last_used_before": params.date_time("last_used_before"),
        "last_used_after": params.date_time("last_used_after"),
        "search": params.string("search"),
    }
    if sim.version.filters_by_expiry:
        filters["expires_before"] = params.date("expires_before")
        filters["expires_after"] = params.date("expires_after")
    return filters


def new_token_params(request, scopes=None, granular=False, required=True):
    """`granular`: fine-grained scopes may be given instead of others. With `scopes=()`, any are
    left to the model to complain about."""
    sim, params = request.sim, request.params
    fields = {"name": params.required_string("name")}
    given = [name for name in ("scopes", "granular_scopes") if name in params]
    if granular and len(given) == 2:
        params.complain("scopes, granular_scopes are mutually exclusive")
    elif granular and required and not given:
        params.complain("scopes, granular_scopes are missing, exactly one parameter must be "
                        "provided")
    elif granular and given == ["granular_scopes"]:
        fields.update(scopes=["granular"], granular=True, granular_scopes=_granular_scopes(params))
    else:
        allowed = sim.version.known_scopes if scopes is None else scopes or None
        fields["scopes"] = params.strings("scopes", allowed, required) or []
    fields["description"] = params.string("description")
    fields["expires_at"] = params.date("expires_at")
    return fields


def _granular_scopes(params):
    """As stored: one entry for each project or group."""
    values, stored = params["granular_scopes"], []
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        params.complain("granular_scopes is invalid")
        return stored
    for n, value in enumerate(values):
        if value.get("access") not in _GRANULAR_ACCESS:
            params.complain("granular_scopes[%d][access] does not have a valid value" % n)
            continue
        scope = {"access": value["access"], "permissions": value.get("permissions", []),
                 "project_id": None, "group_id": None}
        boundaries = ([{"project_id": n} for n in value.get("project_ids") or ()]
                      + [{"group_id": n} for n in value.get("group_ids") or ()])
        stored += [scope | boundary for boundary in boundaries or [{}]]
    return stored


def user_by_arg(request):
    user_id = request.integer_arg("user_id")
    request.params.check()
    user = request.sim.store.users.get(user_id)
    if user is None:
        raise not_found("User")
    return user


# The model.


def apply_model(sim, fields, user=None, fill_expiry=True):
    """Completes the fields of a new token for a user and returns the model's complaints by
    field."""
    errors = {}
    if not (fields["name"] or "").strip():
        errors["name"] = "can't be blank"
    if len(fields["description"] or "") > _MAX_DESCRIPTION:
        errors["description"] = "is too long (maximum is %d characters)" % _MAX_DESCRIPTION
    if not fields["scopes"]:
        errors["scopes"] = "can't be blank"
    elif not set(fields["scopes"]) <= sim.version.known_scopes:
        errors["scopes"] = "can only contain available scopes"
    if fields["expires_at"] is None and expiry_required(sim, user):
        if not fill_expiry:
            errors["expires_at"] = "can't be blank"
        else:
            fields["expires_at"] = latest_expiry(sim)
    refusal = check_lifetime(sim, fields["expires_at"], user)
    if refusal:
        errors["expires_at"] = refusal.removeprefix(_LABELS["expires_at"] + " ")
    return errors


def check_granular_scopes(sim, fields):
    """GitLab looks at them after it has made the token, whose id is then lost."""
    if not fields.get("granular"):
        return
    if not fields["granular_scopes"]:
        raise unprocessable("At least one granular scope must be provided")
    permissions = [name for scope in fields["granular_scopes"] for name in scope["permissions"]]
    if not all(isinstance(name, str) and _GRANULAR_PERMISSIONS.fullmatch(name)
               for name in permissions):
        sim.store.lose_token_id()
        raise unprocessable("Permissions must be a valid json schema")


def expiry_required(sim, user):
    """Service accounts have a setting of their own, but not for free."""
    settings = sim.settings
    if user is not None and user.service_account and settings.tier != "free":
        return settings.require_expiry and settings.service_account_expiry_enforced
    return settings.require_expiry


def latest_expiry(sim):
    return sim.today() + sim.settings.max_lifetime_days


def check_lifetime(sim, expires_at, user=None):
    """The bound is inclusive, whatever the text says. There is no lower bound."""
    if expires_at is None or not expiry_required(sim, user):
        return None
    latest = latest_expiry(sim)
    if expires_at <= latest:
        return None
    return "%s must be before %s" % (_LABELS["expires_at"], print_date(latest))


def sentence(errors):
    """The model's complaints by field in one."""
    texts = ["%s %s" % (_LABELS[name], text) for name, text in errors.items()]
    if len(texts) < 3:
        return " and ".join(texts)
    return ", ".join(texts[:-1]) + ", and " + texts[-1]


def check_storable(expires_at):
    """PostgreSQL refuses what its type cannot hold."""
    if expires_at is not None and not FIRST_DAY <= expires_at <= LAST_DAY:
        raise internal_error()


# Life.


def insert(sim, user, fields, **more):
    now = sim.clock.now()
    return sim.store.add_token(user_id=user.id, created_at=now, updated_at=now, **fields, **more)


def rotate(request, token, expires_at):
    """The successor of a token, whose own end comes with it. A bot becomes as external as the
    caller."""
    sim, caller = request.sim, request.caller.user
    user = sim.store.users[token.user_id]
    if token.revoked:
        raise bad_request("Token already revoked")
    if sim.settings.granular_tokens_enforced and not token.granular and user.human:
        raise bad_request("Rotation of legacy personal access tokens is disabled. "
                          "Use a fine-grained token instead.")
    if expires_at is None and expiry_required(sim, user):
        expires_at = sim.today() + min(_ROTATED_TOKEN_LIVES, sim.settings.max_lifetime_days)
    refusal = check_lifetime(sim, expires_at, user)
    if refusal:
        raise bad_request(refusal)
    check_storable(expires_at)
    if user.project_bot and user.external != caller.external:
        sim.store.update_user(user, external=caller.external)
    return replace(sim, token, expires_at)


def replace(sim, token, expires_at):
    """Revokes the token and returns its successor."""
    revoke(sim, token)
    now = sim.clock.now()
    return sim.store.add_token(
        user_id=token.user_id, name=token.name, description=token.description,
        scopes=token.scopes, granular=token.granular, granular_scopes=token.granular_scopes,
        impersonation=token.impersonation, expires_at=expires_at, previous_id=token.id,
        created_at=now, updated_at=now)


def revoke(sim, token):
    if not token.revoked:
        sim.store.update_token(token, revoked=True, updated_at=sim.clock.now())
