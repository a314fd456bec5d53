"""Pages of a list: GitLab's offset pagination and the keyset one of GET /users."""

import base64
import json
from bisect import bisect_left, bisect_right
from urllib.parse import urlencode

from .answer import Answer, ApiError

DEFAULT_PER_PAGE = 20
MAX_PER_PAGE = 100


class Page:
    """`page` and `per_page` of a request."""

    def __init__(self, params):
        self.number = params.integer("page", 1)
        self.size = params.integer("per_page", DEFAULT_PER_PAGE)
        if self.number is not None:
            self.number = max(self.number, 1)
        if self.size is not None:
            # GitLab caps without a word. What it makes of zero is not documented.
            self.size = min(self.size, MAX_PER_PAGE) if self.size > 0 else DEFAULT_PER_PAGE

    def answer(self, request, rows, serialise):
        """One page of rows, which `serialise` turns into the bytes of a JSON array."""
        first = (self.number - 1) * self.size
        body = serialise(rows[first:first + self.size])
        return Answer(200, body, self._headers(request, len(rows)))

    def _headers(self, request, total):
        number, size = self.number, self.size
        counted = total <= request.sim.settings.count_limit
        pages = max(1, -(-total // size))
        following = number + 1 if number < pages else None
        preceding = number - 1 if number > 1 else None
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
    that the client used, and it repeats every parameter of the request."""
    query = urlencode({**request.params, **params}, doseq=True)
    return '<%s%s?%s>; rel="%s"' % (request.sim.external_url, request.api_path, query, relation)


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
        headers["Link"] = link(request, "next", per_page=page.size, cursor=cursor)
        if request.sim.version.sends_next_cursor_header:
            headers["X-NEXT-CURSOR"] = cursor
    return Answer(200, serialise(found), headers)


def _encode_cursor(values):
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


def _decode_cursor(text):
    try:
        return tuple(json.loads(base64.urlsafe_b64decode(text)))
    except ValueError:
        raise ApiError(400, {"error": "cursor is invalid"}) from None
