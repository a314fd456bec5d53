"""The users behind the tokens of projects and groups, and behind service accounts.

Each token of a project or group has a bot of its own, which lives as long as one of its tokens
does, and some days longer.
"""

import secrets

from .dates import DAY


def generated_username(prefix):
    return "%s_%s" % (prefix, secrets.token_hex(16))


def noreply_address(sim, username):
    return "%s@noreply.%s" % (username, sim.host)


def create_bot(sim, container, name, access_level, creator):
    """A new bot, which is as external as who makes it."""
    username = generated_username(container.noreply_prefix + "_bot")
    bot = sim.store.add_user(
        username=username, name=name, email=noreply_address(sim, username), bot=True,
        external=creator.external, created_at=sim.clock.now())
    sim.store.update_namespace(container, members=container.members | {bot.id: access_level})
    return bot


def clean_up(sim):
    """GitLab does so once a day: bots whose tokens have been dead for long go, with the tokens."""
    days = sim.settings.keep_inactive_bots_days
    if days is None:
        return
    for bot in [user for user in sim.store.users.values() if user.project_bot]:
        tokens = sim.store.tokens_of(bot.id)
        ends = [_end(token) for token in tokens]
        if ends and None not in ends and max(ends) + days * DAY <= sim.clock.now():
            sim.store.remove_user(bot)


def _end(token):
    """When it was revoked or expired, or will expire; None: never."""
    expiry = None if token.expires_at is None else token.expires_at * DAY
    if not token.revoked:
        return expiry
    return token.updated_at if expiry is None else min(token.updated_at, expiry)
