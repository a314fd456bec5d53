"""GitLab clients that were not written here get along with the simulator.

Debian's packages gitlab-cli (with python3-gitlab) and ruby-gitlab must be there: that they are
missing is a failure. Since python-gitlab's command follows Link headers, the simulator is told
its real URL here, where otherwise it names a foreign host.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path

from simulator import ADMIN, SimulatorTest

_COMMAND = "/usr/bin/python-gitlab"  # Debian's name for python-gitlab's `gitlab`

_ROTATE_WITH_PYTHON = """
import gitlab, json, sys
url, token, id = sys.argv[1:]
client = gitlab.Gitlab(url, private_token=token)
print(json.dumps(client.http_post("/personal_access_tokens/%s/rotate" % id,
                                  post_data={"expires_at": "2026-09-01"})))
"""

_VARIABLES_WITH_PYTHON = """
import gitlab, json, sys
url, token = sys.argv[1:]
client = gitlab.Gitlab(url, private_token=token)
seen = {}
for kind, owner in ("project", client.projects), ("group", client.groups):
    variables = owner.get(1, lazy=True).variables
    production = {"filter": {"environment_scope": "production"}}
    for scope in "*", "production":
        variables.create({"key": "NEW", "value": "by python", "environment_scope": scope})
    try:
        variables.get("NEW")
    except gitlab.GitlabGetError as e:
        seen[kind + " conflict"] = e.response_code
    changed = variables.update("NEW", {"value": "changed"}, **production)
    got = variables.get("NEW", **production)
    variables.delete("NEW", **production)
    seen[kind] = [changed["value"], got.value, got.environment_scope,
                  [(v.key, v.environment_scope) for v in variables.list(get_all=True, per_page=2)
                   if v.value == "by python"]]
print(json.dumps(seen))
"""

_CONTAINERS_WITH_PYTHON = """
import gitlab, json, sys
url, token = sys.argv[1:]
client = gitlab.Gitlab(url, private_token=token)
seen = {"groups": [g.full_path for g in client.groups.list(iterator=True, per_page=1)],
        "projects": [p.path_with_namespace for p in client.projects.list(
            iterator=True, pagination="keyset", order_by="id", sort="asc", per_page=2)]}
for kind, owner in ("project", client.projects), ("group", client.groups):
    tokens = owner.get("acme/app" if kind == "project" else "acme/infra").access_tokens
    created = tokens.create({"name": "by python", "scopes": ["api"], "access_level": 30,
                             "expires_at": "2026-08-01"})
    rotated = client.http_post("%s/%d/rotate" % (tokens.path, created.id))
    tokens.delete(rotated["id"])
    seen[kind] = [created.access_level, rotated["user_id"] == created.user_id,
                  [(t.name, t.revoked) for t in tokens.list(iterator=True, per_page=1)]]
print(json.dumps(seen))
"""

_CONTAINERS_WITH_RUBY = """
require "gitlab"
require "json"
client = Gitlab.client(endpoint: ARGV[0] + "/api/v4", private_token: ARGV[1])
path = "/groups/acme/service_accounts"
account = client.post(path, body: { name: "by ruby" })
tokens = "#{path}/#{account.id}/personal_access_tokens"
2.times { client.post(tokens, body: { name: "by ruby", scopes: ["api"] }) }
listed = client.get(tokens, query: { per_page: 1 }).auto_paginate
rotated = client.post("#{tokens}/#{listed.first.id}/rotate", body: {})
client.delete("#{tokens}/#{rotated.id}")
begin
  client.post("/projects/acme%2Fapp/access_tokens", body: { name: "n", scopes: ["sudo"] })
rescue Gitlab::Error::BadRequest => e
  message = e.message
end
puts JSON.generate(projects: client.projects(order_by: "id", per_page: 1).auto_paginate.map(&:id),
                   groups: client.groups.map(&:full_path), message: message,
                   subgroups: client.group_subgroups("acme").map(&:full_path),
                   states: client.get(tokens).map(&:revoked))
