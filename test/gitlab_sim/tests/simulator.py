"""The simulator under test, and a small client for it.

One process serves all tests; each begins with a reset.
"""

import atexit
import http.client
import json
import os
import ssl
import subprocess
import sys
import unittest
from pathlib import Path
from urllib.parse import urlencode, urlsplit

DIRECTORY = Path(__file__).resolve().parent.parent
# For tests that look at the simulator from within.
sys.path.append(str(DIRECTORY))

ADMIN = "glpat-sim-admin"
ALICE = "glpat-sim-alice"


class Answer:
    def __init__(self, response, connection):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()
        self.connection = connection

    def json(self):
        return json.loads(self.body)

    def ids(self):
        return [row["id"] for row in self.json()]


class Process:
    """A running simulator, whose requests wait only if a test says so."""

    def __init__(self, *arguments, **environment):
        inherited = {name: value for name, value in os.environ.items()
                     if not name.startswith("GITLAB_SIM_JITTER")}
        self._process = subprocess.Popen(
            ["/usr/bin/python3", DIRECTORY / "gitlab-sim", *arguments], stdout=subprocess.PIPE,
            env=inherited | environment)
        self.url = self._process.stdout.readline().decode().strip()
        self._stdout = self._process.stdout
        self.pid = self._process.pid

    def connect(self, timeout=10):
        parts = urlsplit(self.url)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout,
                                               context=context)
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None, connection=None):
        """`path` is below the base URL; a dict as body is sent as JSON."""
        own = connection is None
        connection = connection or self.connect()
        headers = dict(headers or {})
        if isinstance(body, dict):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, urlsplit(self.url).path + path, body, headers)
            return Answer(connection.getresponse(), connection)
        finally:
            if own:
                connection.close()

    def simctl(self, *words):
        """The output; fails if the command does."""
        result = subprocess.run([DIRECTORY / "simctl", *map(str, words)], text=True,
                                stdout=subprocess.PIPE,
                                env=os.environ | {"GITLAB_SIM_URL": self.url})
        if result.returncode:
            raise AssertionError(result.stdout)
        return result.stdout

    def terminate(self):
        """The exit status."""
        self._process.terminate()
        self._stdout.close()
        return self._process.wait(timeout=5)


_shared = None


def shared():
    global _shared
    if _shared is None:
        _shared = Process("--dates", "fixed")
        atexit.register(_shared.terminate)
    return _shared


class SimulatorTest(unittest.TestCase):
    """Starts each test with the fixture."""

    VERSION = "18.11"
    TOKENS = 0
    USERS = 0

    def setUp(self):
        self.sim = shared()
        self.reset()

    def reset(self, **more):
        spec = {"version": self.VERSION, "tokens": self.TOKENS, "users": self.USERS}
        self.control("POST", "reset", spec | more)

    def control(self, method, path, body=None):
        answer = self.sim.request(method, "/-/sim/" + path, body)
        self.assertIn(answer.status, (200, 204), answer.body)
        return answer.json() if answer.body else None

    def add_token(self, **fields):
        return self.control("POST", "tokens", fields)["id"]

    def stored(self, token_id):
        (row,) = self.control("GET", "tokens?id=%d" % token_id)
        return row

    def call(self, method, path, body=None, token=ADMIN, headers=None, connection=None, **query):
        """A request to the API, `path` being below /api/v4."""
        headers = dict(headers or {})
        if token:
            headers.setdefault("PRIVATE-TOKEN", token)
        query = urlencode(query, doseq=True)
        return self.sim.request(method, "/api/v4" + path + ("?" + query if query else ""), body,
                                headers, connection)

    def get(self, path, **arguments):
        return self.call("GET", path, **arguments)

    def list(self, **query):
        """Ids of the listed tokens, in order."""
        query.setdefault("per_page", 100)
        answer = self.get("/personal_access_tokens", **query)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.ids()

    def assert_error(self, answer, status, body):
        self.assertEqual((answer.status, answer.json()), (status, body))

    def assert_message(self, answer, status, text):
        self.assert_error(answer, status, {"message": text})
