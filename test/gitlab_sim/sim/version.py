"""What differs between the versions of GitLab that can be simulated.

Where the exact version of a change is unknown, it lies somewhere between the versions that
tests use: 17.11, 18.11 and 19.4.
"""

import re


class Version:
    """A GitLab version and its dialect: one attribute for each difference."""

    def __init__(self, text):
        match = re.fullmatch(r"(\d+)\.(\d+)(?:\.(\d+))?(-\w+)?", text)
        if match is None:
            raise ValueError("not a GitLab version: %r" % text)
        major, minor = int(match.group(1)), int(match.group(2))
        self.short = "%d.%d" % (major, minor)
        self.text = "%s.%s%s" % (self.short, match.group(3) or "0", match.group(4) or "-ee")

        def since(*version):
            return (major, minor) >= version

        # Answers.
        self.shows_granular = since(18, 10)
        self.shows_granular_scopes = since(19, 0)
        self.shows_last_used_ips_everywhere = since(18, 0)  # before: only for a token by id
        self.shows_granular_scopes_everywhere = since(19, 6)  # before: not of a token just made
        self.shows_ips_of_other_kinds = since(19, 2)  # impersonation, project and group tokens
        self.shows_resource = since(17, 7)
        self.sends_next_cursor_header = since(18, 0)
        self.names_refused_revocations = since(18, 0)
        # Parameters.
        self.filters_by_expiry = since(18, 3)
        self.sorts_tokens = since(18, 3)
        self.filters_resource_tokens = since(18, 3)  # before: by state only
        self.resource_tokens_need_expiry = since(19, 0)  # the parameter, which may be null
        self.checks_token_ids = since(19, 0)
        self.takes_own_self_rotate = since(18, 0)
        self.takes_granular_scopes = since(19, 2)
        self.takes_granular_scopes_from_administrators = since(19, 6)
        # Semantics.
        self.inactive_is_complement = since(19, 0)
        self.breaks_ties_in_same_direction = since(19, 0)
        self.sorts_names_as_they_are = since(19, 0)  # before: in lower case
        self.resource_tokens_may_never_expire = since(19, 0)
        self.keeps_bots = since(17, 9)  # before: deleted with the token and all others of theirs
        self.service_accounts_everywhere = since(18, 11)  # projects, subgroups, the free tier
        self.has_inventory = since(18, 7)
        self.own_token_expires_tomorrow = not since(18, 0)
        self.known_scopes = (
            _SCOPES | ({"ai_workflows"} if since(18, 0) else set())
            | ({"mcp"} if since(18, 5) else set()) | ({"granular"} if since(18, 10) else set()))


_SCOPES = {
    "api", "read_api", "read_user", "sudo", "admin_mode", "read_repository", "write_repository",
    "read_registry", "write_registry", "read_virtual_registry", "write_virtual_registry",
    "create_runner", "manage_runner", "ai_features", "k8s_proxy", "self_rotate",
    "read_service_ping", "read_observability", "write_observability",
}
