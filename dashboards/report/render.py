"""Makes scripts/report's page out of the JSON document of report.sql.

The page has no scripts and asks for nothing: style and charts are in it, and a
policy in its head keeps it so.  All text goes through text() or attribute(), for
names of tokens are whatever somebody made of them.
"""

import datetime
import html
import itertools
import json
import math
import pathlib
import re
import sys

STATES = ("active", "expired", "revoked")
ACCESS_LEVELS = {10: "Guest", 15: "Planner", 20: "Reporter",
                 30: "Developer", 40: "Maintainer", 50: "Owner"}
# Each chart is drawn twice, for large screens and paper and for phones; the style
# shows one of the two.
WIDE, NARROW = 960, 360


def text(value):
    """A value as content: escaped, and without characters that HTML doesn't have."""
    visible = re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]", "\ufffd", str(value))
    return html.escape(visible)


def attribute(value):
    return '"' + text(value).replace("\n", "&#10;") + '"'


def name(value):
    """Something that somebody has named, in whatever direction it is written."""
    return "<bdi>" + text(value) + "</bdi>"


def link(url, content):
    """Content that leads to a page of GitLab's, whose URL may be missing or odd."""
    if not re.match("https?://", url or ""):
        return content
    return '<a href=%s rel="noreferrer">%s</a>' % (attribute(url), content)


def number(value):
    return format(value, ",")


def short_number(value):
    """A number of four characters at the most."""
    for size, unit in ((10 ** 6, "M"), (10 ** 3, "k")):
        if value >= size:
            return ("%.*f" % (1 if value < 10 * size else 0, value / size)).replace(".0", "") + unit
    return str(value)


def count(value, noun, plural=None):
    return "%s %s" % (number(value), noun if value == 1 else plural or noun + "s")


def verb(value, singular, plural):
    return singular if value == 1 else plural


def day_of(timestamp):
    return timestamp[:10]


def minute_of(timestamp):
    return timestamp[:16].replace("T", " ") + " UTC"


