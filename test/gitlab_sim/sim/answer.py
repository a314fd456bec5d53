"""Answers, and GitLab's several shapes of error."""

import json
from dataclasses import dataclass, field

# Rails escapes these in JSON, so that it can stand in an HTML page.
_HTML_SAFE = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026",
                            "\u2028": "\\u2028", "\u2029": "\\u2029"})


def to_json(value):
    """Bytes as GitLab prints them: UTF-8, compact, HTML characters escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.translate(_HTML_SAFE).encode()


@dataclass
class Answer:
    status: int
    body: bytes = b""
    headers: dict = field(default_factory=dict)
    content_type: str | None = "application/json"  # None: no such header

    @classmethod
    def json(cls, status, value, headers=None):
        return cls(status, to_json(value), headers or {})

    @classmethod
    def no_content(cls):
        return cls(204, content_type=None)


class ApiError(Exception):
    """Ends a request with an error answer."""

    def __init__(self, status, value, headers=None):
        super().__init__(status, value)
        self.answer = Answer.json(status, value, headers)


def plain_bad_request():
    """What the layers in front of GitLab's API answer to bytes that they cannot read."""
    error = ApiError(400, None)
    error.answer = Answer(400, b"Bad Request", content_type="text/plain")
    return error


def internal_error(headers=None):
    return ApiError(500, {"message": "500 Internal Server Error"}, headers)


def bad_request(reason=None):
    return _message(400, "400 Bad request" + (" - " + reason if reason else ""))


def bad_parameters(*errors):
    """What Grape, GitLab's API framework, answers before the endpoint runs."""
    return ApiError(400, {"error": ", ".join(errors)})


def invalid_fields(errors):
    """A model's messages by field; the other shape is unprocessable()."""
    return ApiError(400, {"message": errors})


def unauthorized():
    return _message(401, "401 Unauthorized")


def invalid_token(description):
    challenge = ('Bearer realm="Protected by OAuth 2.0", error="invalid_token", '
                 'error_description="%s"' % description)
    return ApiError(401, {"error": "invalid_token", "error_description": description},
                    {"WWW-Authenticate": challenge})


def forbidden(reason=None):
    return _message(403, "403 Forbidden" + (" - " + reason if reason else ""))


def insufficient_scope(scopes):
    """`scopes` are all that the route has registered, whether they would have been enough or
    not."""
    return ApiError(403, {
        "error": "insufficient_scope",
        "error_description": "The request requires higher privileges than provided by the "
                             "access token.",
        "scope": scopes})


def insufficient_permission(boundary, label):
    """Of a fine-grained token."""
    return ApiError(403, {
        "error": "insufficient_granular_scope",
        "error_description": "Access denied: This operation requires a fine-grained personal "
                             "access token with the following %s permissions: [%s]."
                             % (boundary, label)})


def not_found(what=None):
    return _message(404, "404 %s Not Found" % what if what else "404 Not Found")


def moved_permanently(url):
    """Unlike every other answer of the API, this one is plain text."""
    error = ApiError(301, None)
    text = "This resource has been moved permanently to " + url
    error.answer = Answer(301, text.encode(), {"Location": url}, "text/plain")
    return error


def unprocessable(text):
    return _message(422, text)


def _message(status, text):
    return ApiError(status, {"message": text})
