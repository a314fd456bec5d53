"""Which rows a list holds, and in which order.

The boundaries are GitLab's: times are inclusive on both sides and compared with microseconds,
`expires_before` is exclusive, `expires_after` inclusive.
"""

import re
import zlib
from functools import partial

from .answer import internal_error
from .dates import FIRST_DAY, FIRST_INSTANT, LAST_DAY, LAST_INSTANT

# Tokens.


def find_tokens(sim, candidates, of_user, filters, sort=None):
    """The tokens that pass all filters, as a list that the store may keep.

    `candidates` are tokens by id, `of_user` says which (it is part of the cache's key), and
    `filters` maps parameter names to values; None is no filter.
    """
    filters = {name: value for name, value in filters.items() if value is not None}
    _check_storable(filters)
    if not filters and sort in (None, "id_asc"):
        return candidates
    today = sim.today()
    key = ("tokens", of_user, today, sim.version, sort, *filters.items())

    def compute():
        rows = candidates
        for name, value in filters.items():
            rows = filter(_TOKEN_FILTERS[name](sim, value), rows)
        return _sort_tokens(sim, list(rows), sort)

    return sim.store.cached(key, compute)


def _check_storable(filters):
    """PostgreSQL refuses to compare with what its types cannot hold."""
    for name, value in filters.items():
        kind = name.partition("_")[0]
        if kind == "expires" and not FIRST_DAY <= value <= LAST_DAY or \
                kind in ("created", "last") and not FIRST_INSTANT <= value <= LAST_INSTANT:
            raise internal_error()


def _by_state(sim, state):
    today = sim.today()
    if state == "active":
        return lambda t: not t.revoked and (t.expires_at is None or t.expires_at > today)
    if sim.version.inactive_is_complement:
        return lambda t: t.revoked or (t.expires_at is not None and t.expires_at <= today)
    # Older versions forget the tokens that expire today.
    return lambda t: t.revoked or (t.expires_at is not None and t.expires_at < today)


_QUOTED = re.compile(r'(?<![^ ])"[^"]+"(?![^ ])')  # between blanks, or at an end


def _by_search(_sim, text):
    """GitLab's fuzzy search: every term of three or more characters must occur somewhere."""
    text = " ".join(text.split())
    quoted = _QUOTED.findall(text)
    terms = [term.strip('"') for term in quoted] + _QUOTED.sub("", text).split()
    long_terms = [_fold(term) for term in terms if len(term) >= 3]
    if not text:
        return lambda t: True
    if long_terms:
        return lambda t: all(term in _fold(t.name) for term in long_terms)
    return lambda t: _fold(t.name) == _fold(text)


def _fold(text):
    """As ILIKE does: each character by itself."""
    return "".join(c.lower()[0] for c in text)  # one letter, \u0130, has two for Python


_TOKEN_FILTERS = {
    "revoked": lambda _, v: lambda t: bool(t.revoked) == v,
    "impersonation": lambda _, v: lambda t: t.impersonation == v,
    "state": _by_state,
    "created_before": lambda _, v: lambda t: t.created_at <= v,
    "created_after": lambda _, v: lambda t: t.created_at >= v,
    "last_used_before": lambda _, v: lambda t: t.last_used_at is not None and t.last_used_at <= v,
    "last_used_after": lambda _, v: lambda t: t.last_used_at is not None and t.last_used_at >= v,
    "expires_before": lambda _, v: lambda t: t.expires_at is not None and t.expires_at < v,
    "expires_after": lambda _, v: lambda t: t.expires_at is not None and t.expires_at >= v,
    "search": _by_search,
}

# sort parameter -> (column, descending). Unknown values are ignored.
_TOKEN_ORDERS = {
    "id_asc": ("id", False),
    "id_desc": ("id", True),
    "created_asc": ("created_at", False),
    "created_desc": ("created_at", True),
    "created_at_asc": ("created_at", False),
    "created_at_desc": ("created_at", True),
    "created_date": ("created_at", True),
    "updated_asc": ("updated_at", False),
    "updated_desc": ("updated_at", True),
    "updated_at_asc": ("updated_at", False),
    "updated_at_desc": ("updated_at", True),
    "expires_asc": ("expires_at", False),
    "expires_desc": ("expires_at", True),
    "expires_at_asc_id_desc": ("expires_at", False),
    "last_used_asc": ("last_used_at", False),
    "last_used_desc": ("last_used_at", True),
    "name_asc": ("name", False),
    "name_desc": ("name", True),
}