"""

_VARIABLES_WITH_RUBY = """
require "gitlab"
require "json"
client = Gitlab.client(endpoint: ARGV[0] + "/api/v4", private_token: ARGV[1])
app = "acme/app"
created = client.create_variable(app, "NEW", "by ruby", protected: true, description: "d")
scoped = client.update_variable(app, "DATABASE_URL", "changed",
                                filter: { environment_scope: "production" })
client.remove_variable(app, "DEPLOY_PAT")
begin
  client.create_variable(app, "NEW", "again")
rescue Gitlab::Error::BadRequest => e
  taken = e.message
end
group = client.create_group_variable(1, "NEW", "by ruby")
client.update_group_variable(1, "NEW", "changed by ruby", masked: false)
client.remove_group_variable(1, "REGION")
puts JSON.generate(created: created.to_h, scoped: scoped.to_h, taken: taken, group: group.to_h,
                   listed: client.variables(app).map(&:key),
                   one: client.group_variable(1, "NEW").value,
                   group_listed: client.group_variables(1).map(&:key))
"""

_RUBY = """
require "gitlab"
require "json"
client = Gitlab.client(endpoint: ARGV[0] + "/api/v4", private_token: ARGV[1])
path = "/personal_access_tokens"
created = client.post("/users/2" + path, body: { name: "by ruby", scopes: ["api", "read_user"],
                                                 expires_at: "2026-09-01" })
listed = client.get(path, query: { per_page: 5 }).auto_paginate.map(&:id)
rotated = client.post("#{path}/#{created.id}/rotate", body: { expires_at: "2026-10-01" })
client.delete("#{path}/#{rotated.id}")
user = client.user(2)
begin
  client.get("#{path}/999")
rescue Gitlab::Error::NotFound => e
  message = e.message
end
puts JSON.generate(created: created.to_h, listed: listed, rotated: rotated.to_h,
                   username: user.username, message: message)
