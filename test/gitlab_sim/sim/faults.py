"""Mishaps on demand. README.md describes each kind for the writers of tests.

A fault does one of three things: it puts another answer in the place of the real one, it alters
the real one, or it mistreats the connection. By default the first and the last happen *before*
the request has any effect; with "moment": "after" the operation takes effect first, and with
"late" it does some time after the client was left without its answer.
"""

import asyncio
import base64
import json
import random
import zlib

from .answer import Answer, to_json
from .rules import Rule

_HTML = ("<!DOCTYPE html>\n<html><head><title>GitLab is not responding (%d)</title></head>"
         "<body><h1>%d</h1><p>Whoops, GitLab is taking too much time to respond.</p></body>"
         "</html>\n")

_JSON_ERRORS = {
    400: {"message": "400 Bad request"},
    401: {"message": "401 Unauthorized"},
    403: {"message": "403 Forbidden"},
    404: {"message": "404 Not Found"},
    409: {"message": "409 Conflict: Resource lock"},
    500: {"message": "500 Internal Server Error"},
}

_CHUNK = 1 << 16
_DEFAULT_SIZE = 32 << 20
_DEFAULT_DEPTH = 100
_DEFAULT_DELAY = 0.5  # seconds


class Fault(Rule):
    FIELDS = {"moment", "delay", "kind", "status", "headers", "body", "content_type", "seconds",
              "at", "size", "depth", "location", "base64", "set", "remove", "length"}

    def __init__(self, spec):
        super().__init__(spec)
        unknown = spec.keys() - self.FIELDS
        if unknown:
            raise ValueError("unknown fields: %s" % ", ".join(sorted(unknown)))
        self.kind = spec.get("kind")
        if self.kind not in KINDS:
            raise ValueError("unknown kind %r, there are: %s"
                             % (self.kind, ", ".join(sorted(KINDS))))
        if spec.get("moment", "before") not in ("before", "after", "late"):
            raise ValueError("moment is before, after or late")
        self.spec = spec
        if self.late and not self._can_be_late():
            raise ValueError("%s needs the real answer, which comes too late" % self.kind)

    def matches(self, request):
        return self.kind != ACCEPT_CLOSE and super().matches(request)

    def describe(self):
        return super().describe() | {"kind": self.kind}

    def get(self, name, default=None):
        value = self.spec.get(name)
        return default if value is None else value

    @property
    def late(self):
        return self.get("moment") == "late"

    @property
    def delay(self):
        """Seconds from the mishap to the effect, if that is late."""
        return float(self.get("delay", _DEFAULT_DELAY))

    def _can_be_late(self):
        return (self.kind in _REPLACING or self.kind in _DELIVERING_NO_ANSWER
                or self.kind == "stall" and self.get("at", "headers") == "headers")

    def passes(self):
        """Whether the request takes effect now."""
        return not self.late and (
            self.get("moment") == "after" or self.kind in _ALTERING or self.kind == "stall"
            or self.kind in _DELIVERING and self.kind not in _DELIVERING_NO_ANSWER)

    def stalls_first(self):
        if self.kind in _REPLACING:
            return self.get("seconds") is not None
        return (self.kind == "stall" and self.get("moment", "before") == "before"
                and self.get("at", "headers") == "headers")

    def alter_request(self, request):
        if self.kind == "repeat_page":
            request.params["page"] = 1

    def substitute(self, answer):
        """The answer that the client is to see instead of the real one."""
        if self.kind in _REPLACING:
            answer = _REPLACING[self.kind](self)
            answer.headers |= self._added_headers()
            return answer
        if self.kind in _ALTERING:
            return _ALTERING[self.kind](self, answer)
        return answer

    def _added_headers(self):
        return {name: str(v) for name, v in self.get("headers", {}).items() if v is not None}

    async def deliver(self, wire, status, headers, body, released):
        """Sends the answer, or fails to in the fault's way. True if a whole answer went out."""
        if self.kind in _DELIVERING:
            return await _DELIVERING[self.kind](self, wire, status, headers, body, released)
        await wire.answer(status, headers, body)
        return True

    def hold(self, wire, released):
        return wire.hold(self.get("seconds"), released)


