"""Rules pick requests: by method, path and body, from the nth match on, so many times, or by dice.

A fault is a rule with a mishap, a hook a rule with things that happen behind the client's back.
"""

import random
import re
from itertools import count

METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "*"}


class Rule:
    def __init__(self, spec):
        """`spec` is the control request; what the rule understands is taken out of it."""
        self.method = spec.pop("method", "*").upper()
        if self.method not in METHODS:
            raise ValueError("unknown method %r" % self.method)
        self.path = spec.pop("path", "")
        self.body = spec.pop("body_matches", None)
        self.nth = int(spec.pop("nth", 1))
        self.times = int(spec.pop("times", 1))  # 0: always
        self.probability = float(spec.pop("probability", 1))
        if not 0 <= self.probability <= 1:
            raise ValueError("a probability is between 0 and 1")
        self._dice = random.Random(int(spec.pop("seed", 0)))
        self.matched = 0
        self.fired = 0
        self._path = re.compile(self.path)
        self._body = re.compile(self.body) if self.body else None

    def matches(self, request):
        if self.method not in ("*", request.method) or not self._path.search(request.target):
            return False
        if self._body and not self._body.search(request.body.decode("utf-8", "replace")):
            return False
        self.matched += 1
        return True

    def armed(self):
        """Asked once for each match: with a probability, this throws the dice."""
        return (self.matched >= self.nth and (self.times == 0 or self.fired < self.times)
                and self._dice.random() < self.probability)

    def describe(self):
        return {"method": self.method, "path": self.path, "body_matches": self.body,
                "nth": self.nth, "times": self.times, "probability": self.probability,
                "matched": self.matched, "fired": self.fired}


class Rules:
    """Rules in the order in which they were made."""

    def __init__(self):
        self._rules = {}
        self._ids = count(1)

    def add(self, rule):
        number = next(self._ids)
        self._rules[number] = rule
        return number

    def clear(self):
        self._rules.clear()

    def matching(self, request):
        """The rules that fire for a request. All of them count the match."""
        return [rule for rule in self._rules.values() if rule.matches(request) and rule.armed()]

    def describe(self):
        return [{"id": number} | rule.describe() for number, rule in self._rules.items()]

    def __iter__(self):
        return iter(list(self._rules.values()))
