#!/usr/bin/python3
"""Makes results.md and results.svg out of measurements, and the results in README.md.

As a program: report.py DIRECTORY makes them anew out of DIRECTORY/results.json.
"""

import html
import json
import pathlib
import sys
import textwrap

import goals

TITLES = {"list": "List all tokens", "active": "List the active tokens", "get": "One token by id",
          "count": "Count all tokens", "revoke": "Revoke 200 tokens"}
SATURATED = 0.8  # share of a core above which the simulator may be what is measured


class Results:
    """The part "lists" of the results."""

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


def table(header, rows, texts=1):
    """The first columns are texts, the others numbers."""
    yield "| " + " | ".join(header) + " |"
    yield "|---" * texts + "|---:" * (len(header) - texts) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


# --- goals ---------------------------------------------------------------------------


class Rows:
    """What was measured of one kind of work; a goal's figure is computed from it."""

    def __init__(self, rows, client):
        self.rows = rows
        self.client = self.of(client)

    def of(self, client):
        return next(row for row in self.rows if row["client"] == client)

    def fastest(self, *kinds):
        return min((row for row in self.rows if row["kind"] in kinds),
                   key=lambda row: row["seconds"])


def rows_of(part, name):
    """The rows of one kind of work, from either part of the results."""
    if "rows" in part:
        return [row for row in part["rows"] if row["work"] == name]
    task, tokens, *latency = name.split()
    if task == "memory":
        memory = {**part["memory"], "client": goals.FDW, "kind": "fdw"}
        return [memory] if memory["tokens"] == int(tokens) else []
    return Results(part).of(task, int(tokens), *map(int, latency))


def measured(row):
    words = [] if row.get("right", True) else ["**wrong**"]
    if "seconds" in row:
        words.append(duration(row["seconds"]))
    if "requests" in row:
        words.append("%d request%s" % (row["requests"], "" if row["requests"] == 1 else "s"))
    if "cpu_seconds" in row:
        words.append("%.2f µs" % (row["cpu_seconds"] * 1e6))
    if "peak_kb" in row:
        words.append("%.1f MB" % (row["peak_kb"] / 1024))
    return ", ".join(words)


def goal_table(part, works):
    """A line for each goal. What came to a wrong end has not met any."""
    lines = []
    for work in works:
        rows = rows_of(part, work.name)
        if not rows:
            continue
        rows = Rows(rows, work.client)
        right = rows.client.get("right", True)
        title = work.title
        for goal in work.goals:
            value = goal.figure(rows)
            met = right and goal.met(value)
            lines.append([title, goal.words(), measured(rows.client), goal.format(value),
                          "met" if met else "**not met**"])
            title = ""
        if not work.goals:
            lines.append([title, "", measured(rows.client), "", "met" if right else "**not met**"])
    return table(["work", "goal", "measured", "figure", ""], lines, texts=2)


# --- the tables ----------------------------------------------------------------------


def conditions(part):
    """When and where it was measured."""
    yield "%s, %s, %.0f minutes%s." % (
        part["date"], part["machine"], part["minutes"],
        ", a quick run" if part["quick"] else "")
    yield "Load average %s before and %s after." % tuple(
        ", ".join("%.2f" % load for load in part[key]) for key in ("load_before", "load_after"))
    yield ""
    for version in part["versions"]:
        yield "- " + version
    yield ""


def client_table(part, names):
    """The clients that did the same work, and how long each took."""
    lines = []
    for name in names:
        rows = rows_of(part, name)
        ideal = next((row["seconds"] for row in rows if row["client"] == goals.IDEAL), None)
        for row in rows:
            lines.append([name, row["client"], duration(row["seconds"]),
                          number(row["seconds"] / ideal) if ideal else "",
                          "%d" % row["requests"], "%d" % row["in_flight"]])
            name = ""
    return table(["work", "client", "time", "÷ ideal client", "requests", "at a time"], lines,
                 texts=2)


def cpu_table(part):
    rows = rows_of(part, "cpu")
    bare = Rows(rows, goals.BARE).client["cpu_seconds"]
    return table(["process", "µs", "÷ libcurl + json-c"], [
        [("backend of " if row["kind"] == "fdw" else "") + row["client"],
         "%.2f" % (row["cpu_seconds"] * 1e6), "%.2f" % (row["cpu_seconds"] / bare)]
        for row in rows])


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


