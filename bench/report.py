#!/usr/bin/python3
"""Makes results.md and results.svg out of measurements.

As a program: report.py DIRECTORY makes them anew out of DIRECTORY/results.json.
"""

import html
import json
import pathlib
import sys

TITLES = {"list": "List all tokens", "active": "List the active tokens", "get": "One token by id",
          "count": "Count all tokens", "revoke": "Revoke 200 tokens"}
BARE = "libcurl + json-c, one connection"
SATURATED = 0.8  # share of a core above which the simulator may be what is measured


class Results:
    def __init__(self, results):
        self.all = results
        self.rows = results["measurements"]

    def groups(self):
        """(task, tokens), in the order of measuring."""
        return list(dict.fromkeys((row["task"], row["tokens"]) for row in self.rows))

    def of(self, task, tokens, latency):
        return [row for row in self.rows if (row["task"], row["tokens"], row["latency_ms"])
                == (task, tokens, latency)]

    def latencies(self):
        return sorted({row["latency_ms"] for row in self.rows})

    def clients(self, task, tokens):
        return list(dict.fromkeys(row["client"] for row in self.rows
                                  if (row["task"], row["tokens"]) == (task, tokens)))

    def one(self, task, tokens, latency, client):
        return next((row for row in self.of(task, tokens, latency) if row["client"] == client),
                    None)

    def floor(self, task, tokens, latency):
        """The fastest of those that only transfer."""
        return min((row for row in self.of(task, tokens, latency) if row["kind"] in ("curl", "c")),
                   key=lambda row: row["seconds"])

    def fastest_peer(self, task, tokens, latency):
        return min((row for row in self.of(task, tokens, latency) if row["kind"] == "peer"),
                   key=lambda row: row["seconds"])


def duration(seconds):
    if seconds >= 9.995:
        return "%.1f s" % seconds
    if seconds >= 0.9995:
        return "%.2f s" % seconds
    if seconds >= 0.00995:
        return "%.0f ms" % (seconds * 1000)
    return "%.1f ms" % (seconds * 1000)


def number(value):
    return "%.0f" % value if value >= 9.95 else "%.1f" % value if value >= 0.95 else "%.2f" % value


def table(header, rows):
    yield "| " + " | ".join(header) + " |"
    yield "|---" + "|---:" * (len(header) - 1) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


# --- the tables ----------------------------------------------------------------------


def timing_table(results, task, tokens):
    header = ["client"]
    for latency in results.latencies():
        header += ["%d ms" % latency, "÷ floor", "peer ÷"]
    rows = []
    for client in results.clients(task, tokens):
        cells = [client]
        for latency in results.latencies():
            row = results.one(task, tokens, latency, client)
            mark = "*" if (row["simulator_share"] or 0) > SATURATED else ""
            peer = results.fastest_peer(task, tokens, latency)["seconds"] / row["seconds"]
            cells += [duration(row["seconds"]) + mark,
                      number(row["seconds"] / results.floor(task, tokens, latency)["seconds"]),
                      number(peer) if row["kind"] == "fdw" else ""]
        rows.append(cells)
    yield from table(header, rows)


def cpu_rows(results):
    """(client, kind, microseconds per token, ratio to libcurl and json-c alone)"""
    clients = results.all["cpu"]["clients"]
    bare = next(row for row in clients if row["client"] == BARE)["seconds_per_token"]
    return [(row["client"], row["kind"], row["seconds_per_token"] * 1e6,
             row["seconds_per_token"] / bare) for row in clients]


def goals(results):
    """What was aimed at, what it came to, and whether that is enough."""
    if results.of("list", 10000, 50):
        ours = results.one("list", 10000, 50, "gitlab_pat_fdw, concurrency 16")["seconds"]
        ratio = results.fastest_peer("list", 10000, 50)["seconds"] / ours
        yield ("10,000 tokens at 50 ms, concurrency 16: at least 8 times as fast as the fastest "
               "peer", "%.1f times" % ratio, ratio >= 8)
        ratio = ours / results.floor("list", 10000, 50)["seconds"]
        yield ("10,000 tokens at 50 ms, concurrency 16: at most 1.2 times the floor's time",
               "%.2f times" % ratio, ratio <= 1.2)
    worst = max(ratio for _, kind, _, ratio in cpu_rows(results) if kind == "fdw")
    yield ("CPU time per token at 0 ms: at most twice that of libcurl and json-c alone, at any "
           "concurrency", "%.2f times" % worst, worst <= 2)
    memory = results.all["memory"]
    if memory["tokens"] >= 100000:
        grown = memory["peak_kb"] / 1024
        yield ("100,000 tokens, concurrency 16: the backend grows by less than 16 MB, at its peak",
               "%.1f MB" % grown, grown < 16)


