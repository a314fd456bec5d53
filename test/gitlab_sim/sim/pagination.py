"""Pages of a list: GitLab's offset pagination and the keyset one of GET /users."""

import base64
import json
from bisect import bisect_left, bisect_right
from urllib.parse import quote_plus

from .answer import Answer, ApiError, internal_error
from .params import leading_integer

DEFAULT_PER_PAGE = 20
MAX_PER_PAGE = 100


_LARGEST_OFFSET = 2**63 - 1  # of PostgreSQL


class Page:
    """`page` and `per_page` of a request."""

    def __init__(self, params, declared=True):
        """Where a route has not declared them, they may be anything, but for a page of no
        rows."""
        if not declared:
            params.update(page=leading_integer(params.get("page")) or 1,
                          per_page=leading_integer(params.get("per_page", DEFAULT_PER_PAGE)))
            if params["per_page"] == 0:
                raise internal_error()
        self.number = params.integer("page", 1)
        self.size = params.integer("per_page", DEFAULT_PER_PAGE)
        if self.number is not None:
            self.number = max(self.number, 1)
        if self.size == 0:
            params.complain("per_page has a value not allowed")
        elif self.size is not None:
            # GitLab caps without a word.
            self.size = min(self.size, MAX_PER_PAGE) if self.size > 0 else DEFAULT_PER_PAGE

    def answer(self, request, rows, serialise):
        """One page of rows, which `serialise` turns into the bytes of a JSON array."""
        headers = self._headers(request, len(rows))
        first = (self.number - 1) * self.size
        if first > _LARGEST_OFFSET:
            raise internal_error(headers)
        return Answer(200, serialise(rows[first:first + self.size]), headers)

    def _headers(self, request, total):
        number, size = self.number, self.size
        counted = total <= request.sim.settings.count_limit
        pages = max(1, -(-total // size))
        following = number + 1 if number < pages else None
        preceding = number - 1 if 1 < number <= pages else None
        headers = {
            "Link": self._links(request, preceding, following, pages if counted else None),
            "X-Next-Page": str(following or ""),
            "X-Page": str(number),
            "X-Per-Page": str(size),
            "X-Prev-Page": str(preceding or ""),
        }
        if counted:
            headers["X-Total"] = str(total)
            headers["X-Total-Pages"] = str(pages)
        return headers

    def _links(self, request, preceding, following, last):
        links = [("prev", preceding), ("next", following), ("first", 1), ("last", last)]
        return ", ".join(
            link(request, relation, page=number, per_page=self.size)
            for relation, number in links if number is not None)


def link(request, relation, **params):
    """A Link header's element. Its host is the one that GitLab believes to have, not the one
    that the client used, and it repeats every parameter of the request, those in the path and
    defaults included."""
    query = "&".join(_query_parts({**request.params, **request.args, **params}))
    return '<%s%s?%s>; rel="%s"' % (request.sim.external_url, request.api_path, query, relation)


def _query_parts(params, form="%s"):
    """As Rails writes them: sorted, with brackets around what is in a hash or an array."""
    for name, value in sorted(params.items()):
        name = form % name
        if isinstance(value, dict):
            yield from _query_parts(value, name.replace("%", "%%") + "[%s]")
        elif isinstance(value, list):
            for element in value:
                yield "%s=%s" % (_escape(name + "[]"), _escape(element))
        else:
            yield "%s=%s" % (_escape(name), _escape(value))


def _escape(value):
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return quote_plus(text, safe="*")


def keyset_wanted(params):
    return params.string("pagination") == "keyset"


def no_keyset():
    return ApiError(405, {
        "error": "Keyset pagination is not yet available for this type of request"})


def check_offset(sim, page, noun):
    """What has keyset pages cannot be paged by offset for ever."""
    limit = sim.settings.offset_limit
    if limit and page.number * page.size > limit:
        raise ApiError(405, {"error": (
            "Offset pagination has a maximum allowed offset of %d for requests that return "
            "objects of type %s. Remaining records can be retrieved using keyset pagination."
        ) % (limit, noun)})


def keyset_answer(request, rows, key, descending, serialise):
    """The page after the request's cursor. `rows` ascend by `key`, whose last part is unique."""
    page = Page(request.params)
    cursor = request.params.string("cursor")
    request.params.check()
    after = _decode_cursor(cursor) if cursor else None
    if descending:
        end = bisect_left(rows, after, key=key) if after else len(rows)
        start = max(end - page.size, 0)
        found, more = rows[start:end][::-1], start > 0
    else:
        start = bisect_right(rows, after, key=key) if after else 0
        end = start + page.size
        found, more = rows[start:end], end < len(rows)
    headers = {}
    if more:
        cursor = _encode_cursor(key(found[-1]))
        headers["Link"] = link(request, "next", page=page.number, per_page=page.size,
                               cursor=cursor)
        if request.sim.version.sends_next_cursor_header:
            headers["X-NEXT-CURSOR"] = cursor
    return Answer(200, serialise(found), headers)


def id_keyset_answer(request, rows, descending, serialise):
    """Pages of projects go on after an id in the link, and there is a next one after each that
    is not empty. `rows` are what is left after the request's own ids."""
    page = Page(request.params)
    request.params.check()
    found = sorted(rows, key=lambda row: row.id, reverse=descending)[:page.size]
    headers = {}
    if found:
        bound = {"id_before" if descending else "id_after": found[-1].id}
        headers["Link"] = link(request, "next", page=page.number, per_page=page.size, **bound)
    return Answer(200, serialise(found), headers)


def _encode_cursor(values):
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


def _decode_cursor(text):
    try:
        return tuple(json.loads(base64.urlsafe_b64decode(text)))
    except ValueError:
        raise ApiError(400, {"error": "cursor is invalid"}) from None
