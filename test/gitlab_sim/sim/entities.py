"""How GitLab prints what it knows. (GitLab calls these classes entities, too.)

A token's JSON in lists is cached with the token, so that a page of a hundred costs no more than
joining a hundred strings.
"""

from .answer import to_json
from .dates import print_date


def token(sim, row, *, ips=False, secret=False, impersonation=False, granular_scopes=True):
    """A token as a dict, fields in GitLab's order."""
    version = sim.version
    fields = {
        "id": row.id,
        "name": row.name,
        "revoked": row.revoked,
        "created_at": sim.print_time(row.created_at),
        "description": row.description,
        "scopes": row.scopes,
        "user_id": row.user_id,
        "last_used_at": sim.print_time(row.last_used_at),
        "active": row.active(sim.utc_today()),
    }
    if version.shows_granular:
        fields["granular"] = row.granular
    fields["expires_at"] = print_date(row.expires_at)
    if version.shows_granular_scopes and row.granular and granular_scopes:
        fields["granular_scopes"] = row.granular_scopes
    if ips and sim.settings.last_used_ips:
        fields["last_used_ips"] = row.last_used_ips
    if impersonation:
        fields["impersonation"] = True
    if secret:
        fields["token"] = row.token
    return fields


def token_list(sim, rows):
    """The JSON array of a page of tokens."""
    # What a token's JSON depends on besides the token itself.
    key = (sim.version, sim.zone, sim.utc_today(), sim.settings.last_used_ips)
    return b"[" + b",".join(
        [row.json[1] if row.json is not None and row.json[0] == key
         else _token_in_list(sim, row, key) for row in rows]) + b"]"


def _token_in_list(sim, row, key):
    text = to_json(token(sim, row, ips=sim.version.shows_last_used_ips_everywhere))
    row.json = (key, text)
    return text


def impersonation_token(sim, row, secret=False):
    version = sim.version
    return token(sim, row, secret=secret, impersonation=True,
                 ips=version.shows_ips_of_other_kinds,
                 granular_scopes=version.shows_granular_scopes_everywhere)


def impersonation_token_list(sim, rows):
    return to_json([impersonation_token(sim, row) for row in rows])


def resource_token(sim, row, container, secret=False):
    """A token of a project or group, whose bot is a member of it."""
    fields = token(sim, row, secret=secret, ips=sim.version.shows_ips_of_other_kinds)
    fields["access_level"] = container.members[row.user_id]
    if sim.version.shows_resource:
        fields.update(resource_type=container.kind, resource_id=container.id)
    return fields


def resource_token_list(sim, rows, container_of):
    return to_json([resource_token(sim, row, container_of(row)) for row in rows])


def service_account(row):
    return {"id": row.id, "username": row.username, "public_email": None, "name": row.name,
            "email": row.email}


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
        "created_at": sim.print_time(row.created_at),
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
        "last_sign_in_at": sim.print_time(row.last_sign_in_at),
        "confirmed_at": sim.print_time(row.created_at),
        "last_activity_on": print_date(row.last_activity_on),
        "email": row.email,
        "theme_id": 3,
        "color_scheme_id": 1,
        "projects_limit": 100000,
        "current_sign_in_at": sim.print_time(row.last_sign_in_at),
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
    """The JSON array of a page of users, each cached for the entity, the host in URLs and the
    time zone."""
    return b"[" + b",".join([_user_in_list(sim, row, entity) for row in rows]) + b"]"


def _user_in_list(sim, row, entity):
    key = (entity, sim.external_url, sim.zone)
    text = row.json.get(key)
    if text is None:
        text = row.json[key] = to_json(entity(sim, row))
    return text


def variable(row, scoped=True):
    fields = {
        "variable_type": row.variable_type,
        "key": row.key,
        "value": None if row.hidden else row.value,
        "hidden": row.hidden,
        "protected": row.protected,
        "masked": row.masked,
        "raw": row.raw,
        "environment_scope": row.environment_scope,
        "description": row.description,
    }
    if not scoped:
        del fields["environment_scope"]
    return fields


def group(sim, row):
    parent = sim.store.parent(row)
    return {
        "id": row.id,
        "web_url": "%s/groups/%s" % (sim.external_url, row.full_path),
        "name": row.name,
        "path": row.path,
        "description": None,
        "visibility": row.visibility,
        "share_with_group_lock": False,
        "require_two_factor_authentication": False,
        "two_factor_grace_period": 48,
        "project_creation_level": None,
        "auto_devops_enabled": None,
        "subgroup_creation_level": None,
        "emails_disabled": False,
        "emails_enabled": None,
        "show_diff_preview_in_email": False,
        "mentions_disabled": None,
        "lfs_enabled": False,
        "archived": row.archived,
        "math_rendering_limits_enabled": None,
        "lock_math_rendering_limits_enabled": None,
        "crm_enabled": False,
        "resource_access_token_notify_inherited": None,
        "lock_resource_access_token_notify_inherited": None,
        "default_branch": None,
        "default_branch_protection": None,
        "default_branch_protection_defaults": None,
        "avatar_url": None,
        "request_access_enabled": True,
        "full_name": " / ".join(_names(sim, row)),
        "full_path": row.full_path,
        "created_at": sim.print_time(row.created_at),
        "parent_id": parent.id if parent else None,
        "organization_id": 1,
        "shared_runners_setting": None,
        "max_artifacts_size": None,
        "marked_for_deletion_on": None,
    }


def project(sim, row, simple, admin):
    parent = sim.store.parent(row)
    url = "%s/%s" % (sim.external_url, row.full_path)
    fields = {
        "id": row.id,
        "description": None,
        "name": row.name,
        "name_with_namespace": " / ".join(_names(sim, row)),
        "path": row.path,
        "path_with_namespace": row.full_path,
        "created_at": sim.print_time(row.created_at),
        "default_branch": None,
        "tag_list": [],
        "topics": [],
        "ssh_url_to_repo": "git@%s:%s.git" % (sim.host, row.full_path),
        "http_url_to_repo": url + ".git",
        "web_url": url,
        "readme_url": None,
        "forks_count": 0,
        "avatar_url": None,
        "star_count": 0,
        "last_activity_at": sim.print_time(row.last_activity_at),
        "visibility": row.visibility,
        "namespace": parent and {
            "id": parent.id, "name": parent.name, "path": parent.path, "kind": "group",
            "full_path": parent.full_path,
            "parent_id": getattr(sim.store.parent(parent), "id", None), "avatar_url": None,
            "web_url": "%s/groups/%s" % (sim.external_url, parent.full_path)},
    }
    if admin:
        fields["repository_storage"] = "default"
    if not simple:
        fields.update(archived=row.archived, empty_repo=True, creator_id=1)
    return fields


def _names(sim, row):
    """From the top-level group down."""
    parent = sim.store.parent(row)
    return [*(_names(sim, parent) if parent else []), row.name]
