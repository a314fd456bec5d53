#!/usr/bin/python3
"""Measures; to be called by bench/run, which has set everything up."""

import argparse
import os
import pathlib
import subprocess
import sys
import time

import report
from clients import HERE, TOKEN, Curl, Failure, Fdw, PgsqlHttp, Process, Simulator
from goals import BARE, CONCURRENCY, PYTHON, RUBY
from lists import Lists
from statements import Statements

PARTS = {"statements": Statements, "lists": Lists}


class Bench:
    """What the parts share: the database, the simulators, and the clients."""

    def __init__(self, setting):
        self.setting = setting
        self.simulators = [Simulator(url) for url in setting.simulator]
        self.simulator = self.simulators[0]
        self.simulator.pid = setting.simulator_pid
        self.create_tables()
        self.floor = Process(BARE, "c", setting.floor, self.simulator.url, TOKEN)
        self.ideal = Process("ideal client", "ideal", setting.ideal, self.simulator.url, TOKEN,
                             str(CONCURRENCY))
        self.curl = [Curl(self.simulator.url), Curl(self.simulator.url, "--parallel-immediate")]
        self.peers = list(self.start_peers())
        self.clients = [*self.curl, self.floor,
                        *(Fdw(setting, concurrency) for concurrency in (16, 4, 1)), *self.peers]

    def start_peers(self):
        peers = HERE / "peers"
        arguments = (self.simulator.url, TOKEN)
        yield Process(PYTHON, "peer", "/usr/bin/python3", str(peers / "python_gitlab.py"),
                      *arguments)
        yield Process(RUBY, "peer", "/usr/bin/ruby", str(peers / "ruby_gitlab.rb"), *arguments)
        if self.has_pgsql_http:
            self.psql("-f", str(peers / "pgsql_http.sql"))
            yield PgsqlHttp(self.setting, self.simulator.url)

    def psql(self, *words, database="bench"):
        return subprocess.run(
            [self.setting.psql, "-X", "-q", "-A", "-t", "-h", self.setting.socket,
             "-U", "postgres", "-d", database, "-v", "ON_ERROR_STOP=1", *words],
            check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def create_tables(self):
        self.psql("-c", "CREATE DATABASE bench", database="postgres")
        self.psql("-c", "CREATE EXTENSION gitlab_pat_fdw")
        for concurrency in (1, 4, 16):
            self.create_server("c%d" % concurrency, self.simulator, concurrency)
        self.has_pgsql_http = self.psql(
            "-c", "SELECT count(*) FROM pg_available_extensions WHERE name = 'http'") == "1"

    def create_server(self, schema, simulator, concurrency, version=None):
        """A server, and all tables of it in a schema."""
        self.psql(
            "-c", "CREATE SERVER %s %s FOREIGN DATA WRAPPER gitlab_pat_fdw"
            " OPTIONS (url '%s', concurrency '%d')"
            % (schema, "VERSION '%s'" % version if version else "", simulator.url, concurrency),
            "-c", "CREATE USER MAPPING FOR CURRENT_USER SERVER %s OPTIONS (token '%s')"
            % (schema, TOKEN),
            "-c", "CREATE SCHEMA " + schema,
            "-c", "IMPORT FOREIGN SCHEMA gitlab FROM SERVER %s INTO %s" % (schema, schema))

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
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--simulator-pid", type=int, required=True)
    parser.add_argument("--simulator", action="append", required=True)
    for name in ("psql", "socket", "floor", "ideal", "output"):
        parser.add_argument("--" + name, required=True)
    return parser.parse_args()


def main():
    setting = arguments()
    bench = Bench(setting)
    parts = {}
    for name, part in PARTS.items():
        if setting.only in (None, name):
            load = os.getloadavg()
            started = time.monotonic()
            parts[name] = {
                "date": time.strftime("%Y-%m-%d", time.gmtime()), "quick": setting.quick,
                "machine": machine(), "versions": bench.versions(), **part(bench).run(),
                "load_before": load, "load_after": os.getloadavg(),
                "minutes": (time.monotonic() - started) / 60}
    report.update(parts, pathlib.Path(setting.output))


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit("measure.py: %s" % failure)
