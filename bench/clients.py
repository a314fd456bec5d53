"""The simulator, and the clients that are measured against it.

Every client is a process that stays, and is told by a line on its standard input what to do, so
that neither the start of an interpreter nor the first connection is measured. The exception is
curl, which is started anew for each task.
"""

import json
import os
import pathlib
import select
import subprocess
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
TOKEN = "glpat-sim-admin"
FIXTURE = 16  # tokens that the simulator has besides seeded ones
LOOKUPS = 20
REVOCATIONS = 200
SECONDS_PER_TICK = 1 / os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    pass


# --- the simulator -------------------------------------------------------------------


class Simulator:
    """A running simulator, by its control interface: see the simulator's README."""

    def __init__(self, url, pid=None):
        self.url = url
        self.pid = pid
        # A proxy of the environment must not see it.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def control(self, method, resource, body=None):
        """The answer's JSON, or None."""
        request = urllib.request.Request(
            "%s/-/sim/%s" % (self.url, resource), method=method,
            data=None if body is None else json.dumps(body).encode())
        with self.opener.open(request, timeout=120) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def seed(self, tokens, **more):
        self.control("POST", "reset", {"tokens": tokens - FIXTURE, **more})
        # python-gitlab follows Link headers, which otherwise name a foreign host.
        self.control("POST", "settings", {"external_url": self.url})

    def latency(self, milliseconds):
        self.control("POST", "latency", {"ms": milliseconds})

    def tokens(self):
        return self.control("GET", "tokens")

    def fault(self, method, probability, seed, status, moment="before"):
        """So many of the requests of a method fail, before or after they take effect."""
        self.control("POST", "faults", {
            "method": method, "path": "/api/v4", "kind": "status", "status": status,
            "moment": moment, "times": 0, "probability": probability, "seed": seed})

    def hook(self, nth, *actions):
        """Changes right after the nth page of a list was answered."""
        self.control("POST", "hooks",
                     {"method": "GET", "path": "page=", "nth": nth, "do": actions})

    def clear_journal(self):
        self.control("DELETE", "journal")

    def journal(self):
        return self.control("GET", "journal")


def revocable_ids():
    """Ids of seeded tokens that are active: see the simulator's README for the last digit."""
    numbers = (n for n in range(1, 1000) if n % 10 in (0, 1, 4, 5, 7, 8))
    return [FIXTURE + next(numbers) for _ in range(REVOCATIONS)]


# --- processes -----------------------------------------------------------------------


def cpu_seconds(pid):
    """User and system time so far; the command's name in parentheses may contain anything."""
    with open("/proc/%d/stat" % pid) as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * SECONDS_PER_TICK


def memory_kb(pid, name):
    with open("/proc/%d/status" % pid) as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1])
    raise Failure("no %s of process %d" % (name, pid))


