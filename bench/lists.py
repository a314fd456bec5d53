"""Measures how long clients take to list, count, look up and revoke tokens."""

import statistics
import time

from clients import (LOOKUPS, REVOCATIONS, SECONDS_PER_TICK, Failure, Fdw, cpu_seconds,
                     memory_kb)

LATENCIES = (0, 20, 50)

# The task's name, and the numbers of tokens that it is measured with.
TASKS = {"list": (1000, 10000, 100000), "active": (10000,), "get": (10000,),
         "count": (10000,), "revoke": (1000,)}
QUICK_SIZES = (1000, 10000)


class Lists:
    def __init__(self, bench):
        self.setting = bench.setting
        self.simulator = bench.simulator
        self.clients = bench.clients
        self.floor = bench.floor
        self.curl = bench.curl
        self.results = []

    def run(self):
        """What is measured, as results.json has it."""
        for task, sizes in TASKS.items():
            for size in sizes:
                if self.setting.quick and size not in QUICK_SIZES:
                    continue
                self.simulator.seed(size)
                self.prepare(task, size)
                for latency in LATENCIES:
                    self.measure(task, size, latency)
        self.simulator.latency(0)
        return {"measurements": self.results,
                "memory": self.memory(10000 if self.setting.quick else 100000)}

    def repetitions(self, task, size, latency, client):
        """Fewer of what takes long and varies little: one request at a time, each delayed."""
        slow = client.sequential and latency > 0
        big = size > (1000 if self.setting.quick else 10000) or task == "revoke"
        if slow:
            return 1 if big else 3
        return 3 if big or self.setting.quick else 5

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
        start = time.monotonic()
        objects = getattr(client, task)(size)
        elapsed = time.monotonic() - start
        return {"seconds": elapsed / (LOOKUPS if task == "get" else 1), "elapsed": elapsed,
                "objects": objects,
                "simulator_cpu": cpu_seconds(self.simulator.pid) - simulator_cpu}

    @staticmethod
    def simulator_share(runs):
        """How much of a core the simulator used; None if it was too short to tell."""
        elapsed = sum(run["elapsed"] for run in runs)
        if elapsed < 20 * SECONDS_PER_TICK:
            return None
        return round(sum(run["simulator_cpu"] for run in runs) / elapsed, 3)

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
