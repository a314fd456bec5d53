"""What is aimed at: each kind of work, and what it may take.

A goal is a limit for a figure, which a function computes from what was measured. statements.py and
lists.py measure; report.py shows the goals, what they came to, and whether they are met.
"""

from typing import Callable, NamedTuple

ROTATIONS = 200  # tokens that are rotated, or created
OWNERS = 20  # of these tokens
LIST = 25000  # tokens of the long list
DIRECTORY = 5000  # users of whom few own a token that expires soon
SOON_OWNERS = 10
DUE = 10  # tokens of one owner that a job finds due
PAGE = 100
CONCURRENCY = 16

FDW = "gitlab_pat_fdw"
FDW_JOIN = "gitlab_pat_fdw, with a join"
IDEAL = "ideal client, 16 connections"
DUE_ONE = "gitlab_pat_fdw, one token"
DUE_MANY = "gitlab_pat_fdw, %d tokens" % DUE
PYTHON = "python-gitlab"
RUBY = "ruby-gitlab"
BARE = "libcurl + json-c, one connection"


class Goal(NamedTuple):
    limit: float
    unit: str
    figure: Callable  # of what was measured of this work: report.Rows
    at_least: bool = False
    digits: int = 2
    text: str = None  # instead of limit and unit

    def words(self):
        return self.text or "at %s %s %s" % ("least" if self.at_least else "most",
                                             self.format(self.limit), self.unit)

    def format(self, value):
        text = "%.*f" % (self.digits, value)
        return text.rstrip("0").rstrip(".") if value == self.limit and "." in text else text

    def met(self, value):
        return value >= self.limit if self.at_least else value <= self.limit


class Work(NamedTuple):
    name: str
    title: str
    client: str  # whose figures they are
    goals: tuple


# --- figures -------------------------------------------------------------------------


def requests(rows):
    return rows.client["requests"]


def requests_each(rows):
    return rows.client["requests"] / ROTATIONS


def requests_of_one_more(rows):
    """Of each token that is due besides the first one."""
    return (rows.client["requests"] - rows.of(DUE_ONE)["requests"]) / (DUE - 1)


def in_flight(rows):
    return rows.client["in_flight"]


def times(name):
    """How many times as long it takes as another client."""
    return lambda rows: rows.client["seconds"] / rows.of(name)["seconds"]


def times_fastest_peer(rows):
    return rows.client["seconds"] / rows.fastest("peer")["seconds"]


def times_fastest_floor(rows):
    return rows.client["seconds"] / rows.fastest("curl", "c")["seconds"]


def speed_of_peers(rows):
    return 1 / times_fastest_peer(rows)


def cpu(rows):
    """How many times as much CPU time a token takes as libcurl and json-c alone."""
    return rows.client["cpu_seconds"] / rows.of(BARE)["cpu_seconds"]


def peak(rows):
    return rows.client["peak_kb"] / 1024


# --- the goals -----------------------------------------------------------------------

FEW = Goal(2.2, "requests a token", requests_each)
NEAR_IDEAL = Goal(1.3, "times the ideal client's time", times(IDEAL))
FASTER_THAN_PEERS = Goal(1, "times the fastest peer's time", times_fastest_peer,
                         text="less time than the fastest peer")

NATIVE = Goal(1.3, "times the time of python-gitlab's native rotation", times(PYTHON))

STATEMENTS = (
    Work("rotate", "Rotate %d tokens of %d owners by UPDATE" % (ROTATIONS, OWNERS), FDW,
         (FEW, NEAR_IDEAL, FASTER_THAN_PEERS)),
    Work("rotate", "Rotate them by an UPDATE with a join to the caller's table", FDW_JOIN,
         (FEW, NATIVE)),
    Work("rotate, faults", "Rotate them by UPDATE while 5 % of the requests fail", FDW,
         (NEAR_IDEAL, FASTER_THAN_PEERS)),
    Work("rotate, faults", "The same with a join", FDW_JOIN, (NATIVE,)),
    Work("rotate, lost", "UPDATE while the answers to 5 % of the creations get lost: an error, "
         "and of the new tokens only those are left that it is about", FDW, ()),
    Work("insert", "INSERT ... SELECT of %d tokens, with a trigger that keeps the secrets"
         % ROTATIONS, FDW,
         (Goal(CONCURRENCY, "requests at a time", in_flight, at_least=True, digits=0),
          Goal(1, "request a token", requests_each))),
    Work("limit", "LIMIT 250", FDW, (Goal(3, "requests", requests, digits=0),)),
    Work("newest by id", "ORDER BY id DESC LIMIT 5, the version declared", FDW,
         (Goal(2, "requests", requests, digits=0),)),
    Work("newest by time", "ORDER BY created_at DESC LIMIT 5, the version declared", FDW,
         (Goal(2, "requests", requests, digits=0),)),
    Work("instances", "Three instances in one table", "three instances",
         (Goal(1.3, "times the time of one", times("one instance")),)),
    Work("long list", "%s tokens while rows come and go, each exactly once" % format(LIST, ","),
         FDW, (Goal(1.15 * LIST / PAGE + 40, "requests", requests, digits=0),)),
    Work("soon", "Tokens that expire soon with their %d owners, in a directory of %s users"
         % (SOON_OWNERS, format(DIRECTORY, ",")), FDW,
         (Goal(SOON_OWNERS + 5, "requests", requests, digits=0),)),
    Work("rotate_due", "gitlab_pat_rotate_due() of %d tokens into variables" % DUE, DUE_MANY,
         (Goal(6, "requests a token, besides those of a run", requests_of_one_more),)),
    *(Work("cpu", "CPU time a token at 0 ms, concurrency %d" % concurrency,
           "gitlab_pat_fdw, concurrency %d" % concurrency,
           (Goal(1.4, "times that of libcurl and json-c", cpu),)) for concurrency in (16, 4, 1)),
)

LISTS = (
    Work("list 10000 50", "List 10,000 tokens at 50 ms, concurrency 16",
         "gitlab_pat_fdw, concurrency 16",
         (Goal(8, "times as fast as the fastest peer", speed_of_peers, at_least=True, digits=1),
          Goal(1.2, "times the floor's time", times_fastest_floor))),
    Work("memory 100000", "List 100,000 tokens, concurrency 16", "gitlab_pat_fdw",
         (Goal(16, "MB more in the backend, at its peak", peak, digits=1),)),
)