# The orders that have a tie-breaker: in newer versions by id in the same direction, in older
# ones (only the last four) by id descending.
_NEW_TIE_BREAKERS = {"created_asc", "created_desc", "expires_asc", "expires_desc",
                     "last_used_asc", "last_used_desc", "name_asc", "name_desc"}
_OLD_TIE_BREAKERS = {"expires_asc", "expires_desc", "last_used_asc", "last_used_desc",
                     "expires_at_asc_id_desc"}


def _sort_tokens(sim, rows, sort):
    version = sim.version
    if sort == "expires_at_asc_id_desc" and version.breaks_ties_in_same_direction:
        sort = None
    if sort not in _TOKEN_ORDERS:
        return rows
    column, descending = _TOKEN_ORDERS[sort]
    if version.breaks_ties_in_same_direction and sort in _NEW_TIE_BREAKERS:
        rows.sort(key=lambda t: t.id, reverse=descending)
    elif not version.breaks_ties_in_same_direction and sort in _OLD_TIE_BREAKERS:
        rows.sort(key=lambda t: t.id, reverse=True)
    else:
        # No tie-breaker: any order is right, so take one that nobody will mistake for a rule.
        rows.sort(key=_scrambled)
    fold = column == "name" and not version.sorts_names_as_they_are
    rows.sort(key=partial(_sort_key, column, descending, fold))
    return rows


def _scrambled(token):
    return zlib.crc32(b"%d" % token.id)


def _sort_key(column, descending, fold, token):
    """Nulls last when ascending, first when descending, as PostgreSQL has them. The sort is
    stable and always ascending, so descending values are turned around here."""
    value = getattr(token, column)
    if value is None:
        return (0,) if descending else (1,)
    if column == "name":
        value = [ord(c) for c in (value.lower() if fold else value)]
        if descending:
            value = [-c for c in value] + [1]  # "ab" before "a"
    else:
        value = -value if descending else value
    return (1 if descending else 0, value)


# Users.

USER_ORDERS = {
    "id": lambda u: (u.id,),
    "name": lambda u: (u.name, u.id),
    "username": lambda u: (u.username, u.id),
    "created_at": lambda u: (u.created_at, u.id),
    "updated_at": lambda u: (u.created_at, u.id),
}

# Effective only when true.
_USER_FLAGS = {
    "active": lambda u: u.state == "active",
    "blocked": lambda u: u.state == "blocked",
    "external": lambda u: u.external,
    "humans": lambda u: u.human,
    "admins": lambda u: u.is_admin,
    "without_project_bots": lambda u: not u.project_bot,
    "exclude_active": lambda u: u.state != "active",
    "exclude_external": lambda u: not u.external,
    "exclude_humans": lambda u: not u.human,
    "exclude_internal": lambda u: True,  # ghosts and the like, which the fixture has none of
}

# What only administrators see.
_HIDDEN_STATES = {"blocked", "banned", "ldap_blocked"}

USER_FLAGS = tuple(_USER_FLAGS)


def find_users(sim, admin, filters, order_by, descending=False):
    """The users that pass all filters, as a list that the store may keep."""
    filters = {name: value for name, value in filters.items() if value not in (None, False)}
    key = ("users", admin, order_by, descending, *filters.items())

    def compute():
        rows = sim.store.users.values()
        if not admin:
            rows = filter(lambda u: u.state not in _HIDDEN_STATES, rows)
        for name, value in filters.items():
            rows = filter(_user_filter(name, value, admin), rows)
        return sorted(rows, key=USER_ORDERS[order_by], reverse=descending)

    return sim.store.cached(key, compute)


def _user_filter(name, value, admin):
    if name in _USER_FLAGS:
        return _USER_FLAGS[name]
    if name == "username":
        return lambda u: u.username.lower() == value.lower()
    if name == "created_after":
        return lambda u: u.created_at >= value
    if name == "created_before":
        return lambda u: u.created_at <= value
    assert name == "search", name
    text = value.lower()

    def matches(user):
        if admin and user.email.lower() == text:
            return True
        if len(text) < 3:
            return text in (user.name.lower(), user.username.lower())
        return text in user.name.lower() or text in user.username.lower()

    return matches