# Other answers.


def _status(fault):
    status = int(fault.get("status", 500))
    if fault.get("body") is not None:
        return _body(fault)
    if status == 429:
        return Answer(status, b"Retry later\n", content_type="text/plain")
    if status in _JSON_ERRORS:
        return Answer.json(status, _JSON_ERRORS[status])
    if status in (204, 304):
        return Answer(status, content_type=None)
    return Answer(status, (_HTML % (status, status)).encode(), content_type="text/html")


def _body(fault):
    body = fault.get("body", "")
    if fault.get("base64"):
        body = base64.b64decode(body)
    elif isinstance(body, str):
        body = body.encode()
    else:
        body = json.dumps(body).encode()
    return Answer(int(fault.get("status", 200)), body,
                  content_type=fault.get("content_type", "application/json"))


def _garbage(fault):
    noise = random.Random(4711).randbytes(int(fault.get("size", 1000)))
    return Answer(int(fault.get("status", 200)), b"\x80" + noise)


def _html(fault):
    status = int(fault.get("status", 200))
    return Answer(status, (_HTML % (status, status)).encode(), content_type="text/html")


def _empty(fault):
    return Answer(int(fault.get("status", 200)))


def _deep(fault):
    depth = int(fault.get("depth", _DEFAULT_DEPTH))
    return Answer(int(fault.get("status", 200)), b"[" * depth + b"]" * depth)


def _redirect(fault):
    location = fault.get("location", "http://elsewhere.invalid/")
    text = "You are being redirected to %s\n" % location
    return Answer(int(fault.get("status", 302)), text.encode(), {"Location": location},
                  "text/plain")


_REPLACING = {"status": _status, "body": _body, "garbage": _garbage, "html": _html,
              "empty": _empty, "deep": _deep, "redirect": _redirect}


# The real answer, altered.


def _edit(fault, answer):
    value = json.loads(answer.body) if answer.body else None
    for path, new in fault.get("set", {}).items():
        _edit_at(value, path.split("."), lambda place, key, new=new: _put(place, key, new))
    for path in fault.get("remove", []):
        _edit_at(value, path.split("."), _take)
    if value is not None:
        answer.body = to_json(value)
    for name in fault.get("headers", {}):
        answer.headers = {n: v for n, v in answer.headers.items() if n.lower() != name.lower()}
    answer.headers |= fault._added_headers()
    answer.status = int(fault.get("status", answer.status))
    answer.content_type = fault.get("content_type", answer.content_type)
    return answer


def _edit_at(place, keys, edit):
    """Applies an edit at a path such as 0.id; * stands for every element."""
    if keys[0] == "*":
        keys_here = range(len(place)) if isinstance(place, list) else list(place)
    else:
        keys_here = [int(keys[0]) if isinstance(place, list) else keys[0]]
    for key in keys_here:
        if len(keys) == 1:
            edit(place, key)
        elif isinstance(place, dict) and key in place or \
                isinstance(place, list) and key < len(place):
            _edit_at(place[key], keys[1:], edit)


def _put(place, key, new):
    if isinstance(place, dict) or key < len(place):
        place[key] = new


def _take(place, key):
    if isinstance(place, dict):
        place.pop(key, None)
    elif key < len(place):
        del place[key]


def _endless(_fault, answer):
    answer.headers["X-Next-Page"] = str(int(answer.headers.get("X-Page", "1")) + 1)
    return answer


def _repeat_page(_fault, answer):
    return answer  # the request was altered


_ALTERING = {"edit": _edit, "endless": _endless, "repeat_page": _repeat_page}


# The connection, mistreated. Each returns whether a whole answer went out.


async def _reset(_fault, wire, _status, _headers, _body, _released):
    await wire.reset()
    return False