def age(later, earlier):
    """How much time is between two time stamps, roughly."""
    seconds = (datetime.datetime.fromisoformat(later)
               - datetime.datetime.fromisoformat(earlier)).total_seconds()
    for size, noun in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return count(int(seconds // size), noun)
    return "a moment"


# --- charts -------------------------------------------------------------------


def ticks(highest):
    """Some three whole numbers from 0 to beyond the highest."""
    rough = max(highest, 1) / 3
    power = 10 ** math.floor(math.log10(rough))
    step = max(next(n * power for n in (1, 2, 5, 10) if n * power >= rough), 1)
    return [int(step * i) for i in range(math.ceil(max(highest, 1) / step) + 1)]


def chart(draw, *arguments):
    """The chart of a function in both widths."""
    return draw(WIDE, *arguments) + draw(NARROW, *arguments)


def svg(width, identifier, height, title, description, content):
    """A chart that tells screen readers what it shows."""
    kind = "wide" if width == WIDE else "narrow"
    identifier = identifier if width == WIDE else identifier + "-narrow"
    return ('<div class="chart %s"><svg role="img" viewBox="0 0 %d %d" aria-labelledby="%s-t %s-d">'
            '<title id="%s-t">%s</title><desc id="%s-d">%s</desc>%s</svg></div>' % (
                kind, width, height, identifier, identifier, identifier,
                text(title), identifier, text(description), "".join(content)))


def label(x, y, content, anchor="start", kind=""):
    return '<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>' % (
        x, y, anchor, kind, text(content))


def box(kind, x, y, width, height, tip):
    return '<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s</title></rect>' % (
        kind, x, y, width, height, text(tip))


def text_width(content):
    """The room that a label takes, at most."""
    return 9 * len(content)


class Plot:
    """The area of a chart with a vertical axis."""

    top = 22

    def __init__(self, width, height, highest, right):
        self.marks = ticks(highest)
        self.name = number if width == WIDE else short_number
        self.bottom = height - 30
        self.left = 20 + text_width(self.name(self.marks[-1]))
        self.right = width - right
        self.width = self.right - self.left

    def y(self, value):
        return self.bottom - (self.bottom - self.top) * value / self.marks[-1]

    def axis(self):
        for mark in self.marks:
            y = self.y(mark)
            yield '<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>' % (
                self.left, self.right, y, y)
            yield label(self.left - 8, y + 4, self.name(mark), "end", "muted")


def weeks_chart(width, weeks, soon):
    """A column for each week; those that begin before a day are marked."""
    plot = Plot(width, 260, max(w["tokens"] for w in weeks), right=12)
    content = list(plot.axis())
    slot = plot.width / len(weeks)
    named_until = 0
    for i, week in enumerate(weeks):
        x = plot.left + i * slot
        day = datetime.date.fromisoformat(week["week"])
        if week["tokens"]:
            y = plot.y(week["tokens"])
            content.append(box("bar soon" if day < soon else "bar", x + slot * 0.15, y, slot * 0.7,
                               plot.bottom - y, "%s: %s" % (day, count(week["tokens"], "token"))))
            # where the label of the column before leaves room
            total = short_number(week["tokens"])
            if x + slot / 2 - text_width(total) / 2 >= named_until:
                content.append(label(x + slot / 2, y - 5, total, "middle"))
                named_until = x + slot / 2 + text_width(total) / 2
        date = "%d %s" % (day.day, day.strftime("%b"))
        if i % (4 if width == WIDE else 8) == 0 and x + text_width(date) < width:
            content.append(label(x + slot * 0.15, plot.bottom + 19, date, kind="muted"))
    busiest = max(weeks, key=lambda w: w["tokens"])
    return svg(width, "ahead", 260, "Tokens that expire, by week",
               "%s expire within 26 weeks; most of them, %s, in the week of %s." % (
                   count(sum(w["tokens"] for w in weeks), "token"), number(busiest["tokens"]),
                   busiest["week"]),
               content)


def line_chart(width, identifier, title, days, field, kind):
    """How a number has developed, day by day; missing days are bridged."""
    height = 190
    last = number(days[-1][field])
    plot = Plot(width, height, max(d[field] for d in days), right=20 + text_width(last))
    dates = [datetime.date.fromisoformat(d["day"]) for d in days]
    span = max((dates[-1] - dates[0]).days, 1)
    points = [(plot.left + plot.width * (date - dates[0]).days / span, plot.y(d[field]))
              for date, d in zip(dates, days)]
    path = " ".join("%.1f,%.1f" % p for p in points)
    content = list(plot.axis())
    content.append('<polygon class="area %s" points="%.1f,%d %s %.1f,%d"/>' % (
        kind, points[0][0], plot.bottom, path, points[-1][0], plot.bottom))
    content.append('<polyline class="line %s" points="%s"/>' % (kind, path))
    content += ['<circle class="dot %s" cx="%.1f" cy="%.1f" r="%d"><title>%s: %s</title></circle>' % (
        kind, x, y, 3 if width == WIDE else 2, d["day"], number(d[field]))
        for (x, y), d in zip(points, days)]
    content.append(label(points[-1][0] + 10, points[-1][1] + 5, last, kind="value"))
    content.append(label(plot.left, plot.bottom + 19, days[0]["day"], kind="muted"))
    content.append(label(plot.right, plot.bottom + 19, days[-1]["day"], "end", "muted"))
    return svg(width, identifier, height, title, "From %s on %s to %s on %s, between %s and %s." % (
        number(days[0][field]), days[0]["day"], number(days[-1][field]), days[-1]["day"],
        number(min(d[field] for d in days)), number(max(d[field] for d in days))), content)


def rows_chart(width, identifier, title, rows):
    """
    Horizontal bars; a row is a label and its parts, each with kind and value.  Where
    there is no room beside the bars, the labels stand above them.
    """
    left, step, above = (190, 34, 0) if width == WIDE else (0, 52, 18)
    sums = [sum(value for _, value in parts) for _, parts in rows]
    right = 20 + text_width(number(max(sums)))
    content, described = [], []
    for i, ((row, parts), total) in enumerate(zip(rows, sums)):
        x, y = left, i * step + 6 + above
        if above:
            content.append(label(0, y - 5, row))
        else:
            content.append(label(left - 12, y + 16, row, "end"))
        for kind, value in parts:
            length = (width - left - right) * value / max(sums)
            if value:
                content.append(box("bar " + kind, x, y, max(length, 1), 22,
                                   "%s: %s %s" % (row, number(value), kind)))
            x += length
        content.append(label(x + 8, y + 16, number(total), kind="value"))
        described.append("%s %s" % (row, " and ".join(
            "%s %s" % (number(value), kind) for kind, value in parts if value) or "0"))
    return svg(width, identifier, len(rows) * step + 4, title, "; ".join(described) + ".", content)


def legend(*entries):
    """What the colours mean: pairs of a kind of bar and its name."""
    return '<p class="legend">%s</p>' % "".join(
        '<span><i class="%s"></i>%s</span>' % (kind, text(meaning)) for kind, meaning in entries)


# --- tables -------------------------------------------------------------------


def cells(columns, row):
    """A row of a table; the headings go with the cells, for phones have no room above."""
    return "<tr>%s</tr>" % "".join('<td class="%s" data-label=%s>%s</td>' % (
        kind, attribute(heading), cell(row)) for heading, cell, kind in columns)


def table(caption, columns, rows, group=None):
    """
    Columns: a heading, a function that makes the cell of a row, and its class.  With
    group, rows with the same key come together under a heading: two functions of a
    row, for the key and for the heading.
    """
    head = "".join('<th scope="col" class="%s">%s</th>' % (kind, text(heading))
                   for heading, _, kind in columns)
    if group:
        key, heading = group
        bodies = "".join('<tbody><tr class="group"><th scope="rowgroup" colspan="%d">%s</th></tr>%s</tbody>' % (
            len(columns), heading(members[0]), "".join(cells(columns, row) for row in members))
            for members in ([*rows] for _, rows in itertools.groupby(rows, key)))
    else:
        bodies = "<tbody>%s</tbody>" % "".join(cells(columns, row) for row in rows)
    return ('<div class="scroll" role="region" tabindex="0" aria-label=%s><table>'
            '<caption>%s</caption><thead><tr>%s</tr></thead>%s</table></div>' % (
                attribute(caption), text(caption), head, bodies))


def numbers(caption, columns, rows):
    """The numbers of a chart, for those who would rather read them."""
    return "<details><summary>The numbers</summary>%s</details>" % table(caption, columns, rows)


def field(key):
    return lambda row: text(row[key])


def figure(key):
    return lambda row: number(row[key])


def owner_name(row):
    return link(row["owner_url"], name(row["username"] or "user %s" % row["user_id"]))


def kind_of(row):
    """The kind of an owner; of a bot with what it is for, and as what."""
    kind = row["owner_kind"]
    if row.get("container") and row["container"] not in (row["username"] or ""):
        kind += " of " + row["container"]
    if row.get("access_level"):
        kind += ", " + ACCESS_LEVELS.get(row["access_level"], "level %s" % row["access_level"])
    return kind


def owner_heading(row):
    """Of the tokens of one owner: who that is, and how many tokens of the list are theirs."""
    kind = kind_of(row)
    if row["owner_is_inactive"]:
        kind += ", " + row["owner_state"]
    return "%s <small>%s; %s</small>" % (
        owner_name(row), text(kind), text(count(row["of_owner"], "token")))


BY_OWNER = (lambda row: row["user_id"], owner_heading)
OWNER = ("Owner", lambda t: "<div>%s<small>%s</small></div>" % (
    owner_name(t), text(kind_of(t))), "owner")
TOKEN = ("Token", lambda t: "<div>%s<small>%s%s</small></div>" % (
    name(t["name"]), t["id"], ", which this report is made with" if t["is_credential"] else ""), "name")
SCOPES = ("Scopes", lambda t: "<div>%s</div>" % " ".join(
    "<code>%s</code>" % text(s) for s in t["scopes"]), "")
EXPIRES = ("Expires", lambda t: text(t["expires_at"] or "never"), "date")
LAST_USED = ("Last used", lambda t: day_of(
    t["last_used_at"]) if t["last_used_at"] else "never", "date")
CREATED = ("Created", lambda t: day_of(t["created_at"]), "date")


def tokens_section(identifier, heading, explanation, caption, columns, rows, total, group=None):
    """A list of tokens, of which there may be more than it shows; none: no section."""
    if not rows:
        return ""
    shown = ""
    if total > len(rows):
        shown = '<p class="muted">The list has the first %s of %s tokens.</p>' % (
            number(len(rows)), number(total))
    return section(identifier, heading, explanation, shown, table(caption, columns, rows, group))


def section(identifier, heading, explanation, *content):
    return '<section id="%s"><h2>%s</h2><p>%s</p>%s</section>' % (
        identifier, text(heading), text(explanation), "".join(content))


# --- the page -----------------------------------------------------------------


def credential_findings(credential):
    """What is to be said of the report's own token, without which there is no report."""
    if not credential:
        return
    days_left = credential["days_left"]
    what = "The token that this report is made with"
    if days_left is None:
        yield "notable", what + " never expires.", "data"
    elif days_left <= 0:
        yield "urgent", what + " has expired.", "data"
    elif days_left <= 30:
        yield "urgent" if days_left < 14 else "notable", "%s expires in %s." % (
            what, count(days_left, "day")), "data"


def failing_finding(failing):
    """One token with the reason, or how many and the first of them."""
    first, total = failing["tokens"][0], failing["total"]
    if total == 1:
        return "The %s could not be rotated or checked at the last attempt: %s" % (
            rotated_token(first), first["failure"])
    return "%s could not be rotated or checked at the last attempt, among them the %s." % (
        count(total, "token"), rotated_token(first))


def rotated_token(row):
    """A token as the log of rotations names it."""
    return "token \u201c%s\u201d of %s" % (row["token_name"], " in ".join(
        part for part in (row["owner"], row["token_container"]) if part))


def findings(data, total):
    """What needs attention: how urgent it is, what it is, and where to read on."""
    credential = data["credential"]
    yield from credential_findings(credential)
    if credential and not (credential["sees_all_tokens"] or credential["of_group"]):
        yield "urgent", "Only the tokens of one user are seen: this report is incomplete.", "data"
    if not data["refreshed_at"]:
        yield "urgent", "GitLab has never been asked with success.", "data"
    elif data["last_refresh"]["error"]:
        yield "urgent", "The last refresh has failed: this report is %s old." % age(
            data["generated_at"], data["refreshed_at"]), "data"
    if total["expiring_7"]:
        yield "urgent", "%s %s within 7 days, the first on %s." % (
            count(total["expiring_7"], "token"), verb(total["expiring_7"], "expires", "expire"),
            data["expiring"][0]["expires_at"]), "expiring"
    if total["owner_inactive"]:
        yield "urgent", "%s of users who are blocked, deactivated or locked %s still active." % (
            count(total["owner_inactive"], "token"), verb(total["owner_inactive"], "is", "are")), "inactive"
    if data["failing_rotations"]:
        yield "urgent", failing_finding(data["failing_rotations"]), "failing"
    if data["leftovers"]:
        yield "urgent", "%s that a rotation has left over %s still active." % (
            count(data["leftovers"]["total"], "token"),
            verb(data["leftovers"]["total"], "is", "are")), "leftovers"
    later = total["expiring_30"] - total["expiring_7"]
    if later:
        yield "notable", "%s %s within 8 to 30 days." % (
            count(later, "token"), verb(later, "expires", "expire")), "expiring"
    if total["without_expiry"]:
        yield "notable", "%s never %s." % (
            count(total["without_expiry"], "active token"),
            verb(total["without_expiry"], "expires", "expire")), "without-expiry"
    if total["unused_90"]:
        yield "notable", "%s %s not been used for 90 days." % (
            count(total["unused_90"], "active token"),
            verb(total["unused_90"], "has", "have")), "unused"
    for job in data["failed_jobs"] or ():
        yield "urgent", "The last run of the job \u201c%s\u201d has failed." % job["job_name"], "data"


def findings_list(data, total):
    found = sorted(findings(data, total), key=lambda f: f[0] != "urgent")
    if not found:
        return '<p class="well">Nothing needs attention.</p>'
    return '<ul class="findings">%s</ul>' % "".join(
        '<li class="%s"><b>%s</b><a href="#%s">%s</a></li>' % (
            urgency, urgency.capitalize(), target, text(finding))
        for urgency, finding, target in found)


def tiles(total):
    shown = (("Active tokens", total["active"], ""),
             ("Expire within 7 days", total["expiring_7"], "urgent"),
             ("Expire within 30 days", total["expiring_30"], "notable"),
             ("Inactive owner", total["owner_inactive"], "urgent"),
             ("Never expire", total["without_expiry"], "notable"),
             ("Unused for 90 days", total["unused_90"], "notable"))
    return '<dl class="tiles">%s</dl>' % "".join(
        '<div class="%s"><dt>%s</dt><dd>%s</dd></div>' % (
            kind if value else "", text(title), number(value)) for title, value, kind in shown)


def ahead_section(data, total):
    weeks = data["ahead"]
    shown = sum(w["tokens"] for w in weeks)
    if shown == 0:
        return section("ahead", "Expiries by week", "No active token expires within half a year.")
    later = total["active"] - total["without_expiry"] - shown
    today = datetime.date.fromisoformat(day_of(data["generated_at"]))
    return section(
        "ahead", "Expiries by week",
        "The chart counts active tokens by the week in which they expire, for half a year. "
        "%s %s later, and %s never." % (
            number(later), verb(later, "expires", "expire"), number(total["without_expiry"])),
        legend(("soon", "within 30 days"), ("active", "later")),
        chart(weeks_chart, weeks, today + datetime.timedelta(days=30)),
        numbers("Tokens by the week in which they expire",
                [("Week of", field("week"), "date"), ("Tokens", figure("tokens"), "number")],
                [w for w in weeks if w["tokens"]]))


def history_section(data):
    days = data["history"] or []
    if len(days) < 2:
        return section("history", "Trend",
                       "The chart appears after refreshes on two days.")
    return section(
        "history", "Trend",
        "The charts show the last refresh of each day, for up to 90 days.",
        "<h3>Active tokens</h3>",
        chart(line_chart, "history-active", "Active tokens over time", days, "active", "active"),
        "<h3>Tokens about to expire, within 30 days</h3>",
        chart(line_chart, "history-expiring", "Tokens about to expire, over time", days, "expiring_30",
              "soon"),
        numbers("Tokens, day by day",
                [("Day", field("day"), "date"), ("Active", figure("active"), "number"),
                 ("Expire within 30 days", figure("expiring_30"), "number"),
                 ("Inactive owner", figure("owner_inactive"), "number")], days))


def owners_section(data):
    rows = data["summary"]
    return section(
        "owners", "Tokens by kind of owner",
        "The chart counts tokens by the kind of their owner and by their state.",
        legend(*zip(STATES, STATES)),
        chart(rows_chart, "owners-chart", "Tokens by kind of owner and state",
              [(row["owner_kind"], [(state, row[state]) for state in STATES]) for row in rows]),
        numbers("Tokens by kind of owner and state",
                [("Owner", field("owner_kind"), "")]
                + [(state.capitalize(), figure(state), "number") for state in STATES], rows))


def scopes_section(data):
    rows = data["scopes"] or []
    if not rows:
        return ""
    return section(
        "scopes", "Tokens by scope",
        "The chart counts active tokens by scope. A token counts for each of its scopes.",
        chart(rows_chart, "scopes-chart", "Active tokens by scope",
              [(row["scope"], [("active", row["tokens"])]) for row in rows]),
        numbers("Active tokens by scope", [("Scope", field("scope"), ""),
                                           ("Tokens", figure("tokens"), "number")], rows))


def people_section(data):
    """The owners of tokens that need attention, those of most tokens first."""
    people = data["people"] or []
    if not people:
        return ""
    total = people[0]["owners"]
    return section(
        "people", "Owners to talk to",
        "These users own tokens that need attention%s." % (
            ", the first %s of %s" % (number(len(people)), number(total))
            if total > len(people) else ""),
        table("Owners of tokens that need attention",
              [OWNER, ("Active tokens", figure("active"), "number"),
               ("Expire within 30 days", figure("expiring_30"), "number"),
               ("Never expire", figure("without_expiry"), "number"),
               ("Unused for 90 days", figure("unused_90"), "number"),
               ("Owner is", field("owner_state"), "")], people))


def lists_of_tokens(data, total):
    return [
        tokens_section("failing", "Tokens that could not be rotated",
                       "The job could not rotate, deliver or check these tokens at its last attempt.",
                       "Tokens whose rotation fails",
                       [("Token", lambda t: "<div>%s<small>%s</small></div>" % (
                           name(t["token_name"]), name(" in ".join(
                               part for part in (t["owner"], t["token_container"]) if part))), "name"),
                        ("Failed", lambda t: minute_of(t["last_failed"]), "date"),
                        ("Delivered", lambda t: day_of(t["last_delivered"] or "never"), "date"),
                        ("Why", lambda t: "<div>%s</div>" % text(t["failure"] or ""), "")],
                       (data["failing_rotations"] or {}).get("tokens"),
                       (data["failing_rotations"] or {}).get("total")),
        tokens_section("expiring", "Tokens that expire within 30 days",
                       "A token stops working at the beginning of the day on which it expires, in UTC.",
                       "Tokens that expire within 30 days",
                       [("In", lambda t: count(t["days_left"], "day"), "number"), EXPIRES, OWNER,
                        TOKEN, SCOPES, LAST_USED], data["expiring"], total["expiring_30"]),
        tokens_section("leftovers", "Tokens left over from rotations",
                       "Rotations have replaced these tokens, or failed rotations have created them, and "
                       "nobody has revoked them.",
                       "Active tokens that rotations have left over",
                       [("Since", lambda t: day_of(t["since"]), "date"), OWNER, TOKEN,
                        ("Why", field("reason"), ""), EXPIRES],
                       (data["leftovers"] or {}).get("tokens"),
                       (data["leftovers"] or {}).get("total")),
        tokens_section("inactive", "Active tokens of inactive owners",
                       "Users who are blocked, deactivated or locked own these tokens. Most of the "
                       "tokens work again as soon as the user is active again.",
                       "Active tokens of inactive owners",
                       [TOKEN, SCOPES, EXPIRES, LAST_USED],
                       data["inactive"], total["owner_inactive"], BY_OWNER),
        tokens_section("without-expiry", "Tokens that never expire",
                       "These active tokens work until somebody revokes them.",
                       "Active tokens without expiry",
                       [TOKEN, SCOPES, CREATED, LAST_USED], data["without_expiry"],
                       total["without_expiry"], BY_OWNER),
        tokens_section("unused", "Tokens not used for 90 days",
                       "Perhaps nobody needs these active tokens any more. The days of a token that was "
                       "never used count from its creation.",
                       "Active tokens that are not used",
                       [("Days", figure("days_unused"), "number"), TOKEN, SCOPES, EXPIRES,
                        LAST_USED], data["unused"], total["unused_90"], BY_OWNER)]


OF_ACCOUNTS = {"all": ", and of all their service accounts",
               "group": ", and of the service accounts of the group itself",
               "projects": ", and of the service accounts of projects",
               "none": ", without service accounts"}


def coverage(data):
    """Which part of GitLab's tokens the report is about."""
    credential = data["credential"]
    if not credential:
        return "no tokens yet"
    return "%s%s" % (
        "the tokens of the group %s, its subgroups and projects%s" % (
            name(credential["of_group"]), OF_ACCOUNTS[credential["of_accounts"]])
        if credential["of_group"] else
        "the tokens of all users" if credential["sees_all_tokens"]
        else "the tokens of the owner of %s" % name(credential["name"]),
        ", only those with <code>%s</code>" % text(credential["which"])
        if credential["which"] else "")


def data_section(data):
    credential, requests = data["credential"], data["requests"]
    facts = [("Database", name(data["database"]))]
    facts.append(("Shown", coverage(data)))
    if data["refreshed_at"]:
        facts.append(("As of", text("%s, %s before this report was made" % (
            minute_of(data["refreshed_at"]), age(data["generated_at"], data["refreshed_at"])))))
    last = data["last_refresh"]
    if last and last["error"]:
        facts.append(("Last refresh", text("failed at %s: %s" % (
            minute_of(last["finished_at"]), last["error"]))))
    if credential:
        facts.append(("Made with", "the token %s, which %s and sees %s" % (
            name(credential["name"]),
            "expires on %s, in %s" % (credential["expires_at"],
                                      count(credential["days_left"], "day"))
            if credential["expires_at"] else "never expires",
            "all tokens" if credential["sees_all_tokens"] else "the tokens of its owner only")))
    facts.append(("Last 30 days", text("%s, %s of them failed; %s, %s of them errors, %s refused by "
                                       "the rate limit" % (
                                           count(requests["refreshes"], "refresh", "refreshes"),
                                           number(requests["failed"]),
                                           count(requests["requests"], "request"),
                                           number(requests["errors"]),
                                           number(requests["rate_limited"])))))
    if last and last["rate_limit_remaining"] is not None:
        facts.append(("Rate limit", text("%s left after the last refresh" % count(
            last["rate_limit_remaining"], "request"))))
    for job in data["failed_jobs"] or ():
        facts.append(("Failed job", "%s, at %s" %
                     (name(job["job_name"]), minute_of(job["last_end"]))))
    return '<section id="data"><h2>About this report</h2><dl class="facts">%s</dl></section>' % "".join(
        "<div><dt>%s</dt><dd>%s</dd></div>" % fact for fact in facts)


def page(data):
    total = {key: sum(row[key] for row in data["summary"] or [])
             for key in ("active", "expired", "revoked", "expiring_7", "expiring_30",
                         "without_expiry", "owner_inactive", "unused_90")}
    url = (data["credential"] or {}).get("url")
    style = pathlib.Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    sections = [findings_list(data, total), tiles(total)]
    if data["summary"]:
        sections += [
            ahead_section(data, total),
            history_section(data), owners_section(data), scopes_section(data),
            people_section(data), *lists_of_tokens(data, total)]
    sections.append(data_section(data))
    return """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>GitLab access tokens, %s</title>
<style>
%s</style>
</head>
<body>
<header>
<h1>GitLab access tokens</h1>
<p>%s, %s: %s</p>
</header>
<main>
%s
</main>
</body>
</html>
""" % (day_of(data["generated_at"]), style, link(url, name(url or "GitLab")),
       minute_of(data["generated_at"]), coverage(data),
       "\n".join(part for part in sections if part))


def main():
    document = sys.stdin.buffer.read()
    # psql has said why there is none
    if not document.strip():
        sys.exit(1)
    sys.stdout.buffer.write(page(json.loads(document)).encode("utf-8"))


if __name__ == "__main__":
    main()
