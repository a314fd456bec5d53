"""How GitLab prints what it knows. (GitLab calls these classes entities, too.)

A token's JSON in lists is cached with the token, so that a page of a hundred costs no more than
joining a hundred strings.
"""

from .answer import to_json
from .clock import print_date, print_date_time


def token(sim, row, *, ips=False, secret=False, impersonation=False, granular_scopes=True):
    """A token as a dict, fields in GitLab's order."""
    version = sim.version
    fields = {
        "id": row.id,
        "name": row.name,
        "revoked": row.revoked,
        "created_at": print_date_time(row.created_at),
        "description": row.description,
        "scopes": row.scopes,
        "user_id": row.user_id,
        "last_used_at": print_date_time(row.last_used_at),
        "active": row.active(sim.today()),
    }
    if version.shows_granular:
        fields["granular"] = row.granular
    fields["expires_at"] = print_date(row.expires_at)
    if version.shows_granular_scopes and row.granular and granular_scopes:
        fields["granular_scopes"] = row.granular_scopes
    if ips:
        fields["last_used_ips"] = row.last_used_ips
    if impersonation:
        fields["impersonation"] = True
    if secret:
        fields["token"] = row.token
    return fields


def token_list(sim, rows):
    """The JSON array of a page of tokens."""
    # What a token's JSON depends on besides the token itself.
    key = (sim.version, sim.today())
    return b"[" + b",".join(
        [row.json[1] if row.json is not None and row.json[0] == key
         else _token_in_list(sim, row, key) for row in rows]) + b"]"


def _token_in_list(sim, row, key):
    text = to_json(token(sim, row, ips=sim.version.shows_last_used_ips_everywhere))
    row.json = (key, text)
    return text


def impersonation_token_list(sim, rows):
    return to_json([token(sim, row, impersonation=True) for row in rows])


def user_basic(sim, row):
    """What everybody sees."""
    return {
        "id": row.id,
        "username": row.username,
        "public_email": None,
        "name": row.name,
        "state": row.state,
        "locked": row.locked,
        "avatar_url": None,
        "web_url": sim.external_url + "/" + row.username,
    }


def user_public(sim, row):
    """What GET /users/:id shows to everybody."""
    return user_basic(sim, row) | {
        "created_at": print_date_time(row.created_at),
        "bio": "",
        "location": "",
        "linkedin": "",
        "twitter": "",
        "discord": "",
        "website_url": "",
        "github": "",
        "job_title": "",
        "pronouns": None,
        "organization": "",
        "bot": row.bot,
        "work_information": None,
        "followers": 0,
        "following": 0,
        "is_followed": False,
        "local_time": None,
    }


def user_with_admin(sim, row):
    """What administrators see."""
    return user_public(sim, row) | {
        "last_sign_in_at": print_date_time(row.last_sign_in_at),
        "confirmed_at": print_date_time(row.created_at),
        "last_activity_on": print_date(row.last_activity_on),
        "email": row.email,
        "theme_id": 3,
        "color_scheme_id": 1,
        "projects_limit": 100000,
        "current_sign_in_at": print_date_time(row.last_sign_in_at),
        "identities": [],
        "can_create_group": not row.external,
        "can_create_project": not row.external,
        "two_factor_enabled": False,
        "external": row.external,
        "private_profile": False,
        "commit_email": row.email,
        "preferred_language": "en",
        "shared_runners_minutes_limit": None,
        "extra_shared_runners_minutes_limit": None,
        "scim_identities": [],
        "is_admin": row.is_admin,
        "note": None,
        "namespace_id": row.id + 1000,
        "created_by": None,
        "using_license_seat": False,
    }


def user_list(sim, rows, entity):
    """The JSON array of a page of users, each cached for the entity and the host in URLs."""
    return b"[" + b",".join([_user_in_list(sim, row, entity) for row in rows]) + b"]"


def _user_in_list(sim, row, entity):
    key = (entity, sim.external_url)
    text = row.json.get(key)
    if text is None:
        text = row.json[key] = to_json(entity(sim, row))
    return text


def variable(row):
    return {
        "variable_type": row.variable_type,
        "key": row.key,
        "value": None if row.hidden else row.value,
        "protected": row.protected,
        "masked": row.masked,
        "hidden": row.hidden,
        "raw": row.raw,
        "environment_scope": row.environment_scope,
        "description": row.description,
    }