async def _close(_fault, wire, _status, _headers, _body, _released):
    await wire.close()
    return False


async def _stall(fault, wire, status, headers, body, released):
    """Those that stall first have done so already, and send their answer like any other."""
    async def pause():
        return await fault.hold(wire, released)

    if fault.late:
        await pause()
        complete = False
    elif fault.get("at") == "body":
        complete = await wire.answer_in_two(status, headers, body, pause)
    else:
        complete = fault.stalls_first() or await pause()
        if complete:
            await wire.answer(status, headers, body)
    if not complete:
        await wire.reset()
    return complete


async def _truncate(_fault, wire, status, headers, body, _released):
    """Half of the body, or, where there is none, the beginning of the status line."""
    if body:
        await wire.broken(status, headers, body[:len(body) // 2])
    else:
        await wire.raw(b"HTTP/1.1 ")
    return False


async def _short_length(_fault, wire, status, headers, body, _released):
    await wire.broken(status, headers | {"Content-Length": str(len(body) // 2)}, body)
    return False


async def _bad_chunk(_fault, wire, status, headers, body, _released):
    headers = {n: v for n, v in headers.items() if n != "Content-Length"}
    half = body[:len(body) // 2] or b" "
    chunks = b"%x\r\n%s\r\nzz\r\n" % (len(half), half)
    await wire.broken(status, headers | {"Transfer-Encoding": "chunked"}, chunks)
    return False


async def _oversized(fault, wire, _status, _headers, _body, _released):
    """A JSON array with very much blank space in it."""
    size = int(fault.get("size", _DEFAULT_SIZE))
    headers = {"Content-Type": "application/json"} | fault._added_headers()
    if fault.get("length"):
        headers["Content-Length"] = str(size)
    await wire.stream(200, headers, _blank_array(size))
    return True


async def _gzip_bomb(fault, wire, _status, _headers, _body, _released):
    size = int(fault.get("size", _DEFAULT_SIZE))

    def compressed():
        compressor = zlib.compressobj(1, wbits=31)
        for chunk in _blank_array(size):
            yield compressor.compress(chunk)
        yield compressor.flush()

    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    await wire.stream(200, headers | fault._added_headers(), filter(None, compressed()))
    return True


def _blank_array(size):
    yield b"["
    left = size - 2
    while left > 0:
        yield b" " * min(left, _CHUNK)
        left -= _CHUNK
    yield b"]"


async def _raw(fault, wire, _status, _headers, _body, _released):
    body = fault.get("body", "")
    await wire.raw(base64.b64decode(body) if fault.get("base64") else body.encode("latin-1"))
    return False


_DELIVERING = {"reset": _reset, "close": _close, "stall": _stall, "truncate": _truncate,
               "short_length": _short_length, "bad_chunk": _bad_chunk, "oversized": _oversized,
               "gzip_bomb": _gzip_bomb, "raw": _raw}

# Those that have no use for the real answer, so that the request need not take effect.
_DELIVERING_NO_ANSWER = {"reset", "close", "oversized", "gzip_bomb", "raw"}

# Happens when a connection is accepted, before there is a request.
ACCEPT_CLOSE = "accept_close"

KINDS = {ACCEPT_CLOSE, *_REPLACING, *_ALTERING, *_DELIVERING}


class Faults:
    """The faults that are armed."""

    def __init__(self, rules):
        self.rules = rules
        self.released = asyncio.Event()

    def clear(self):
        """Disarms all faults; requests that stall lose their connection."""
        self.rules.clear()
        self.released.set()
        self.released = asyncio.Event()

    def fire(self, request):
        """The fault that this request is to suffer, or None."""
        matching = self.rules.matching(request)
        if not matching:
            return None
        matching[0].fired += 1
        return matching[0]

    def refuses_connection(self):
        for fault in self.rules:
            if fault.kind == ACCEPT_CLOSE:
                fault.matched += 1
                if fault.armed():
                    fault.fired += 1
                    return True
        return False