class Worker:
    """A process that answers each line on its standard input with one line."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self.process.pid
        self.buffer = b""

    def ask(self, text, seconds=900):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()
        while b"\n" not in self.buffer:
            if not select.select([self.process.stdout], [], [], seconds)[0]:
                raise Failure("no answer to: " + text[:200])
            received = os.read(self.process.stdout.fileno(), 65536)
            if not received:
                raise Failure("%s ended at: %s" % (self.process.args[0], text[:200]))
            self.buffer += received
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode()

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)


class Session(Worker):
    """A session of psql, whose pid is that of the backend. Rows go to /dev/null."""

    def __init__(self, psql, socket):
        super().__init__(psql, "-X", "-q", "-A", "-t", "-h", socket, "-U", "postgres",
                         "-d", "bench", "-v", "ON_ERROR_STOP=1")
        self.pid = int(self.ask("SELECT pg_backend_pid();"))
        self.process.stdin.write(b"\\o /dev/null\n")

    def run(self, sql):
        self.ask(sql + ";\n\\echo done")

    def rows(self, sql):
        return int(self.ask(sql + ";\n\\echo :ROW_COUNT"))

    def value(self, sql):
        return int(self.ask(sql + " \\gset\n\\echo :result"))

    def failure(self, sql):
        """The SQLSTATE of a statement, which need not succeed."""
        return self.ask("\\set ON_ERROR_STOP off\n%s;\n\\echo :SQLSTATE" % sql)


# --- clients -------------------------------------------------------------------------


class Fdw:
    """gitlab_pat_fdw, with so many requests at a time."""

    sequential = False

    def __init__(self, setting, concurrency):
        self.name = "gitlab_pat_fdw, concurrency %d" % concurrency
        self.sequential = concurrency == 1
        self.kind = "fdw"
        self.table = "c%d.gitlab_personal_access_tokens" % concurrency
        self.session = Session(setting.psql, setting.socket)
        self.pid = self.session.pid
        self.session.run("SET gitlab_pat_fdw.max_changes = 1000")

    def list(self, _size):
        return self.session.rows("SELECT * FROM " + self.table)

    def active(self, _size):
        return self.session.rows("SELECT * FROM %s WHERE active" % self.table)

    def get(self, _size):
        for number in range(LOOKUPS):
            rows = self.session.rows("SELECT * FROM %s WHERE id = %d"
                                     % (self.table, FIXTURE + 1 + number))
            if rows != 1:
                raise Failure("a token was not found")
        return LOOKUPS

    def count(self, _size):
        return self.session.value("SELECT count(*) AS result FROM " + self.table)

    def revoke(self, _size):
        return self.session.rows("DELETE FROM %s WHERE id = ANY ('{%s}')"
                                 % (self.table, ",".join(map(str, revocable_ids()))))


class Process:
    """A client in a language of its own, which speaks the protocol of floor.c."""

    sequential = True

    def __init__(self, name, kind, *command):
        self.name = name
        self.kind = kind
        self.worker = Worker(*command)
        self.pid = self.worker.pid

    def list(self, _size):
        return int(self.worker.ask("list "))

    def active(self, _size):
        return int(self.worker.ask("list &state=active" if self.kind == "c"
                                   else "list state=active"))

    def get(self, _size):
        return sum(int(self.worker.ask("get %d" % (FIXTURE + 1 + number)))
                   for number in range(LOOKUPS))

    def count(self, size):
        if self.kind == "c":  # one request, which a total needs at least
            self.worker.ask("get 1")
            return size
        return int(self.worker.ask("count "))

    def revoke(self, _size):
        return int(self.worker.ask("delete " + ",".join(map(str, revocable_ids()))))

    def ask(self, *words):
        return int(self.worker.ask(" ".join(words)))


class PgsqlHttp:
    """pgsql-http, with the functions of peers/pgsql_http.sql."""

    sequential = True
    name = "pgsql-http"
    kind = "peer"

    def __init__(self, setting, url):
        self.session = Session(setting.psql, setting.socket)
        self.pid = self.session.pid
        self.session.run("SET bench.url = '%s';\nSET bench.token = '%s';\n"
                         "SELECT http_set_curlopt('CURLOPT_TCP_KEEPALIVE', '1')" % (url, TOKEN))

    def list(self, _size):
        return self.session.rows("SELECT * FROM pgsql_http.list('')")

    def active(self, _size):
        return self.session.rows("SELECT * FROM pgsql_http.list('&state=active')")

    def get(self, _size):
        return sum(self.session.rows("SELECT content::jsonb FROM pgsql_http.request('GET', '/%d')"
                                     % (FIXTURE + 1 + number)) for number in range(LOOKUPS))

    def count(self, _size):
        return self.session.value(
            "SELECT value AS result FROM pgsql_http.request('GET', '?per_page=1'),"
            " unnest(headers) WHERE lower(field) = 'x-total'")

    def revoke(self, _size):
        return self.session.rows("SELECT pgsql_http.request('DELETE', '/' || id)"
                                 " FROM unnest('{%s}'::bigint[]) AS id"
                                 % ",".join(map(str, revocable_ids())))


class Curl:
    """The program curl, 16 requests at a time, told all URLs beforehand."""

    sequential = False
    kind = "curl"
    pid = None
    get = count = None

    def __init__(self, url, *options):
        self.name = " ".join(("curl --parallel", *options))
        self.options = options
        self.tokens_url = url + "/api/v4/personal_access_tokens"
        self.active_tokens = None

    def transfer(self, path, *more):
        # The credential and the URLs are read from standard input, the configuration.
        configuration = ("header = \"Authorization: Bearer %s\"\nurl = \"%s%s\"\n"
                         % (TOKEN, self.tokens_url, path))
        subprocess.run(["curl", "--silent", "--fail", "--compressed", "--parallel",
                        "--parallel-max", "16", *self.options, *more,
                        "--output", "/dev/null", "--config", "-"],
                       input=configuration.encode(), check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def list(self, size, query=""):
        self.transfer("?per_page=100&page=[1-%d]%s" % (-(-size // 100), query))
        return size

    def active(self, _size):
        return self.list(self.active_tokens, "&state=active")

    def revoke(self, _size):
        self.transfer("/{%s}" % ",".join(map(str, revocable_ids())), "--request", "DELETE")
        return REVOCATIONS