def statement_tables(part):
    yield "## Statements"
    yield ""
    yield from conditions(part)
    yield "Each request takes %d ms. Times are medians, and requests the most of any run." % (
        part["latency_ms"])
    yield ""
    yield from goal_table(part, goals.STATEMENTS)
    yield ""
    yield "### Beside others"
    yield ""
    yield from client_table(part, list(dict.fromkeys(
        row["work"] for row in part["rows"] if row["work"] != "cpu")))
    yield ""
    yield "### CPU time per token, listing %s at 0 ms" % format(
        rows_of(part, "cpu")[0]["tokens"], ",")
    yield ""
    yield from cpu_table(part)
    yield ""


def list_tables(part):
    results = Results(part)
    memory = part["memory"]
    yield "## Lists"
    yield ""
    yield from conditions(part)
    yield from goal_table(part, goals.LISTS)
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
    yield "### Memory of a backend that lists %s tokens, concurrency 16" % format(
        memory["tokens"], ",")
    yield ""
    yield from table(["", "VmRSS, MB"], [
        [text, "%.1f" % (memory[key] / 1024)] for text, key in (
            ("before, after a lookup by id", "before_kb"), ("growth at the peak", "peak_kb"),
            ("growth after the statement", "grown_kb"),
            ("more after listing once more", "second_kb"))])
    yield ""


def markdown(parts):
    yield "<!-- Written by bench/run: do not edit. -->"
    yield ""
    if "statements" in parts:
        yield from statement_tables(parts["statements"])
    if "lists" in parts:
        yield from list_tables(parts["lists"])


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

BEGIN = "<!-- Written by bench/report.py, up to the end of the results: do not edit. -->"
END = "<!-- The end of the results. -->"


def heading(title, part):
    yield "### " + title
    yield ""
    yield from textwrap.wrap("%s: %s. %s, %s. The load average was %.2f before and %.2f after." % (
        part["date"], part["machine"], part["versions"][0], ", ".join(part["versions"][1:]),
        part["load_before"][0], part["load_after"][0]), 100, break_on_hyphens=False)
    yield ""


def excerpt(parts):
    """What README.md shows of the results."""
    if "statements" in parts:
        part = parts["statements"]
        yield from heading("Statements", part)
        yield from goal_table(part, goals.STATEMENTS)
        yield ""
        yield from client_table(part, ("rotate", "rotate, faults", "insert"))
        yield ""
        yield "CPU time per token, listing %s at 0 ms:" % format(
            rows_of(part, "cpu")[0]["tokens"], ",")
        yield ""
        yield from cpu_table(part)
        yield ""
    if "lists" in parts:
        part = parts["lists"]
        yield from heading("Lists", part)
        yield from goal_table(part, goals.LISTS)
        yield ""
        for title, task, tokens in (("Listing all of 10,000 tokens", "list", 10000),
                                    ("Revoking 200 of 1,000 tokens", "revoke", 1000)):
            yield title + ":"
            yield ""
            yield from timing_table(Results(part), task, tokens)
            yield ""


def embed(parts, readme):
    before, _, rest = readme.read_text().partition(BEGIN + "\n")
    _, end, after = rest.partition(END + "\n")
    if end:
        readme.write_text("\n".join((before + BEGIN, "", *excerpt(parts), end + after)))


def write(parts, directory):
    tables = "\n".join(markdown(parts)).rstrip("\n") + "\n"
    (directory / "results.json").write_text(json.dumps(parts, indent=1) + "\n")
    (directory / "results.md").write_text(tables)
    if "lists" in parts:
        (directory / "results.svg").write_text("\n".join(chart(Results(parts["lists"]))) + "\n")
    if (directory / "README.md").exists():
        embed(parts, directory / "README.md")
    print("\n" + tables)
    print("==> These tables, the chart and the figures are in %s" % directory)


def update(parts, directory):
    """Of a part that was not measured, what was measured last stays."""
    last = directory / "results.json"
    write({**(json.loads(last.read_text()) if last.exists() else {}), **parts}, directory)


if __name__ == "__main__":
    where = pathlib.Path(sys.argv[1])
    write(json.loads((where / "results.json").read_text()), where)