"""


class ClientTest(SimulatorTest):
    def setUp(self):
        super().setUp()
        self.control("POST", "clock", {"now": "2026-06-24T12:00:00Z"})

    def run_client(self, *command, **environment):
        result = subprocess.run(command, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, env=os.environ | environment)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def assert_states(self, **states):
        for token_id, state in states.items():
            self.assertEqual(self.stored(int(token_id[1:]))["state"], state)


class PythonGitlab(ClientTest):
    def setUp(self):
        super().setUp()
        self.control("POST", "settings", {"external_url": self.sim.url})

    def gitlab(self, *words):
        with tempfile.TemporaryDirectory() as directory:
            config = Path(directory) / "python-gitlab.cfg"
            config.write_text("[global]\ndefault = sim\n[sim]\nurl = %s\nprivate_token = %s\n"
                              "per_page = 5\n" % (self.sim.url, ADMIN))
            output = self.run_client(_COMMAND, "-o", "json", *words,
                                     PYTHON_GITLAB_CFG=str(config))
        return json.loads(output) if output.strip() else None

    def test_python_gitlab_creates_lists_rotates_and_revokes(self):
        created = self.gitlab("user-personal-access-token", "create", "--user-id", "2", "--name",
                              "by python", "--scopes", "api,read_user", "--expires-at",
                              "2026-08-01")
        self.assertEqual((created["id"], created["scopes"]), (17, ["api", "read_user"]))
        listed = self.gitlab("personal-access-token", "list", "--get-all")
        self.assertEqual([row["id"] for row in listed], list(range(1, 18)))
        self.assertEqual(self.sim.simctl("count", "per_page=5"), "4\n")
        rotated = json.loads(self.run_client("/usr/bin/python3", "-c", _ROTATE_WITH_PYTHON,
                                             self.sim.url, ADMIN, "17"))
        self.assertEqual((rotated["id"], rotated["expires_at"]), (18, "2026-09-01"))
        self.gitlab("personal-access-token", "delete", "--id", "18")
        self.assert_states(t17="revoked", t18="revoked")

    def test_python_gitlab_reads_users_and_writes_variables(self):
        self.assertEqual(self.gitlab("user", "get", "--id", "2")["username"], "alice")
        self.assertEqual(len(self.gitlab("user", "list", "--get-all")), 10)
        for kind, owner, count in (("project", "acme/app", 6), ("group", "acme/infra", 2)):
            def variable(action, *words, kind=kind, owner=owner):
                return self.gitlab(kind + "-variable", action, "--%s-id" % kind, owner, *words)

            row = variable("create", "--key", "NEW", "--value", "by-python", "--masked", "true")
            self.assertEqual((row["value"], row["masked"]), ("by-python", True))
            row = variable("update", "--key", "NEW", "--value", "changed-by-python")
            self.assertEqual(row["value"], "changed-by-python")
            self.assertEqual(variable("get", "--key", "NEW"), row)
            listed = variable("list", "--get-all")
            self.assertEqual((len(listed), listed[-1]), (count, row))
            variable("delete", "--key", "NEW")
            self.assertEqual(len(variable("list", "--get-all")), count - 1)

    def test_python_gitlab_writes_scoped_variables(self):
        seen = json.loads(self.run_client("/usr/bin/python3", "-c", _VARIABLES_WITH_PYTHON,
                                          self.sim.url, ADMIN))
        for kind in ("project", "group"):
            self.assertEqual(seen[kind + " conflict"], 409)
            self.assertEqual(seen[kind], ["changed", "changed", "production", [["NEW", "*"]]])

    def test_python_gitlab_handles_tokens_of_projects_and_groups(self):
        self.reset(version="19.4", projects=4)
        self.control("POST", "settings", {"external_url": self.sim.url})
        seen = json.loads(self.run_client("/usr/bin/python3", "-c", _CONTAINERS_WITH_PYTHON,
                                          self.sim.url, ADMIN))
        self.assertEqual(seen["groups"], ["acme", "acme/infra"])
        self.assertEqual(seen["projects"], ["acme/app", "acme/web"] + [
            "acme/project%05d" % n for n in range(1, 5)])
        for kind in ("project", "group"):
            self.assertEqual(seen[kind], [30, True, [
                [kind + " bot", False], ["by python", True], ["by python", True]]])


class RubyGitlab(ClientTest):
    def test_ruby_gitlab_handles_tokens_of_projects_and_groups(self):
        self.reset(version="19.4")
        self.control("POST", "settings", {"external_url": self.sim.url})
        seen = json.loads(self.run_client("/usr/bin/ruby", "-e", _CONTAINERS_WITH_RUBY,
                                          self.sim.url, ADMIN))
        self.assertEqual(seen["projects"], [2, 1])
        self.assertEqual((seen["groups"], seen["subgroups"]),
                         (["acme", "acme/infra"], ["acme/infra"]))
        self.assertEqual(seen["states"], [True, False, True])
        self.assertIn("scopes does not have a valid value", seen["message"])

    def test_ruby_gitlab_creates_lists_rotates_and_revokes(self):
        seen = json.loads(self.run_client("/usr/bin/ruby", "-e", _RUBY, self.sim.url, ADMIN))
        self.assertEqual(seen["created"]["id"], 17)
        self.assertRegex(seen["created"]["token"], "^glpat-")
        self.assertEqual(seen["listed"], list(range(1, 18)))
        self.assertEqual((seen["rotated"]["id"], seen["rotated"]["expires_at"]),
                         (18, "2026-10-01"))
        self.assertEqual(seen["username"], "alice")
        self.assertIn("404 Not Found", seen["message"])
        self.assert_states(t17="revoked", t18="revoked")

    def test_ruby_gitlab_writes_variables(self):
        seen = json.loads(self.run_client("/usr/bin/ruby", "-e", _VARIABLES_WITH_RUBY,
                                          self.sim.url, ADMIN))
        self.assertEqual((seen["created"]["value"], seen["created"]["protected"],
                          seen["created"]["description"]), ("by ruby", True, "d"))
        self.assertEqual((seen["scoped"]["value"], seen["scoped"]["environment_scope"]),
                         ("changed", "production"))
        self.assertIn("(NEW) has already been taken", seen["taken"])
        self.assertEqual(seen["listed"], ["DATABASE_URL", "DATABASE_URL", "HIDDEN_TOKEN",
                                          "CONFIG", "NEW"])
        self.assertEqual(seen["group"]["value"], "by ruby")
        self.assertEqual((seen["one"], seen["group_listed"]),
                         ("changed by ruby", ["GROUP_TOKEN", "NEW"]))
