"""Puts a simulator into the state that a recording starts from, and repeats what it was asked.

A recording holds one JSON object a line: the seed, then requests with their answers, and lines
with "harness" for what changed behind the API's back.
"""

import gzip
import json
import re
from pathlib import Path

HEADERS = ("X-Total", "X-Total-Pages", "X-Page", "X-Per-Page", "X-Next-Page", "X-Prev-Page",
           "Link", "Retry-After", "Location", "Content-Type", "WWW-Authenticate", "Allow",
           "X-Next-Cursor")

VERSION = "19.3"
_HOST = re.compile(r"https?://[^/>\s\"]+")
_SECRET = re.compile(r"glpat-[\w.-]{15,}")
_CURSOR = re.compile(r"cursor=[^&>]+")
_GENERATED = re.compile(r"((?:project|group)_\d+_bot|service_account(?:_(?:project|group)_\d+)?)"
                        r"_[0-9a-f]{32}")


class Recording:
    def __init__(self, path):
        self.name = path.name.partition(".")[0]
        opened = gzip.open(path) if path.suffix == ".gz" else open(path, "rb")
        with opened as file:
            self.seed, *self.lines = [json.loads(line) for line in file]


def recordings_in(*directories):
    """By name; a directory that is named later has precedence."""
    paths = {path.name.partition(".")[0]: path
             for directory in directories for path in sorted(Path(directory).glob("*.jsonl*"))}
    return [Recording(path) for path in paths.values()]


class Mismatch(Exception):
    pass


