#!/usr/bin/python3
"""Measures; to be called by bench/run, which has set everything up.

Every client is a process that stays, and is told by a line on its standard input what to do, so
that neither the start of an interpreter nor the first connection is measured. The exception is
curl, which is started anew for each task.
"""

import argparse
import json
import os
import pathlib
import select
import statistics
import subprocess
import sys
import time

import report

HERE = pathlib.Path(__file__).resolve().parent
TOKEN = "glpat-sim-admin"
FIXTURE = 16  # tokens that the simulator has besides seeded ones
LATENCIES = (0, 20, 50)
LOOKUPS = 20
REVOCATIONS = 200
SECONDS_PER_TICK = 1 / os.sysconf("SC_CLK_TCK")

# The task's name, and the numbers of tokens that it is measured with.
TASKS = {"list": (1000, 10000, 100000), "active": (10000,), "get": (10000,),
         "count": (10000,), "revoke": (1000,)}
QUICK_SIZES = (1000, 10000)


class Failure(Exception):
    pass


# --- the simulator -------------------------------------------------------------------


class Simulator:
    def __init__(self, url, pid):
        self.url = url
        self.pid = pid
        self.simctl = HERE.parent / "test" / "gitlab_sim" / "simctl"

    def control(self, *words):
        subprocess.run([self.simctl, *words], check=True, timeout=120,
                       env={**os.environ, "GITLAB_SIM_URL": self.url})

    def seed(self, tokens):
        self.control("reset", "--tokens", str(tokens - FIXTURE))
        # python-gitlab follows Link headers, which otherwise name a foreign host.
        self.control("set", "external_url=" + self.url)

    def latency(self, milliseconds):
        self.control("latency", str(milliseconds))


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

    def rows(self, sql):
        return int(self.ask(sql + ";\n\\echo :ROW_COUNT"))

    def value(self, sql):
        return int(self.ask(sql + " \\gset\n\\echo :result"))


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
        self.session.ask("SET gitlab_pat_fdw.max_changes = 1000;\n\\echo set")

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


class PgsqlHttp:
    """pgsql-http, with the functions of peers/pgsql_http.sql."""

    sequential = True
    name = "pgsql-http"
    kind = "peer"

    def __init__(self, setting):
        self.session = Session(setting.psql, setting.socket)
        self.pid = self.session.pid
        self.session.ask("SET bench.url = '%s';\nSET bench.token = '%s';\n"
                         "SELECT http_set_curlopt('CURLOPT_TCP_KEEPALIVE', '1');\n\\echo set"
                         % (setting.simulator, TOKEN))

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

    def __init__(self, setting, *options):
        self.name = " ".join(("curl --parallel", *options))
        self.options = options
        self.tokens_url = setting.simulator + "/api/v4/personal_access_tokens"
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


# --- measuring -----------------------------------------------------------------------


