"""Measures the statements that goals.py has goals for.

Each is measured by its requests, as the simulator's journal has them, and by its time, beside
clients that do the same work. All of one kind of work are measured in turns, at the same latency.
"""

import datetime
import statistics
import time
from functools import partial
from typing import Callable, NamedTuple

from clients import FIXTURE, Failure, Session, cpu_seconds
from goals import (CONCURRENCY, DIRECTORY, DUE, DUE_MANY, DUE_ONE, FDW, FDW_JOIN, IDEAL, LIST, OWNERS, PYTHON,
                   ROTATIONS, RUBY, SOON_OWNERS)

LATENCY = 50
VERSION = "18.11"  # that servers declare: the simulator's
FAULTS = 0.05  # of the requests
INSTANCE = 2000  # tokens of each of three instances
COMINGS = 40  # changes while a long list is read
NEXT = FIXTURE + 1  # the id of the first token after the fixture's
LAST = FIXTURE + ROTATIONS
CREATED = "2024-02-01T00:00:00Z"  # what was created before anything was asked
TOKENS = "gitlab_personal_access_tokens"

# The secrets are kept: that is what one rotates for.
UPDATE = """WITH new AS (
  UPDATE c16.%s SET expires_at = current_date + 90 WHERE name LIKE 'seed %%' RETURNING id, name, token)
INSERT INTO kept SELECT * FROM new""" % TOKENS
UPDATE_JOIN = """WITH new AS (
  UPDATE c16.%s t SET expires_at = current_date + 90 FROM due WHERE due.id = t.id
  RETURNING t.id, t.name, t.token)
INSERT INTO kept SELECT * FROM new""" % TOKENS
INSERT = """INSERT INTO kept_at_once.%s (user_id, name, scopes, expires_at)
SELECT owner, 'seed ' || n, '{api}', current_date + 90 FROM wanted""" % TOKENS
SOON = """SELECT u.username, t.id, t.name, t.expires_at
FROM c16.%s t JOIN c16.gitlab_users u ON u.id = t.user_id
WHERE t.active AND t.expires_at < current_date + 30""" % TOKENS
ROTATE_DUE = """CALL gitlab_pat_rotate_due('token_deliveries', 'token_rotations',
tokens => 'c16.gitlab_personal_access_tokens', users => 'c16.gitlab_users',
variables => 'c16.gitlab_project_variables')"""

TABLES = """
CREATE TABLE kept (id bigint, name text, token text);
CREATE TABLE due (id bigint PRIMARY KEY);
CREATE TABLE wanted (n integer, owner bigint);
CREATE TABLE token_deliveries (token_name text, owner text, project text, variable text,
  environment_scope text, days integer);
CREATE TABLE token_rotations (at timestamptz, owner text, token_name text, old_id bigint,
  new_id bigint, outcome text, message text, fingerprint text, revoke_after timestamptz);
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO kept VALUES (NEW.id, NEW.name, NEW.token);
  RETURN NEW;
END $$;
CREATE TRIGGER keep AFTER INSERT ON kept_at_once.gitlab_personal_access_tokens
  FOR EACH ROW EXECUTE FUNCTION keep();
"""