class Replay:
    """One pass through a recording."""

    def __init__(self, sim, recording):
        self._sim = sim
        self._connection = sim.connect()
        self._recording = recording
        self._secrets = {}   # recorded -> ours, for what was created on the way
        self._etag = None
        self._seed(recording.seed)

    def close(self):
        self._connection.close()

    # The state.

    def _control(self, method, path, body=None):
        answer = self._sim.request(method, "/-/sim/" + path, body, connection=self._connection)
        if answer.status not in (200, 204):
            raise Mismatch("control: %s %s: %s" % (method, path, answer.body))
        return answer.json() if answer.body else None

    def _seed(self, seed):
        instance = seed["instance"]
        self._control("POST", "reset", {"version": VERSION, "empty": True})
        self._control("POST", "settings", {
            "external_url": "http://gitlab.example.com:443",
            "require_expiry": instance["require_personal_access_token_expiry"],
            "admin_mode": instance["admin_mode"], "time_zone": instance["time_zone"],
            # Where the recorder had no code of GitLab's.
            "saas": self._recording.name == "group_manage", "deletes_accounts": False})
        self._control("POST", "clock", {"now": seed["clock"].partition(" ")[0]})
        for user in seed["users"]:
            self._control("POST", "users", {k: v for k, v in user.items() if k != "user_type"})
        days = iter(range(1, 32))
        for group in seed.get("groups", ()):
            self._control("POST", "groups", _only(
                group, id="id", full_path="path", name="name", visibility="visibility")
                | {"created_at": "2024-01-%02d" % next(days)})
        for project in seed.get("projects", ()):
            created_at = "2024-01-%02d" % next(days)
            self._control("POST", "projects", _only(
                project, id="id", name="name", path_with_namespace="path")
                | {"created_at": created_at, "last_activity_at": created_at})
        for member in seed.get("members", ()):
            self._control("PATCH", "%ss/%d" % (
                {"Project": "project", "Namespace": "group"}[member["source"]],
                member["source_id"]),
                {"members": {str(member["user_id"]): member["access_level"]}})
        for token in seed["tokens"]:
            self._control("POST", "tokens", {k: v for k, v in token.items()
                                             if k not in ("state", "username")})
        if self._recording.name in _NOTES:
            _NOTES[self._recording.name](self)
        if "next_ids" in seed:
            self._control("POST", "next_ids", {
                "users": seed["next_ids"]["users"],
                "tokens": seed["next_ids"]["personal_access_tokens"]})

    def add_groups(self):
        for n in range(1, 6):
            self._control("POST", "groups", {
                "id": 200 + n, "path": "acme/grp%d" % n, "name": "Grp %02d" % n,
                "created_at": "2024-03-01"})

    def set_enterprise_users(self):
        for user_id in (8, 11):
            self._control("PATCH", "users/%d" % user_id, {"enterprise_group_id": 100})
        self._control("PATCH", "users/7", {"provisioned_by_group_id": 100})
        for token_id in (5, 6, 7):
            self._control("PATCH", "tokens/%d" % token_id, {
                "created_at": "2025-01-01T00:00:05.005005Z"})

    def harness(self, line):
        """A change made behind the API's back; where the line does not say which, its case
        does."""
        change, case = line["harness"], line["case"]
        settings = dict(change.get("setting", {}))
        if "require_personal_access_token_expiry" in settings:
            settings["require_expiry"] = settings.pop("require_personal_access_token_expiry")
        if "time_zone" in change:
            settings["time_zone"] = change["time_zone"]
        if settings:
            self._control("POST", "settings", settings)
        if "flag" in change:
            self._control("POST", "settings", {"resource_tokens_without_expiry": change["flag"][
                "allow_resource_access_token_creation_without_expiry_date"]})
        if "clock" in change:
            self._control("POST", "clock", {"now": change["clock"]})
        if "sql" in change and case not in _CASES:
            self._sql(change["sql"])
        if case in _CASES and "setting" not in change:
            _CASES[case](self)

    def _sql(self, statement):
        match = re.fullmatch(r"update personal_access_tokens set revoked=false where id=(\d+)",
                             statement)
        if match is None:
            raise Mismatch("no idea how to do: " + statement)
        self._control("PATCH", "tokens/" + match[1], {"revoked": False})

    def set(self, **settings):
        self._control("POST", "settings", settings)

    def allow_token_creation(self, allowed):
        self._control("PATCH", "groups/100", {"token_creation_allowed": allowed})

    def remove_bot_from_project(self):
        (token,) = [t for t in self._control("GET", "tokens") if t["name"] == "level 20"]
        self._control("PATCH", "projects/1", {"members": {str(token["user_id"]): 0}})

    def remove_instance_variables(self):
        for row in self._control("GET", "variables"):
            if row["owner"].startswith("instance"):
                self._control("DELETE", "variables", {"instance": True, "key": row["key"]})
        self._control("POST", "settings", {"instance_variable_limit": 1000})

    def limit_variables(self):
        counts = {"project 1": 0, "group 100": 0, "instance": 0}
        paths = {"project acme/app": "project 1", "group acme": "group 100"}
        for row in self._control("GET", "variables"):
            owner = paths.get(row["owner"], row["owner"].strip())
            if owner in counts:
                counts[owner] += 1
        self._control("POST", "settings", {
            "%s_variable_limit" % owner.partition(" ")[0]: count + 1
            for owner, count in counts.items()})

    # Requests.

    def ask(self, line):
        """Repeats a line's request and returns the texts of what differs."""
        request, recorded = line["request"], line["response"]
        headers, body = dict(request["headers"]), request["body"]
        if line.get("as"):
            credentials = self._recording.seed["credentials"]
            secret = credentials.get(line["as"], line["as"])
            headers["PRIVATE-TOKEN"] = self._secrets.get(secret, secret)
        if "If-None-Match" in headers:
            headers["If-None-Match"] = self._etag
        if isinstance(body, str):
            body = self._with_our_secrets(body).encode(
                "latin-1" if "no UTF-8" in line["case"] else "utf-8")
        elif body is not None:
            body = self._with_our_secrets(json.dumps(body)).encode()
        path = self._with_our_secrets(request["path"])
        answer = self._sim.request(request["method"], "/api/v4" + path, body, headers,
                                   connection=self._connection)
        self._etag = answer.headers["ETag"] or self._etag
        return self._compare(request["method"], recorded, answer)

    def _with_our_secrets(self, text):
        for recorded, ours in self._secrets.items():
            text = text.replace(recorded, ours)
        return text

    def _compare(self, method, recorded, answer):
        differences = []
        if answer.status != recorded["status"]:
            differences.append("status %d instead of %d" % (answer.status, recorded["status"]))
        for name in HEADERS:
            ours = _comparable(name, answer.headers[name])
            theirs = _comparable(name, recorded["headers"].get(name.lower()))
            if ours != theirs:
                differences.append("%s: %s instead of %s" % (name, ours, theirs))
        body = _json(answer) if answer.body and method != "HEAD" else None
        self._learn(body, recorded["body"])
        differences += _differences(_normal(body), _normal(recorded["body"]))
        return differences

    def _learn(self, ours, theirs):
        if isinstance(ours, dict) and isinstance(theirs, dict):
            if isinstance(ours.get("token"), str) and isinstance(theirs.get("token"), str):
                self._secrets[theirs["token"]] = ours["token"]
            if _GENERATED.match(str(theirs.get("username"))) and ours.get("id"):
                # Lists are in the order of names, so take the recorded ones from here on.
                self._control("PATCH", "users/%d" % ours["id"], {
                    "username": theirs["username"], "email": theirs["email"]})


