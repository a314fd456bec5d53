"""Request parameters as Python values, or GitLab's complaints about them.

An endpoint fetches what it wants and calls check(), which answers 400 with all complaints at
once. Unknown parameters are ignored, as GitLab does. What was fetched stays in the dict as
GitLab's Link headers repeat it: converted, and with defaults.
"""

import json
import re
from urllib.parse import parse_qsl

from .answer import ApiError, bad_parameters, plain_bad_request
from .dates import parse_date, parse_date_time_and_print, print_date

_TRUE = {True, 1, *"1 true True TRUE t T on On ON yes Yes YES y Y".split()}
_FALSE = {False, 0, "", *"0 false False FALSE f F off Off OFF no No NO n N".split()}

_INTEGER = re.compile(r"\s*[+-]?\d+(?:_\d+)*\s*", re.ASCII)

# Parameters of the query are checked for paths that lead upwards, but for those that hold texts.
_UPWARDS = re.compile(r"\A\.{1,2}\Z|\A\.\.[/\\]|[/\\]\.\.\Z|[/\\]\.\.[/\\]|\n")
_TEXTS = {"search", "search_title", "search_query", "term", "name", "filter", "filter_projects",
          "note", "body", "commit_message", "content", "description"}
_MAX_QUERY = 10 * 1024  # the web server takes no more


def integer_of(value):
    """As Ruby's Integer() reads it, or None."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    return None


def leading_integer(value):
    """What a text begins with, if that is a number, or None."""
    match = re.match(r"\d+", str(value), re.ASCII)
    return int(match[0]) if match else None


class Params(dict):
    """Query string and body together; None and missing mean the same."""

    def __init__(self, query, content_type="", body=b"", today=None):
        super().__init__()
        self._errors = []
        self._today = today
        self._content_type = content_type.partition(";")[0].strip().lower()
        self.body = {}
        self._add_query(query)
        if body:
            self._add_body(body)
            self.update(self.body)

    def _add_query(self, query):
        if len(query) > _MAX_QUERY:
            raise plain_bad_request()
        self._add_pairs(self, query)
        if any(isinstance(value, str) and name not in _TEXTS and _UPWARDS.search(value)
               for name, value in self.items()):
            raise plain_bad_request()

    def _add_body(self, body):
        if self._content_type == "application/json":
            self.body = _json_object(body)
        elif self._content_type == "application/x-www-form-urlencoded":
            self._add_pairs(self.body, body.decode("utf-8", "surrogateescape"))

    def check_content_type(self, body):
        """Before the credential is looked at, and after the route is known."""
        known = ("", "application/json", "application/x-www-form-urlencoded",
                 "multipart/form-data")
        if body and self._content_type not in known:
            raise ApiError(415, {"error": "The provided content-type '%s' is not supported."
                                          % self._content_type})

    @staticmethod
    def _add_pairs(target, text):
        """name=value, name[]=value and name[key]=value, as Rack reads them."""
        if re.search("%(?![0-9a-fA-F]{2})", text):
            raise plain_bad_request()
        try:
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
        except UnicodeDecodeError:
            raise plain_bad_request() from None
        for name, value in pairs:
            if "\0" in value:
                raise plain_bad_request()
            nested = re.fullmatch(r"(\w+)\[(\w*)\]", name)
            if nested is None:
                target[name] = value
            elif nested.group(2):
                inner = target.setdefault(nested.group(1), {})
                if isinstance(inner, dict):
                    inner[nested.group(2)] = value
            else:
                array = target.setdefault(nested.group(1), [])
                if isinstance(array, list):
                    array.append(value)

    def blank(self, name):
        """Sent, but without a value."""
        return name in self and self[name] in (None, "")

    def complain(self, text):
        self._errors.append(text)

    def check(self):
        if self._errors:
            raise bad_parameters(*self._errors)

    def string(self, name, required=False):
        value = self._value(name, required)
        if isinstance(value, (dict, list)):
            return self._invalid(name)
        return None if value is None else str(value)

    def required_string(self, name):
        return self.string(name, required=True)

    def integer(self, name, default=None):
        value = self.get(name)
        if value in (None, ""):
            return self._converted(name, default)
        number = integer_of(value)
        return self._invalid(name) if number is None else self._converted(name, number)

    def integer_one_of(self, name, values, default=None):
        """GitLab complains twice about what is no number."""
        value = self.integer(name, default)
        if self.get(name) not in (None, "") and value not in values:
            self.complain("%s does not have a valid value" % name)
        return value

    def boolean(self, name, default=None):
        """The default where it was not sent, and false where it is blank."""
        value = self.get(name)
        if value is None:
            return self._converted(name, default)
        if isinstance(value, (bool, int, str)):
            if value in _TRUE:
                return self._converted(name, True)
            if value in _FALSE:
                return False if value == "" else self._converted(name, False)
        return self._invalid(name)

    def date_time(self, name):
        value = self.get(name)
        if value in (None, ""):
            return None
        try:
            instant, printed = parse_date_time_and_print(value, self._today)
        except ValueError:
            return self._invalid(name)
        self[name] = printed
        return instant

    def date(self, name):
        value = self.get(name)
        if value in (None, ""):
            return None
        try:
            day = parse_date(value)
        except ValueError:
            return self._invalid(name)
        self[name] = print_date(day)
        return day

    def one_of(self, name, values, default=None):
        value = self.get(name)
        if value is None:
            return self._converted(name, default)
        if value not in values:
            self.complain("%s does not have a valid value" % name)
        return value

    def strings(self, name, allowed, required=True):
        """An array, or one comma-separated string. Blank elements are none; a hash is an array
        of them."""
        value = self._value(name, required)
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if value is None:
            return [] if name in self else None
        if isinstance(value, dict):
            value = []
        if not isinstance(value, list):
            return self._invalid(name)
        value = [element for element in value if element not in (None, "")]
        if not all(isinstance(element, str) for element in value):
            return self._invalid(name)
        if allowed is not None and not set(value) <= set(allowed):
            self.complain("%s does not have a valid value" % name)
        return value

    def array(self, name, allowed):
        """A required array of strings. GitLab complains twice about other things."""
        value = self._value(name, required=True)
        if isinstance(value, str):
            self._invalid(name)
        elements = value if isinstance(value, list) else [value]
        if not all(isinstance(v, str) and v in allowed for v in elements):
            self.complain("%s does not have a valid value" % name)
        return value

    def _value(self, name, required):
        value = self.get(name)
        if required and name not in self:
            self.complain("%s is missing" % name)
        return value

    def _converted(self, name, value):
        if value is not None:
            self[name] = value
        return value

    def _invalid(self, name):
        self.complain("%s is invalid" % name)


def _json_object(body):
    """What is not an object counts as no parameters at all."""
    try:
        value = json.loads(body.decode())
    except ValueError:  # of the encoding, too
        raise plain_bad_request() from None
    if b"\\u0000" in body:
        raise plain_bad_request()
    return value if isinstance(value, dict) else {}