class Bench:
    def __init__(self, setting):
        self.setting = setting
        self.simulator = Simulator(setting.simulator, setting.simulator_pid)
        self.results = []
        self.create_tables()
        self.floor = Process("libcurl + json-c, one connection", "c",
                             setting.floor, setting.simulator, TOKEN)
        self.curl = [Curl(setting), Curl(setting, "--parallel-immediate")]
        self.clients = [*self.curl, self.floor,
                        *(Fdw(setting, concurrency) for concurrency in (16, 4, 1)), *self.peers()]

    def peers(self):
        peers = HERE / "peers"
        arguments = (self.setting.simulator, TOKEN)
        yield Process("python-gitlab", "peer", "/usr/bin/python3",
                      str(peers / "python_gitlab.py"), *arguments)
        yield Process("ruby-gitlab", "peer", "/usr/bin/ruby", str(peers / "ruby_gitlab.rb"),
                      *arguments)
        if self.has_pgsql_http:
            self.psql("-f", str(peers / "pgsql_http.sql"))
            yield PgsqlHttp(self.setting)

    def psql(self, *words, database="bench"):
        return subprocess.run(
            [self.setting.psql, "-X", "-q", "-A", "-t", "-h", self.setting.socket,
             "-U", "postgres", "-d", database, "-v", "ON_ERROR_STOP=1", *words],
            check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def create_tables(self):
        self.psql("-c", "CREATE DATABASE bench", database="postgres")
        statements = ["CREATE EXTENSION gitlab_pat_fdw"]
        for concurrency in (1, 4, 16):
            names = {"c": concurrency, "url": self.setting.simulator, "token": TOKEN}
            statements += [text % names for text in (
                "CREATE SERVER gitlab_%(c)d FOREIGN DATA WRAPPER gitlab_pat_fdw"
                " OPTIONS (url '%(url)s', concurrency '%(c)d')",
                "CREATE USER MAPPING FOR CURRENT_USER SERVER gitlab_%(c)d"
                " OPTIONS (token '%(token)s')",
                "CREATE SCHEMA c%(c)d",
                "IMPORT FOREIGN SCHEMA gitlab FROM SERVER gitlab_%(c)d INTO c%(c)d")]
        for statement in statements:
            self.psql("-c", statement)
        self.has_pgsql_http = self.psql(
            "-c", "SELECT count(*) FROM pg_available_extensions WHERE name = 'http'") == "1"

    def repetitions(self, task, size, latency, client):
        """Fewer of what takes long and varies little: one request at a time, each delayed."""
        slow = client.sequential and latency > 0
        big = size > (1000 if self.setting.quick else 10000) or task == "revoke"
        if slow:
            return 1 if big else 3
        return 3 if big or self.setting.quick else 5

    def run(self):
        for task, sizes in TASKS.items():
            for size in sizes:
                if self.setting.quick and size not in QUICK_SIZES:
                    continue
                self.simulator.seed(size)
                self.prepare(task, size)
                for latency in LATENCIES:
                    self.measure(task, size, latency)
        self.simulator.latency(0)

    def prepare(self, task, size):
        """Makes connections, and learns what curl has to be told."""
        for client in self.clients:
            if client.get:
                client.get(size)
        if task == "active":
            for curl in self.curl:
                curl.active_tokens = self.floor.active(size)

    def measure(self, task, size, latency):
        clients = [client for client in self.clients if getattr(client, task)]
        runs = {client: [] for client in clients}
        # In turns, so that what else the machine does hits all alike.
        for turn in range(5):
            for client in clients:
                if turn < self.repetitions(task, size, latency, client):
                    if task == "revoke":
                        self.simulator.seed(size)
                    self.simulator.latency(latency)
                    runs[client].append(self.time(client, task, size))
        for client in clients:
            counts = {run["objects"] for run in runs[client]}
            if counts != {self.expected(task, size)}:
                raise Failure("%s counted %s of %s" % (client.name, counts, size))
            result = {"task": task, "tokens": size, "latency_ms": latency,
                      "client": client.name, "kind": client.kind, "runs": len(runs[client])}
            result["seconds"] = statistics.median(run["seconds"] for run in runs[client])
            result["simulator_share"] = self.simulator_share(runs[client])
            result["all_seconds"] = [round(run["seconds"], 4) for run in runs[client]]
            self.results.append(result)
            print("%-7s %7d tokens %3d ms  %-36s %9.1f ms" %
                  (task, size, latency, client.name, result["seconds"] * 1000), flush=True)

    def expected(self, task, size):
        return {"active": self.curl[0].active_tokens, "get": LOOKUPS,
                "revoke": REVOCATIONS}.get(task, size)

    def time(self, client, task, size):
        simulator_cpu = cpu_seconds(self.simulator.pid)
        cpu = cpu_seconds(client.pid) if client.pid else None
        start = time.monotonic()
        objects = getattr(client, task)(size)
        elapsed = time.monotonic() - start
        if client.pid:
            cpu = cpu_seconds(client.pid) - cpu
        return {"seconds": elapsed / (LOOKUPS if task == "get" else 1), "elapsed": elapsed,
                "objects": objects, "cpu_seconds": cpu,
                "simulator_cpu": cpu_seconds(self.simulator.pid) - simulator_cpu}

    @staticmethod
    def simulator_share(runs):
        """How much of a core the simulator used; None if it was too short to tell."""
        elapsed = sum(run["elapsed"] for run in runs)
        if elapsed < 20 * SECONDS_PER_TICK:
            return None
        return round(sum(run["simulator_cpu"] for run in runs) / elapsed, 3)

    def cpu(self, size):
        """CPU seconds per token, over several lists: the clock has only 100 ticks a second."""
        self.simulator.seed(size)
        turns = 5
        clients = [client for client in self.clients if client.pid]
        used = dict.fromkeys(clients, 0.0)
        for _ in range(turns):
            for client in clients:
                used[client] += self.time(client, "list", size)["cpu_seconds"]
        return {"tokens": size, "clients": [
            {"client": client.name, "kind": client.kind,
             "seconds_per_token": used[client] / turns / size} for client in clients]}

    def memory(self, size):
        """How much a fresh backend grows by listing, at its peak, and once more."""
        self.simulator.seed(size)
        client = Fdw(self.setting, 16)
        client.get(size)
        before = memory_kb(client.pid, "VmRSS")
        if client.list(size) != size:
            raise Failure("rows are missing")
        after = memory_kb(client.pid, "VmRSS")
        peak = memory_kb(client.pid, "VmHWM")
        client.list(size)
        again = memory_kb(client.pid, "VmRSS")
        client.session.close()
        return {"tokens": size, "before_kb": before, "grown_kb": after - before,
                "peak_kb": peak - before, "second_kb": again - after}

    def versions(self):
        def package(name):
            answer = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name],
                                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            return answer.stdout or "unknown"
        return [self.psql("-c", "SELECT gitlab_pat_fdw_version()"),
                "curl " + subprocess.run(["curl", "--version"], check=True, text=True,
                                         stdout=subprocess.PIPE).stdout.split()[1],
                "python-gitlab " + package("python3-gitlab"),
                "ruby-gitlab " + package("ruby-gitlab"),
                "pgsql-http " + (self.psql("-c", "SELECT extversion FROM pg_extension"
                                                 " WHERE extname = 'http'")
                                 if self.has_pgsql_http else "not available")]


def machine():
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file
                  if line.startswith("model name")]
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) / 1024 / 1024
    with open("/etc/os-release") as file:
        system = dict(line.rstrip("\n").partition("=")[::2] for line in file)
    return "%s, %d cores, %.0f GB; %s, Linux %s" % (
        models[0] if models else "unknown processor", os.cpu_count(), memory,
        system.get("PRETTY_NAME", "unknown").strip('"'), os.uname().release)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--simulator-pid", type=int, required=True)
    for name in ("psql", "socket", "simulator", "floor", "output"):
        parser.add_argument("--" + name, required=True)
    return parser.parse_args()


def main():
    setting = arguments()
    load = os.getloadavg()
    started = time.monotonic()
    bench = Bench(setting)
    bench.run()
    size = 10000 if setting.quick else 100000
    results = {"date": time.strftime("%Y-%m-%d", time.gmtime()), "quick": setting.quick,
               "machine": machine(), "versions": bench.versions(),
               "load_before": load, "measurements": bench.results,
               "cpu": bench.cpu(size), "memory": bench.memory(size),
               "load_after": os.getloadavg(), "minutes": (time.monotonic() - started) / 60}
    report.write(results, pathlib.Path(setting.output))


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit("measure.py: %s" % failure)
