"""Request parameters as Python values, or GitLab's complaints about them.

An endpoint fetches what it wants and calls check(), which answers 400 with all complaints at
once. Unknown parameters are ignored, as GitLab does.
"""

import json
import re
from urllib.parse import parse_qsl

from .answer import bad_parameters
from .clock import parse_date, parse_date_time

_TRUE = {True, 1, "1", "true", "TRUE", "True", "t", "T", "on", "yes", "y"}
_FALSE = {False, 0, "0", "false", "FALSE", "False", "f", "F", "off", "no", "n"}


class Params(dict):
    """Query string and body together; None and missing mean the same."""

    def __init__(self, query, content_type="", body=b""):
        super().__init__()
        self._errors = []
        self.body = {}
        self._add_pairs(self, query)
        if body:
            if content_type.startswith("application/json"):
                self.body = _json_object(body)
            elif content_type.startswith("application/x-www-form-urlencoded"):
                self._add_pairs(self.body, body.decode("utf-8", "replace"))
            self.update(self.body)

    @staticmethod
    def _add_pairs(target, text):
        """name=value, name[]=value and name[key]=value, as Rack reads them."""
        for name, value in parse_qsl(text, keep_blank_values=True):
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
            return default
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d+\s*", value, re.ASCII):
            return int(value)
        return self._invalid(name)

    def boolean(self, name, default=None):
        value = self.get(name)
        if value in (None, ""):
            return default
        if isinstance(value, (bool, int, str)):
            if value in _TRUE:
                return True
            if value in _FALSE:
                return False
        return self._invalid(name)

    def date_time(self, name):
        return self._parsed(name, parse_date_time)

    def date(self, name):
        return self._parsed(name, parse_date)

    def one_of(self, name, values, default=None):
        value = self.get(name)
        if value is None:
            return default
        if value not in values:
            self.complain("%s does not have a valid value" % name)
        return value

    def strings(self, name, allowed, required=True):
        """An array, or one comma-separated string."""
        value = self._value(name, required)
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            return self._invalid(name)
        if not set(value) <= set(allowed):
            self.complain("%s does not have a valid value" % name)
        return value

    def _value(self, name, required):
        value = self.get(name)
        if required and name not in self:
            self.complain("%s is missing" % name)
        return value

    def _parsed(self, name, parse):
        value = self.get(name)
        if value in (None, ""):
            return None
        try:
            return parse(value)
        except (ValueError, AttributeError):
            return self._invalid(name)

    def _invalid(self, name):
        self.complain("%s is invalid" % name)


def _json_object(body):
    try:
        value = json.loads(body)
    except ValueError:
        raise bad_parameters("Problem parsing JSON") from None
    if not isinstance(value, dict):
        raise bad_parameters("The request body must be a JSON object")
    return value