_CASES = {
    "instance variables removed, limit raised to 1000": Replay.remove_instance_variables,
    "plan limits set to one more than there are": Replay.limit_variables,
    "the bot of the token named level 20 removed from the project":
        Replay.remove_bot_from_project,
    "top-level group: resource_access_token_creation_allowed off":
        lambda replay: replay.allow_token_creation(False),
    "switched on again": lambda replay: replay.allow_token_creation(True),
    "expiry no longer required": lambda replay: replay.set(require_expiry=False),
    "expiry required again": lambda replay: replay.set(require_expiry=True),
    "expiry required again, flag off again": lambda replay: replay.set(
        require_expiry=True, resource_tokens_without_expiry=False),
}

# What only the note of a seed says.
_NOTES = {"groups_projects": Replay.add_groups, "group_manage": Replay.set_enterprise_users}


def _only(source, **names):
    return {ours: source[theirs] for theirs, ours in names.items() if theirs in source}


def _json(answer):
    if "json" in answer.headers["Content-Type"]:
        return answer.json()
    return answer.body.decode()


def _comparable(name, value):
    if value is None:
        return None
    if name == "Content-Type":
        return value.partition(";")[0]
    if name == "X-Next-Cursor":
        return "cursor"
    return _CURSOR.sub("cursor=...", _HOST.sub("host", value))


def _normal(value):
    """Without what is random."""
    if isinstance(value, dict):
        return {k: _normal(v) for k, v in sorted(value.items())}
    if isinstance(value, list):
        return [_normal(v) for v in value]
    if isinstance(value, str):
        return _GENERATED.sub(r"\1_...", _SECRET.sub("glpat-...", _HOST.sub("host", value)))
    return value


def _differences(ours, theirs, path="body"):
    if ours == theirs:
        return []
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [text for key in sorted({*ours, *theirs})
                for text in _differences(ours.get(key, "(missing)"),
                                         theirs.get(key, "(missing)"), path + "." + key)]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        if sorted(map(json.dumps, ours)) == sorted(map(json.dumps, theirs)):
            return ["order of " + path]
        return [text for n, pair in enumerate(zip(ours, theirs))
                for text in _differences(*pair, path="%s[%d]" % (path, n))]
    return ["%s: %s instead of %s" % (path, _short(ours), _short(theirs))]


def _short(value):
    if isinstance(value, list):
        value = [v.get("id", v.get("key")) if isinstance(v, dict) else v for v in value]
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 300 else text[:300] + "..."