def markdown(results):
    about = results.all
    memory = about["memory"]
    yield "<!-- Written by bench/run: do not edit. -->"
    yield ""
    yield "%s, %s, %.0f minutes%s." % (
        about["date"], about["machine"], about["minutes"],
        ", a quick run" if about["quick"] else "")
    yield "Load average %s before and %s after." % tuple(
        ", ".join("%.2f" % load for load in about[key]) for key in ("load_before", "load_after"))
    yield ""
    for version in about["versions"]:
        yield "- " + version
    yield ""
    yield "### Goals"
    yield ""
    yield from table(["goal", "measured", ""], [
        [text, value, "met" if met else "**not met**"] for text, value, met in goals(results)])
    yield ""
    yield "Times are medians. ÷ floor: divided by the time of the fastest of the first three, which"
    yield "interpret nothing or next to nothing. peer ÷: how many times as fast as the fastest peer."
    yield "\\*: the simulator used more than %d %% of a core, and may be what was measured." % (
        SATURATED * 100)
    yield ""
    for task, tokens in results.groups():
        yield "### %s, of %s" % (TITLES[task], format(tokens, ","))
        yield ""
        yield from timing_table(results, task, tokens)
        yield ""
    yield "### CPU time per token, listing %s at 0 ms" % format(about["cpu"]["tokens"], ",")
    yield ""
    yield from table(["process", "µs", "÷ libcurl + json-c"], [
        [("backend of " if kind == "fdw" else "") + client, "%.2f" % cpu, "%.2f" % ratio]
        for client, kind, cpu, ratio in cpu_rows(results)])
    yield ""
    yield "### Memory of a backend that lists %s tokens, concurrency 16" % format(
        memory["tokens"], ",")
    yield ""
    yield from table(["", "VmRSS, MB"], [
        [text, "%.1f" % (memory[key] / 1024)] for text, key in (
            ("before, after a lookup by id", "before_kb"), ("growth at the peak", "peak_kb"),
            ("growth after the statement", "grown_kb"),
            ("more after listing once more", "second_kb"))])


# --- the chart -----------------------------------------------------------------------

WIDTH = 860
LEFT = 270
BAR = 20
STEP = 27
COLOURS = {"fdw": "#1f6fb4", "peer": "#b9bec5", "curl": "#e3a23c", "c": "#e3a23c"}


def chart(results):
    """A panel for each latency, each with a scale of its own: bars of the time to list."""
    tokens = 10000
    panels = [(latency, results.of("list", tokens, latency)) for latency in results.latencies()]
    height = 92 + sum(len(rows) * STEP + 52 for _, rows in panels)
    yield ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" '
           'font-family="sans-serif" font-size="13" fill="#24292f">' % ((WIDTH, height) * 2))
    yield '<rect width="100%" height="100%" fill="#ffffff"/>'
    yield text(16, 30, "Listing %s tokens: shorter is faster" % format(tokens, ","),
               'font-size="18" font-weight="bold"')
    x = 16
    for kind, label in (("fdw", "gitlab_pat_fdw"), ("peer", "peers"),
                        ("curl", "the floor: curl, which interprets nothing")):
        yield '<rect x="%d" y="45" width="12" height="12" fill="%s"/>' % (x, COLOURS[kind])
        yield text(x + 18, 56, label)
        x += 46 + 7 * len(label)
    y = 92
    for latency, rows in panels:
        yield text(16, y, "Latency %d ms a request" % latency, 'font-weight="bold"')
        y += 12
        longest = max(row["seconds"] for row in rows)
        for row in sorted(rows, key=lambda row: row["seconds"]):
            length = max(1, (WIDTH - LEFT - 90) * row["seconds"] / longest)
            yield '<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>' % (
                LEFT, y, length, BAR, COLOURS[row["kind"]])
            yield text(LEFT - 8, y + 15, row["client"], 'text-anchor="end"')
            yield text(LEFT + length + 6, y + 15, duration(row["seconds"]))
            y += STEP
        y += 40
    yield "</svg>"


def text(x, y, words, attributes=""):
    return '<text x="%.1f" y="%.1f" %s>%s</text>' % (x, y, attributes, html.escape(words))


# --- files ---------------------------------------------------------------------------


def write(measured, directory):
    results = Results(measured)
    tables = "\n".join(markdown(results)) + "\n"
    (directory / "results.json").write_text(json.dumps(measured, indent=1) + "\n")
    (directory / "results.md").write_text(tables)
    (directory / "results.svg").write_text("\n".join(chart(results)) + "\n")
    print("\n" + tables)
    print("==> These tables, the chart and the figures are in %s" % directory)


if __name__ == "__main__":
    where = pathlib.Path(sys.argv[1])
    write(json.loads((where / "results.json").read_text()), where)
