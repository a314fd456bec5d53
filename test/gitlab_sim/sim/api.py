"""GitLab's REST API as an ASGI application: what happens to one request."""

import asyncio
import gzip
import hashlib
import re
import uuid
from collections import Counter
from email.utils import formatdate

# Imported for the routes that they register.
from . import (admin_token, impersonation, inventory, metadata, namespaces,  # noqa: F401
               resource_tokens, service_accounts, tokens, users, variables)
from .answer import Answer, ApiError, forbidden
from .auth import authenticate
from .dates import SECOND
from .request import Request
from .routing import allowed_methods, find_route
from .wire import Wire

_WRITING_METHODS = ("POST", "PUT", "PATCH", "DELETE")
_WORTH_COMPRESSING = 1000  # bytes
_CACHEABLE = (200, 201)


class Api:
    def __init__(self, sim):
        self._sim = sim
        self.in_flight = 0
        self._late = Counter()  # by the number of the reset, which cancels what is to come

    async def __call__(self, scope, receive, send, connection):
        """`connection` is the server's protocol object behind this request."""
        sim = self._sim
        body = await _read_body(receive)
        if sim.jitter:
            await asyncio.sleep(sim.jitter())
        request = _read_request(sim, scope, body)
        wire = Wire(receive, send, connection.transport)
        self.in_flight += 1
        journal, resets = sim.journal, sim.resets
        entry = journal.open(request, connection.number(resets), self.in_flight,
                             scope["http_version"])
        fault, status, size = None, None, None
        try:
            if sim.latency:
                await asyncio.sleep(sim.latency)
            fault = sim.faults.fire(request)
            released = sim.faults.released
            if fault and fault.stalls_first() and not await fault.hold(wire, released):
                await wire.reset()
                return
            answer = self._answer(request, fault)
            for hook in sim.hooks.matching(request):
                hook.run(sim)
            headers, body = _finish(request, answer)
            if fault is None:
                await wire.answer(answer.status, headers, body)
                complete = True
            else:
                complete = await fault.deliver(wire, answer.status, headers, body, released)
            if complete:
                status, size = answer.status, len(body)
        finally:
            self.in_flight -= 1
            journal.close(entry, status, size)
            if fault and fault.late:
                self._handle_later(fault.delay, request, resets)

    def _answer(self, request, fault):
        if fault is None:
            return _handle(request)
        fault.alter_request(request)
        return fault.substitute(_handle(request) if fault.passes() else Answer(200))

    @property
    def late(self):
        """Requests that will take effect though their clients have given up."""
        return self._late[self._sim.resets]

    def _handle_later(self, delay, request, resets):
        self._late[resets] += 1

        def handle():
            self._late[resets] -= 1
            if resets == self._sim.resets:
                _handle(request)

        asyncio.get_running_loop().call_later(delay, handle)


async def _read_body(receive):
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _upcase_escapes(target):
    """As RFC 3986 wants them. Some versions of libcurl write %2f, others %2F."""
    return re.sub("%[0-9a-fA-F]{2}", lambda escape: escape[0].upper(), target)


def _read_request(sim, scope, body):
    raw_path, query = scope["raw_path"].decode(), scope["query_string"].decode("latin-1")
    headers = {n.decode(): v.decode("latin-1") for n, v in scope["headers"]}
    return Request(
        sim=sim,
        method=scope["method"],
        target=_upcase_escapes(raw_path + "?" + query if query else raw_path),
        base_url="%s://%s%s" % (scope["scheme"], headers.get("host", ""), sim.prefix),
        api_path=raw_path.removeprefix(sim.prefix),
        query=query,
        headers=headers,
        body=body,
        client_address=scope["client"][0])


def _handle(request):
    """The answer that GitLab would give. No await in here, so requests do not interleave."""
    sim = request.sim
    sim.nightly()
    headers = {}
    try:
        if sim.settings.rate_limit:
            token = request.credential_token()
            user_id = token.user_id if token and token.active(sim.utc_today()) else None
            headers, refusal = sim.throttle.check(user_id, sim.settings)
            if refusal:
                return refusal
        if sim.settings.read_only and request.method in _WRITING_METHODS:
            raise ApiError(403, {
                "message": "You cannot perform write operations on a read-only instance"})
        answer = _call_endpoint(request)
    except ApiError as error:
        answer = error.answer
    answer.headers |= headers
    return _decorate(request, answer)


def _call_endpoint(request):
    if request.malformed:
        raise request.malformed
    if request.method == "OPTIONS":
        return allowed_methods(request.path) or _no_such_route()
    found = find_route(request.method, request.path)
    if found is None:
        return _no_such_route()
    route, request.args = found
    request.permission = route.permission
    request.params.check_content_type(request.body)
    request.caller = authenticate(request, route)
    if route.admin and not request.caller.admin:
        raise forbidden()
    return route.endpoint(request)


def _no_such_route():
    """Of a known path with another method, too."""
    return Answer.json(404, {"error": "404 Not Found"})


def _decorate(request, answer):
    """What GitLab adds to every answer of its own; proxies' and other mishaps lack it."""
    request_id = uuid.uuid4().hex[:26].upper()
    answer.headers |= {
        "X-Request-Id": request_id,
        "X-Gitlab-Meta": '{"correlation_id":"%s","version":"1"}' % request_id,
        "X-Content-Type-Options": "nosniff",
        "Vary": "Origin",
    }
    if answer.status in _CACHEABLE:
        etag = 'W/"%s"' % hashlib.md5(answer.body).hexdigest()
        answer.headers |= {"ETag": etag,
                           "Cache-Control": "max-age=0, private, must-revalidate"}
        if request.method == "GET" and request.headers.get("if-none-match") == etag:
            answer.status, answer.body, answer.content_type = 304, b"", None
    else:
        answer.headers["Cache-Control"] = "no-cache"
    return answer


def _finish(request, answer):
    """The headers and bytes to be sent."""
    sim, body = request.sim, answer.body
    headers = {"Date": formatdate(sim.clock.now() / SECOND, usegmt=True), "Server": "nginx"}
    if answer.content_type:
        headers["Content-Type"] = answer.content_type
    headers |= answer.headers
    if (len(body) >= _WORTH_COMPRESSING and "Content-Encoding" not in headers
            and "gzip" in request.headers.get("accept-encoding", "")):
        body = gzip.compress(body, compresslevel=1, mtime=0)
        headers["Content-Encoding"] = "gzip"
    if answer.status not in (204, 304):
        headers.setdefault("Content-Length", str(len(body)))
    return headers, body