def day(days):
    """The date in so many days, as GitLab has it."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return (today + datetime.timedelta(days=days)).isoformat()


class Client(NamedTuple):
    """Who does the work."""

    name: str
    kind: str
    function: Callable
    result: object  # what the function is to return
    right: Callable = lambda: True  # whether all is as it should be afterwards
    slow: bool = False  # takes long and varies little: one request at a time


class Statements:
    def __init__(self, bench):
        self.bench = bench
        self.quick = bench.setting.quick
        self.simulator = bench.simulator
        self.rows = []
        for name, simulator in zip(("north", "south", "west"), bench.simulators):
            bench.create_server(name, simulator, 4)
        bench.create_server("kept_at_once", self.simulator, CONCURRENCY)
        bench.create_server("declared", self.simulator, CONCURRENCY, VERSION)
        bench.psql("-c", TABLES)
        bench.psql("-c", "CREATE VIEW everywhere AS " + " UNION ALL ".join(
            "SELECT '%s' AS instance, * FROM %s.%s" % (name, name, TOKENS)
            for name in ("north", "south", "west")))
        self.python, self.ruby = bench.peers[:2]
        self.session = self.open_session()

    def open_session(self):
        session = Session(self.bench.setting.psql, self.bench.setting.socket)
        session.run("SET gitlab_pat_fdw.max_changes = 1000")
        return session

    def run(self):
        """What is measured, as results.json has it."""
        self.rotate()
        self.rotate_with_faults()
        self.rotate_with_lost_answers()
        self.insert()
        self.read_little()
        self.read_instances()
        self.read_long_list()
        self.read_soon()
        self.rotate_due()
        self.simulator.latency(0)
        self.cpu()
        return {"latency_ms": LATENCY, "rows": self.rows}

    # --- measuring -------------------------------------------------------------------

    def measure(self, work, prepare, *clients, turns=5):
        """In turns, so that what else the machine does hits all alike."""
        runs = {client: [] for client in clients}
        for turn in range(1 if self.quick else turns):
            for client in clients:
                if turn == 0 or not client.slow:
                    prepare(turn)
                    runs[client].append(self.time(client))
        for client in clients:
            self.add(work, client.name, client.kind, runs[client])

    def time(self, client):
        simulators = self.bench.simulators
        for simulator in simulators:
            simulator.latency(LATENCY)
            simulator.clear_journal()
        start = time.monotonic()
        result = client.function()
        seconds = time.monotonic() - start
        self.simulator.latency(0)
        self.simulator.control("DELETE", "faults")
        self.simulator.control("DELETE", "hooks")
        journal = [entry for simulator in simulators for entry in simulator.journal()]
        return {"seconds": seconds, "requests": len(journal),
                "in_flight": max((entry["in_flight"] for entry in journal), default=0),
                "right": result == client.result and client.right()}

    def add(self, work, client, kind, runs):
        row = {"work": work, "client": client, "kind": kind,
               "seconds": statistics.median(run["seconds"] for run in runs),
               "requests": max(run["requests"] for run in runs),
               "in_flight": min(run["in_flight"] for run in runs),
               "right": all(run["right"] for run in runs),
               "all_seconds": [round(run["seconds"], 4) for run in runs],
               "all_requests": [run["requests"] for run in runs]}
        self.rows.append(row)
        print("%-16s %-36s %9.1f ms %5d requests%s" % (
            work, client, row["seconds"] * 1000, row["requests"],
            "" if row["right"] else "  WRONG"), flush=True)

    # --- rotating --------------------------------------------------------------------

    def seed_rotations(self, _turn=0):
        """Tokens of some users; their ids are those after the fixture's."""
        self.simulator.seed(FIXTURE, users=OWNERS)
        self.owners = [user["id"] for user in self.simulator.control("GET", "users")
                       if user["username"].startswith("user0")]
        for number in range(ROTATIONS):
            self.simulator.control("POST", "tokens", {
                "user_id": self.owners[number % OWNERS], "name": "seed %d" % number,
                "scopes": ["api"], "expires_at": day(9), "created_at": CREATED})
        self.session.run("TRUNCATE kept")

    def states(self):
        """(how many of the old tokens are active, how many of the new ones)"""
        active = [token["id"] for token in self.simulator.tokens() if token["state"] == "active"]
        return (sum(NEXT <= token_id <= LAST for token_id in active),
                sum(token_id > LAST for token_id in active))

    def rotated(self):
        return self.states() == (0, ROTATIONS)

    def kept(self):
        """Whether the caller's table has a secret of each new token."""
        return self.session.value("SELECT count(DISTINCT token) AS result FROM kept") == ROTATIONS

    def rotating_clients(self):
        self.seed_rotations()
        ids = range(NEXT, LAST + 1)
        self.session.run("INSERT INTO due SELECT generate_series(%d, %d) ON CONFLICT DO NOTHING;"
                         "ANALYZE due" % (NEXT, LAST))
        pairs = ",".join("%d:%d" % (token_id, self.owners[number % OWNERS])
                         for number, token_id in enumerate(ids))
        rotation = "rotate", day(90), ",".join(map(str, ids))
        ideal = self.bench.ideal
        yield Client(IDEAL, "ideal", lambda: ideal.ask("replace", day(90), pairs), ROTATIONS,
                     self.rotated)
        for name, sql in ((FDW, UPDATE), (FDW_JOIN, UPDATE_JOIN)):
            yield Client(name, "fdw", partial(self.open_session().rows, sql), ROTATIONS,
                         lambda: self.rotated() and self.kept())
        for name, peer in ((PYTHON, self.python), (RUBY, self.ruby)):
            yield Client(name, "peer", partial(peer.ask, *rotation), ROTATIONS, self.rotated,
                         slow=True)

    def rotate(self):
        self.measure("rotate", self.seed_rotations, *self.rotating_clients())

    def rotate_with_faults(self):
        """What was not carried out may be repeated: 503 to a GET, but only 429 to a POST."""
        def prepare(turn):
            self.seed_rotations()
            for method, status in (("GET", 503), ("DELETE", 503), ("POST", 429)):
                self.simulator.fault(method, FAULTS, turn, status)
        # ruby-gitlab repeats no request that has failed with 503
        clients = [client for client in self.rotating_clients() if client.name != RUBY]
        self.measure("rotate, faults", prepare, *clients)

    def rotate_with_lost_answers(self):
        """A 503 to a POST leaves open whether a token was created: here it was."""
        def prepare(turn):
            self.seed_rotations()
            for method, moment in (("GET", "before"), ("DELETE", "before"), ("POST", "after")):
                self.simulator.fault(method, FAULTS, turn, 503, moment)

        def undone():
            lost = sum(entry["method"] == "POST" and entry["status"] == 503
                       for entry in self.simulator.journal())
            return lost > 0 and self.states() == (ROTATIONS, lost)
        session = self.open_session()
        session.run("\\set VERBOSITY sqlstate\nSET client_min_messages = error")
        self.measure("rotate, lost", prepare, Client(
            FDW, "fdw", lambda: session.failure(UPDATE), "08006", undone))

    # --- other statements ------------------------------------------------------------

    def insert(self):
        self.seed_rotations()
        self.session.run("INSERT INTO wanted SELECT n, %d + n %% %d FROM generate_series(1, %d) n"
                         % (self.owners[0], OWNERS, ROTATIONS))
        pairs = ",".join("0:%d" % self.owners[n % OWNERS] for n in range(ROTATIONS))

        def created():
            return self.states() == (ROTATIONS, ROTATIONS)
        ideal = self.bench.ideal
        self.measure(
            "insert", self.seed_rotations,
            Client(IDEAL, "ideal", lambda: ideal.ask("replace", day(90), pairs), ROTATIONS,
                   created),
            Client(FDW, "fdw", lambda: self.session.rows(INSERT), ROTATIONS,
                   lambda: created() and self.kept()))

    def read_little(self):
        """In new sessions: what is asked once a session counts, too."""
        for work, sql, rows in (
                ("limit", "SELECT * FROM c16.%s LIMIT 250" % TOKENS, 250),
                ("newest by id", "SELECT * FROM declared.%s ORDER BY id DESC LIMIT 5" % TOKENS, 5),
                ("newest by time",
                 "SELECT * FROM declared.%s ORDER BY created_at DESC LIMIT 5" % TOKENS, 5)):
            self.measure(work, lambda _turn: self.simulator.seed(10000),
                         Client(FDW, "fdw", partial(self.open_session().rows, sql), rows), turns=1)

    def read_instances(self):
        for simulator in self.bench.simulators:
            simulator.seed(INSTANCE)
        one = "SELECT * FROM north." + TOKENS
        three = "SELECT * FROM everywhere"
        self.session.rows(three)
        self.measure(
            "instances", lambda _turn: None,
            Client("one instance", "fdw", lambda: self.session.rows(one), INSTANCE),
            Client("three instances", "fdw", lambda: self.session.rows(three), 3 * INSTANCE))

    def read_long_list(self):
        """Tokens come and go, so that rows slide from page to page."""
        gone = [NEXT + 1000 + 50 * number for number in range(COMINGS)]

        def prepare(_turn):
            self.simulator.seed(LIST)
            for number, token_id in enumerate(gone, 1):
                self.simulator.hook(3 * number, {"remove": token_id}, {
                    "create": {"user_id": 2, "name": "new", "scopes": ["api"]}})
        staying = "id <= %d AND id <> ALL ('{%s}')" % (LIST, ",".join(map(str, gone)))
        self.measure("long list", prepare, Client(
            FDW, "fdw", lambda: self.session.value(
                "SELECT CASE count(*) WHEN count(DISTINCT id) THEN count(*) END AS result"
                " FROM (SELECT * FROM c16.%s OFFSET 0) t WHERE %s" % (TOKENS, staying)),
            LIST - COMINGS), turns=3)

    def read_soon(self):
        """With the query of the cookbook, and no statistics."""
        def prepare(_turn):
            self.simulator.seed(1000, users=DIRECTORY)
            for token in self.simulator.tokens()[:FIXTURE]:
                self.simulator.control("PATCH", "tokens/%d" % token["id"],
                                       {"expires_at": day(300)})
            users = self.simulator.control("GET", "users")
            for number in range(2 * SOON_OWNERS):
                self.simulator.control("POST", "tokens", {
                    "user_id": users[1000 + 100 * (number % SOON_OWNERS)]["id"],
                    "name": "soon", "scopes": ["api"], "expires_at": day(9),
                    "created_at": CREATED})
        self.measure("soon", prepare, Client(
            FDW, "fdw", partial(self.open_session().rows, SOON), 2 * SOON_OWNERS), turns=1)

    def rotate_due(self):
        """One token, and several of the same owner, that the job has delivered before."""
        def prepare(_turn):
            self.simulator.seed(FIXTURE)
            for number in names:
                self.simulator.control("POST", "tokens", {
                    "id": 100 + number, "user_id": 2, "name": "job %d" % number,
                    "scopes": ["api"], "token": "glpat-job-%d" % number, "expires_at": day(9),
                    "created_at": CREATED})
                self.simulator.control("POST", "variables", {
                    "project": "acme/app", "key": "JOB_%d" % number,
                    "value": "glpat-job-%d" % number})
            self.session.run(
                "TRUNCATE token_deliveries, token_rotations; INSERT INTO token_deliveries"
                " SELECT 'job ' || n, 'alice', 'acme/app', 'JOB_' || n, '*', 14"
                " FROM generate_series(0, %d) n" % (len(names) - 1))
            self.session.run("SET client_min_messages = warning;" + ROTATE_DUE)
            for variable in held():
                self.simulator.control("PATCH", "tokens/%d" % variable["token_id"],
                                       {"expires_at": day(9)})

        def held():
            return [variable for variable in self.simulator.control("GET", "variables")
                    if variable["key"].startswith("JOB_")]

        def delivered():
            return len(held()) == len(names) and all(
                variable["token_state"] == "active"
                and variable["token_id"] >= 100 + 2 * len(names) for variable in held())
        for client, names in ((DUE_ONE, range(1)), (DUE_MANY, range(DUE))):
            session = self.open_session()
            session.run("SET client_min_messages = warning")
            self.measure("rotate_due", prepare, Client(
                client, "fdw", lambda: session.run(ROTATE_DUE), None, delivered), turns=1)

    # --- CPU time --------------------------------------------------------------------

    def cpu(self):
        """CPU time per token, over several lists: the clock has only 100 ticks a second."""
        size = 10000 if self.quick else 100000
        turns = 5
        self.simulator.seed(size)
        clients = [client for client in self.bench.clients if client.pid]
        used = dict.fromkeys(clients, 0.0)
        for _ in range(turns):
            for client in clients:
                before = cpu_seconds(client.pid)
                if client.list(size) != size:
                    raise Failure("%s has missed tokens" % client.name)
                used[client] += cpu_seconds(client.pid) - before
        for client in clients:
            self.rows.append({"work": "cpu", "client": client.name, "kind": client.kind,
                              "tokens": size, "cpu_seconds": used[client] / turns / size})
            print("%-16s %-36s %9.2f µs" % (
                "cpu", client.name, self.rows[-1]["cpu_seconds"] * 1e6), flush=True)
