"""Faults, hooks, the journal, and the process itself."""

import http.client
import json
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import zlib
from pathlib import Path

from simulator import ADMIN, ALICE, Process, SimulatorTest
from sim.server import jitter

TOKENS = "/personal_access_tokens"
ALICES = "/users/2/personal_access_tokens"
CONFIG = "/projects/acme%2Fapp/variables/CONFIG"
CONFIG_BEFORE = '[app]\ndebug = "no"\n'


class FaultTest(SimulatorTest):
    def fault(self, kind, method="GET", path="personal_access_tokens", **more):
        self.control("POST", "faults", {"method": method, "path": path, "kind": kind} | more)

    def raw_get(self, timeout=5, path=TOKENS):
        """Everything that comes back on a connection of its own."""
        connection = self.sim.connect()
        connection.connect()
        with connection.sock as sock:
            sock.settimeout(timeout)
            sock.sendall(b"GET /api/v4%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                         b"PRIVATE-TOKEN: %s\r\n\r\n" % (path.encode(), ADMIN.encode()))
            data = b""
            while chunk := sock.recv(1 << 20):
                data += chunk
        head, _, body = data.partition(b"\r\n\r\n")
        return head, body


class Firing(FaultTest):
    def test_a_fault_fires_from_the_nth_request_on(self):
        self.fault("status", status=503, nth=2, times=2)
        self.assertEqual([self.get(TOKENS).status for _ in range(4)], [200, 503, 503, 200])

    def test_times_0_fires_always(self):
        self.fault("status", status=500, times=0)
        self.assertEqual({self.get(TOKENS).status for _ in range(5)}, {500})
        self.control("DELETE", "faults")
        self.assertEqual(self.get(TOKENS).status, 200)

    def test_a_seed_makes_probability_repeatable(self):
        def statuses(**more):
            self.control("DELETE", "faults")
            self.fault("status", status=503, times=0, **more)
            return [self.get(TOKENS).status for _ in range(100)]

        some = statuses(probability=0.2, seed=1)
        self.assertIn(some.count(503), range(10, 31))
        self.assertEqual(statuses(probability=0.2, seed=1), some)
        self.assertNotEqual(statuses(probability=0.2, seed=2), some)
        self.assertEqual(set(statuses(probability=0)), {200})
        self.assertEqual(set(statuses(probability=1)), {503})
        self.control("DELETE", "faults")
        self.fault("status", probability=0.5, times=1)
        self.assertEqual([self.get(TOKENS).status for _ in range(50)].count(500), 1)

    def test_path_and_body_select_requests(self):
        self.fault("status", path=r"tokens\?page=2", times=0)
        self.fault("status", "POST", ".", body_matches='"name": "bad"', times=0)
        self.assertEqual(self.get(TOKENS, page=2).status, 500)
        self.assertEqual(self.get(TOKENS, page=1).status, 200)
        for name, status in (("good", 201), ("bad", 500)):
            body = {"name": name, "scopes": ["api"]}
            self.assertEqual(self.call("POST", ALICES, body).status, status)

    def test_faults_fire_one_after_the_other(self):
        self.fault("status", status=502)
        self.fault("status", status=503)
        self.assertEqual([self.get(TOKENS).status for _ in range(3)], [502, 503, 200])

    def test_a_fault_fires_before_or_after_the_effect(self):
        self.fault("status", "DELETE", status=504)
        self.assertEqual(self.call("DELETE", TOKENS + "/2").status, 504)
        self.assertFalse(self.stored(2)["revoked"])
        self.fault("reset", "DELETE", moment="after")
        with self.assertRaises(ConnectionResetError):
            self.call("DELETE", TOKENS + "/2")
        self.assertTrue(self.stored(2)["revoked"])

    def test_mistakes_in_a_fault_are_refused(self):
        for spec in ({"kind": "rubbish"}, {"kind": "status", "stauts": 1}, {},
                     {"kind": "status", "probability": 2}):
            self.assertEqual(self.sim.request("POST", "/-/sim/faults", spec).status, 400)


class Answers(FaultTest):
    def test_status_answers_as_gitlab_does(self):
        self.fault("status", status=429, headers={"Retry-After": "3"})
        answer = self.get(TOKENS)
        self.assertEqual((answer.status, answer.body, answer.headers["Retry-After"]),
                         (429, b"Retry later\n", "3"))
        self.fault("status", status=409)
        self.assert_message(self.get(TOKENS), 409, "409 Conflict: Resource lock")
        self.fault("status", status=502)
        self.assertEqual(self.get(TOKENS).headers["Content-Type"], "text/html")

    def test_bodies_are_replaced(self):
        self.fault("body", body='{"a":', status=201, content_type="text/plain")
        answer = self.get(TOKENS)
        self.assertEqual((answer.status, answer.body, answer.headers["Content-Type"]),
                         (201, b'{"a":', "text/plain"))
        for kind in ("garbage", "empty", "html"):
            self.fault(kind)
            answer = self.get(TOKENS)
            self.assertEqual(answer.status, 200)
            with self.assertRaises(ValueError):
                answer.json()
        self.fault("deep", depth=20)
        self.assertEqual(self.get(TOKENS).body, b"[" * 20 + b"]" * 20)
        self.fault("redirect", location="http://evil.invalid/")
        answer = self.get(TOKENS)
        self.assertEqual((answer.status, answer.headers["Location"]),
                         (302, "http://evil.invalid/"))

    def test_fields_and_headers_are_edited(self):
        self.fault("edit", set={"0.id": "x", "*.name": None, "1.scopes.0": 7},
                   remove=["0.scopes", "2"], headers={"X-Total": "99", "Link": None})
        answer = self.get(TOKENS, per_page=3)
        first, second = answer.json()
        self.assertEqual((first["id"], first["name"], second["scopes"]), ("x", None, [7]))
        self.assertNotIn("scopes", first)
        self.assertEqual(answer.headers["X-Total"], "99")
        self.assertNotIn("Link", answer.headers)

    def test_pages_repeat_or_never_end(self):
        self.fault("repeat_page", times=2)
        self.assertEqual([self.get(TOKENS, page=p, per_page=4).ids() for p in (1, 2)],
                         [[1, 2, 3, 4]] * 2)
        self.fault("endless")
        self.assertEqual(self.get(TOKENS, page=7).headers["X-Next-Page"], "8")

    def test_bodies_grow_large(self):
        self.fault("oversized", size=1_000_000)
        self.assertEqual((len(body := self.get(TOKENS).body), json.loads(body)), (1_000_000, []))
        self.fault("gzip_bomb", size=50_000_000)
        answer = self.get(TOKENS)
        self.assertEqual(answer.headers["Content-Encoding"], "gzip")
        self.assertLess(len(answer.body), 1_000_000)
        self.assertEqual(len(zlib.decompress(answer.body, wbits=31)), 50_000_000)


class Connections(FaultTest):
    def test_reset_and_close_end_the_connection(self):
        self.fault("reset")
        with self.assertRaises(ConnectionResetError):
            self.get(TOKENS)
        self.fault("close")
        with self.assertRaises(http.client.RemoteDisconnected):
            self.get(TOKENS)

    def test_truncated_bodies_end_early_after_the_effect(self):
        self.fault("truncate")
        with self.assertRaises(http.client.IncompleteRead):
            self.get(TOKENS)
        self.fault("truncate", "DELETE")
        with self.assertRaises(http.client.HTTPException):
            self.call("DELETE", TOKENS + "/2")
        self.assertTrue(self.stored(2)["revoked"])

    def test_short_length_declares_half_of_the_body(self):
        self.fault("short_length")
        head, body = self.raw_get()
        (length,) = [int(line.split(b": ")[1]) for line in head.split(b"\r\n")
                     if line.startswith(b"Content-Length")]
        self.assertEqual(length, len(body) // 2)

    def test_bad_chunk_breaks_the_transfer_coding(self):
        self.fault("bad_chunk")
        with self.assertRaises((http.client.IncompleteRead, ValueError)):
            self.get(TOKENS)

    def test_raw_sends_just_these_bytes(self):
        self.fault("raw", body="HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")
        self.assertEqual(self.raw_get(), (b"HTTP/1.1 200 OK\r\nContent-Length: 2", b"[]"))

    def test_accept_close_refuses_the_next_connection(self):
        connection = self.sim.connect()
        self.call("GET", TOKENS, connection=connection)
        self.fault("accept_close")
        with self.assertRaises(ConnectionError):
            self.get(TOKENS)
        self.assertEqual(self.get(TOKENS).status, 200)
        connection.close()

    def test_a_stall_ends_after_its_seconds(self):
        for more in ({}, {"at": "body"}, {"moment": "after"}):
            self.fault("stall", seconds=0.15, **more)
            started = time.monotonic()
            self.assertEqual(len(self.get(TOKENS).json()), 16)
            self.assertGreater(time.monotonic() - started, 0.14)

    def test_another_answer_comes_after_its_seconds(self):
        for kind in ("status", "html", "empty"):
            self.fault(kind, seconds=0.15)
            started = time.monotonic()
            self.get(TOKENS)
            self.assertGreaterEqual(time.monotonic() - started, 0.15, kind)

    def test_a_stall_without_seconds_never_ends(self):
        self.fault("stall")
        with self.assertRaises(TimeoutError):
            self.raw_get(timeout=0.2)
        self.fault("stall", at="body")
        connection = self.sim.connect(timeout=0.2)
        with self.assertRaises(TimeoutError):
            self.call("GET", TOKENS, connection=connection)
        connection.close()

    def test_stalled_request_is_in_the_journal_until_the_end(self):
        self.fault("stall")
        failures = []

        def stalled():
            try:
                self.get(TOKENS)
            except (ConnectionError, http.client.HTTPException) as error:
                failures.append(error)

        thread = threading.Thread(target=stalled)
        thread.start()
        self.sim.simctl("wait-for", "GET", "personal_access_tokens")
        self.assertIsNone(self.control("GET", "journal")[0]["status"])
        self.assertEqual(self.control("GET", "status")["in_flight"], 1)
        self.assertEqual(self.get("/version").status, 200)
        self.control("DELETE", "faults")
        thread.join(5)
        self.assertEqual(len(failures), 1)
        self.assertEqual(self.control("GET", "status")["in_flight"], 0)


class Writes(FaultTest):
    """Changes of variables that go wrong, before or after they have taken effect."""

    def put(self, value, **arguments):
        return self.call("PUT", CONFIG, {"value": value}, **arguments)

    def stored_value(self):
        return self.get(CONFIG).json()["value"]

    def await_late(self):
        deadline = time.monotonic() + 5
        while self.control("GET", "status")["late"]:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_the_nth_update_fails(self):
        self.fault("status", "PUT", "variables/CONFIG", nth=2, status=502, moment="after")
        self.assertEqual([self.put(v).status for v in ("1", "2", "3")], [200, 502, 200])
        self.fault("status", "PUT", "acme%2Fapp/variables", status=502, moment="after")
        self.put("4")
        self.assertEqual(self.stored_value(), "4")
        self.fault("status", "PUT", "variables", body_matches='"5"', status=429)
        self.assertEqual([self.put(v).status for v in ("5", "6")], [429, 200])

    def test_a_write_before_the_fault_is_lost_and_one_after_it_stays(self):
        for kind, moment, effect in (("reset", "before", False), ("reset", "after", True),
                                     ("close", "before", False), ("close", "after", True),
                                     ("truncate", "before", True)):
            value = kind + moment
            self.fault(kind, "PUT", "variables/", moment=moment)
            with self.assertRaises((ConnectionError, http.client.HTTPException)):
                self.put(value)
            self.assertEqual(self.stored_value() == value, effect, value)

    def test_a_stall_before_the_effect_prevents_it(self):
        for moment, effect in (("before", False), ("after", True)):
            self.fault("stall", "PUT", "variables/", moment=moment)
            connection = self.sim.connect(timeout=0.2)
            with self.assertRaises(TimeoutError):
                self.put(moment, connection=connection)
            connection.close()
            self.assertEqual(self.stored_value() == moment, effect)

    def test_a_late_write_takes_effect_after_a_later_one(self):
        for kind, more in (("reset", {}), ("close", {}), ("status", {"status": 504})):
            self.fault(kind, "PUT", "variables/", moment="late", delay=1.5, **more)
            started = time.monotonic()
            try:
                self.assertEqual(self.put("late " + kind).status, 504)
            except (ConnectionError, http.client.HTTPException):
                self.assertNotEqual(kind, "status")
            self.put("meanwhile")
            self.assertEqual(self.control("GET", "status")["late"], 1)
            self.assertEqual(self.stored_value(), "meanwhile")
            self.await_late()
            self.assertGreater(time.monotonic() - started, 1.49)
            self.assertEqual(self.stored_value(), "late " + kind)

    def test_a_late_creation_takes_effect_after_a_timeout(self):
        self.fault("stall", "POST", TOKENS, moment="late", delay=0)
        connection = self.sim.connect(timeout=0.2)
        with self.assertRaises(TimeoutError):
            self.call("POST", ALICES, {"name": "n", "scopes": ["api"]}, connection=connection)
        self.assertEqual(self.list(), list(range(1, 17)))
        connection.close()
        while self.control("GET", "status")["in_flight"]:
            time.sleep(0.01)
        self.await_late()
        self.assertEqual(self.list(), list(range(1, 18)))

    def test_reset_forgets_what_is_late(self):
        self.fault("close", "PUT", "variables/", moment="late", delay=0.1)
        with self.assertRaises(http.client.RemoteDisconnected):
            self.put("lost")
        self.reset()
        self.assertEqual(self.control("GET", "status")["late"], 0)
        time.sleep(0.2)
        self.assertEqual(self.stored_value(), CONFIG_BEFORE)

    def test_some_faults_cannot_be_late(self):
        for spec in ({"kind": "edit"}, {"kind": "truncate"}, {"kind": "stall", "at": "body"}):
            answer = self.sim.request("POST", "/-/sim/faults", {"moment": "late"} | spec)
            self.assertEqual(answer.status, 400)


class Hooks(FaultTest):
    def test_hooks_change_variables_and_projects(self):
        self.control("POST", "hooks", {"method": "GET", "path": "variables/CONFIG", "do": [
            {"set_variable": {"project": "acme/app", "key": "CONFIG", "value": "theirs"}},
            {"remove_variable": {"project": 1, "key": "DEPLOY_PAT"}},
            {"remove_variable": {"project": 1, "key": "NONE"}},
            {"set_group": {"group": "acme/infra", "path": "acme/platform"}},
            {"set_project": {"project": 2, "members": {"alice": 0}}},
            {"set_group": {"group": "acme", "members": {"alice": 0}}}]})
        self.assertEqual([self.get(CONFIG).json()["value"] for _ in range(2)],
                         [CONFIG_BEFORE, "theirs"])
        self.assertEqual(self.get("/projects/1/variables/DEPLOY_PAT").status, 404)
        self.assertEqual(self.get("/groups/acme%2Fplatform/variables").status, 200)
        self.assertEqual(self.get("/projects/2/variables", token=ALICE).status, 404)
        self.sim.simctl("hook", "GET", "CONFIG", "remove_project=acme/app", "remove_group=2",
                        'set_variable={"group": 1, "key": "NEW"}')
        self.assertEqual([self.get(CONFIG).status for _ in range(2)], [200, 404])
        self.assertEqual(self.get("/groups/2/variables").status, 404)
        self.assertEqual(self.get("/groups/1/variables/NEW").json()["value"], "")

    def test_hooks_change_tokens_between_pages(self):
        self.control("POST", "hooks", {
            "method": "GET", "path": "personal_access_tokens", "nth": 2, "do": [
                {"create": {"name": "by hook", "user_id": 2}}, {"revoke": 2}, {"remove": 3},
                {"use": 4}, {"rotate": 7}, {"set": {"id": 8, "name": "renamed"}}]})
        self.assertEqual(self.list(), list(range(1, 17)))
        self.assertEqual(self.list(), list(range(1, 17)))
        self.assertEqual(self.list(), [1, 2, *range(4, 19)])
        self.assertTrue(self.stored(2)["revoked"])
        self.assertIsNotNone(self.stored(4)["last_used_at"])
        self.assertEqual(self.stored(18)["previous_id"], 7)
        self.assertEqual(self.stored(8)["name"], "renamed")


class Journal(FaultTest):
    def test_entries_hide_secrets_and_number_connections(self):
        connection = self.sim.connect()
        self.call("GET", TOKENS, connection=connection, private_token="s3cret", page=1)
        self.call("PUT", "/projects/acme%2Fapp/variables/CONFIG", {"value": "s3cret"},
                  connection=connection)
        self.get(TOKENS + "/self", token="wrong")
        connection.close()
        first, second, third = journal = self.control("GET", "journal")
        self.assertNotIn("s3cret", json.dumps(journal))
        self.assertEqual(first["path"],
                         "/api/v4/personal_access_tokens?private_token=[FILTERED]&page=1")
        self.assertEqual(second["path"], "/api/v4/projects/acme%2Fapp/variables/CONFIG")
        self.assertEqual(second["body"], {"value": "[FILTERED]"})
        self.assertEqual([e["connection"] for e in journal], [1, 1, 2])
        self.assertEqual([e["status"] for e in journal], [200, 200, 401])
        self.assertEqual(third["credential_token_id"], None)
        self.assertIn("private-token", third["headers"])
        self.assertEqual(first["in_flight"], 1)

    def test_entries_have_duration_and_requests_in_flight(self):
        self.control("POST", "latency", {"ms": 1000})
        threads = [threading.Thread(target=self.get, args=(TOKENS,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        journal = self.control("GET", "journal")
        self.assertEqual(sorted(e["in_flight"] for e in journal), [1, 2, 3])
        self.assertTrue(all(e["duration_ms"] >= 990 for e in journal))


class Jitter(unittest.TestCase):
    def start(self, *arguments, **environment):
        process = Process(*arguments, **environment)
        self.addCleanup(process.terminate)
        return process

    def entries(self, process):
        return json.loads(process.request("GET", "/-/sim/journal").body)

    def overtakes(self, process):
        """Sends a request when the simulator has read another one. True if the journal has the
        second one first."""
        first, second = process.connect(), process.connect()
        for connection in first, second:
            process.request("GET", "/-/sim/status", connection=connection)
        process.request("DELETE", "/-/sim/journal")
        first.request("GET", "/api/v4/version?first")
        # The answer shows that the simulator has been through its connections since.
        process.request("GET", "/-/sim/status", connection=second)
        second.request("GET", "/api/v4/version?second")
        for connection in first, second:
            connection.getresponse().read()
            connection.close()
        return self.entries(process)[0]["path"].endswith("second")

    def test_jitter_lets_requests_overtake_each_other_before_they_are_recorded(self):
        process = self.start("--jitter", "50")
        self.assertTrue(any(self.overtakes(process) for _ in range(200)))
        self.assertFalse(all(self.overtakes(process) for _ in range(200)))

    def test_the_environment_switches_jitter_on(self):
        process = self.start(GITLAB_SIM_JITTER="50", GITLAB_SIM_JITTER_SEED="1")
        self.assertTrue(any(self.overtakes(process) for _ in range(200)))

    def test_without_jitter_requests_are_recorded_as_they_arrive(self):
        process = self.start()
        self.assertFalse(any(self.overtakes(process) for _ in range(20)))

    def test_a_reset_does_not_end_jitter(self):
        process = self.start("--jitter", "50")
        process.simctl("reset")
        self.assertTrue(any(self.overtakes(process) for _ in range(200)))

    def test_a_seed_makes_the_waits_of_jitter_repeatable(self):
        draw, again, other = (jitter(30, seed) for seed in ("1", "1", "2"))
        drawn = [draw() for _ in range(100)]
        self.assertEqual([again() for _ in range(100)], drawn)
        self.assertNotEqual([other() for _ in range(100)], drawn)
        self.assertTrue(all(0 <= seconds <= 0.03 for seconds in drawn))


class Simctl(FaultTest):
    def test_simctl_gives_a_token_another_secret(self):
        self.sim.simctl("token", "set", 8, "token=glpat-another")
        self.assertEqual(self.get(TOKENS + "/self", token="glpat-another").json()["id"], 8)

    def test_simctl_changes_and_shows_tokens(self):
        simctl = self.sim.simctl
        self.assertEqual(simctl("token", "add", "name=two words", "user_id=2"), "17\n")
        self.assertEqual(simctl("token", "set", 7, "revoked=true"), "")
        self.assertEqual(simctl("token", "remove", 8, 9), "")
        self.assertEqual(simctl("state", 5, 7, 9, 17),
                         "5 expired\n7 revoked\n9 missing\n17 active\n")
        self.assertEqual(simctl("tokens", 12, 17), '12 dave "deploy   key \\"x\\"" active\n'
                                                   '17 alice "two words" active\n')
        self.assertEqual(simctl("reset", "--tokens", 3, "--version", "19.4"), "")
        self.assertEqual(simctl("state", 19), "19 revoked\n")

    def test_simctl_shows_the_journal(self):
        simctl = self.sim.simctl
        self.get(TOKENS, per_page=2)
        self.call("POST", ALICES, {"scopes": ["api"], "name": "n"})
        lines = ("GET /api/v4/personal_access_tokens?per_page=2 200\n"
                 'POST /api/v4/users/2/personal_access_tokens 201 {"name":"n","scopes":["api"]}\n')
        self.assertEqual(simctl("journal"), lines)
        self.assertEqual(simctl("count"), "2\n")
        self.assertEqual(simctl("count", "per_page"), "1\n")
        self.assertEqual(simctl("journal", "--clear", "--method", "POST", "--connections"),
                         "#2 " + lines.splitlines(True)[1])
        self.assertEqual(simctl("journal"), "")

    def test_simctl_sets_faults_and_hooks(self):
        simctl = self.sim.simctl
        simctl("fault", "GET", "tokens", "edit", "set.0.id=7", "headers.X-Total=1")
        simctl("hook", "GET", "tokens", "revoke=2")
        answer = self.get(TOKENS)
        self.assertEqual((answer.ids()[0], answer.headers["X-Total"]), (7, "1"))
        self.assertEqual(simctl("faults"), "GET tokens edit matched=1 fired=1\n")
        self.assertEqual(simctl("state", 2), "2 revoked\n")
        simctl("clear-faults")
        self.assertEqual(simctl("faults"), "")

    def test_simctl_sets_the_clock_settings_users_and_variables(self):
        simctl = self.sim.simctl
        simctl("set", "admin_mode=true", 'rate_limit={"limit":5,"period":60}')
        self.assertTrue(self.control("GET", "settings")["admin_mode"])
        simctl("clock", "2030-01-01")
        simctl("clock", "+1.5")
        self.assertEqual(self.control("GET", "status")["now"], "2030-01-01T00:00:01.500000Z")
        simctl("clock", "real")
        simctl("user", "set", 2, "state=blocked")
        self.assertIn("2 alice blocked\n", simctl("users"))
        simctl("variable", "set", "project=1", "key=DEPLOY_PAT", "value=" + ALICE)
        self.assertIn("project acme/app DEPLOY_PAT * token 2 masked\n", simctl("variables"))

    def test_simctl_tells_of_failures(self):
        for words in (("reset", "--version", "x"), ("token", "set", 99, "revoked=true"),
                      ("set", "nonsense=1"), ("fault", "GET", ".", "rubbish"),
                      ("wait-for", "GET", "nothing", "--seconds", "0")):
            with self.assertRaises(AssertionError) as caught:
                self.sim.simctl(*words)
            self.assertIn("simctl: ", str(caught.exception))


class Server(unittest.TestCase):
    def test_a_server_with_a_prefix_ends_promptly(self):
        process = Process("--prefix", "/gitlab", "--gitlab-version", "19.4")
        self.assertTrue(process.url.endswith("/gitlab"))
        headers = {"PRIVATE-TOKEN": ADMIN}
        answer = process.request("GET", "/api/v4" + TOKENS, headers=headers)
        self.assertIn("gitlab.internal.invalid/gitlab/api/v4", answer.headers["Link"])
        self.assertEqual(process.request("GET", "/api/v4/version", headers=headers).json()
                         ["version"], "19.4.0-ee")
        process.simctl("fault", "GET", ".", "stall")
        stalled = process.connect()
        stalled.request("GET", "/gitlab/api/v4" + TOKENS, headers=headers)
        process.simctl("wait-for", "GET", TOKENS)
        self.assertEqual(process.simctl("journal").splitlines()[-1], "GET /api/v4%s -" % TOKENS)
        started = time.monotonic()
        self.assertEqual(process.terminate(), 0)
        self.assertLess(time.monotonic() - started, 4)
        stalled.close()

    def test_faults_work_over_tls(self):
        with tempfile.TemporaryDirectory() as directory:
            cert, key = Path(directory) / "cert.pem", Path(directory) / "key.pem"
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj",
                            "/CN=localhost", "-keyout", key, "-out", cert, "-days", "2"],
                           check=True, stderr=subprocess.DEVNULL)
            process = Process("--tls-cert", str(cert), "--tls-key", str(key))
        try:
            self.assertTrue(process.url.startswith("https://"))
            headers = {"PRIVATE-TOKEN": ADMIN}
            for kind, error in (("reset", OSError), ("close", OSError),
                                ("truncate", (OSError, http.client.IncompleteRead))):
                process.simctl("fault", "GET", ".", kind)
                with self.assertRaises((error, http.client.RemoteDisconnected)):
                    process.request("GET", "/api/v4" + TOKENS, headers=headers)
            answer = process.request("GET", "/api/v4" + TOKENS, headers=headers)
            self.assertEqual(answer.status, 200)
        finally:
            process.terminate()

    def test_wrong_arguments_are_refused(self):
        for arguments in (["--gitlab-version", "x"], ["--prefix", "gitlab/"], ["--tls-key", "k"],
                          ["--jitter", "-1"], ["--jitter", "10001"], ["--jitter", "x"]):
            result = subprocess.run(
                [str(Path(__file__).resolve().parent.parent / "gitlab-sim"), *arguments],
                stderr=subprocess.DEVNULL)
            self.assertEqual(result.returncode, 2)

    def test_connections_are_kept_alive(self):
        process = Process()
        try:
            with socket.create_connection(
                    (process.connect().host, process.connect().port)) as sock:
                for _ in range(3):
                    sock.sendall(b"GET /api/v4/version HTTP/1.1\r\nHost: x\r\n\r\n")
                    self.assertIn(b"401 Unauthorized", sock.recv(65536))
                    time.sleep(0.05)
        finally:
            process.terminate()
