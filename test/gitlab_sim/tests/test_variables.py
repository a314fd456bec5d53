"""CI/CD variables of projects and groups."""

from datetime import date
from urllib.parse import quote

from simulator import ALICE, SimulatorTest

APP = "/projects/acme%2Fapp/variables"
INFRA = "/groups/acme%2Finfra/variables"
PRODUCTION = "?filter%5Benvironment_scope%5D=production"
STAGING = "?filter%5Benvironment_scope%5D=staging"
SEVERAL = ("There are multiple variables with provided parameters. Please use "
           "'filter[environment_scope]'")
SCOPE_CHARACTERS = ("can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', '*' "
                    "and spaces")
ALICE_READ = "glpat-sim-alice-read"
DAVE = "glpat-dave"


class VariablesTest(SimulatorTest):
    def add_dave(self):
        """A Developer of acme/app, and a stranger elsewhere."""
        self.add_token(user_id=8, name="dave", token=DAVE)

    def value(self, owner, key, scope="*"):
        """What is stored, or None if the variable is not there."""
        return next((row["value"] for row in self.control("GET", "variables")
                     if (row["owner"], row["key"], row["environment_scope"])
                     == (owner, key, scope)), None)

    def put(self, path, body, **arguments):
        answer = self.call("PUT", path, body, **arguments)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()

    def post(self, path, **body):
        return self.call("POST", path, body)


class Reading(VariablesTest):
    def test_lists_take_an_id_or_a_path(self):
        keys = ["DEPLOY_PAT", "DATABASE_URL", "DATABASE_URL", "HIDDEN_TOKEN", "CONFIG"]
        for path in (APP, "/projects/1/variables", "/projects/ACME%2fApp/variables"):
            answer = self.get(path, token=ALICE)
            self.assertEqual([row["key"] for row in answer.json()], keys)
        self.assertEqual(answer.headers["X-Total"], "5")
        for path in (INFRA, "/groups/2/variables", "/groups/Acme%2FInfra/variables"):
            self.assertEqual([row["key"] for row in self.get(path).json()], ["REGION"])

    def test_pages_have_all_variables_once(self):
        self.reset(variables=120)
        for path, own in ((APP, 5), ("/groups/acme/variables", 2)):
            rows, page = [], 1
            while page:
                answer = self.get(path, token=ALICE, per_page=50, page=page)
                headers = answer.headers
                self.assertEqual((headers["X-Total"], headers["X-Total-Pages"], headers["X-Page"],
                                  headers["X-Per-Page"]), (str(120 + own), "3", str(page), "50"))
                self.assertIn('rel="first"', headers["Link"])
                rows += answer.json()
                page = headers["X-Next-Page"]
            self.assertEqual(len(rows), 120 + own)
            # By id, so in the order of creation; none twice.
            self.assertEqual([row["value"] for row in rows[own:]],
                             ["value-%05d" % n for n in range(1, 121)])
            self.assertEqual(len({(r["key"], r["environment_scope"]) for r in rows}), 120 + own)
            self.assertEqual(len(self.get(path).json()), 20)
            self.assertEqual(self.get(path, page=9).json(), [])
            self.assert_error(self.get(path, page="x"), 400, {"error": "page is invalid"})

    def test_a_single_variable_is_found_by_key(self):
        row = self.get(APP + "/CONFIG").json()
        self.assertEqual(row, {
            "variable_type": "file", "key": "CONFIG", "value": '[app]\ndebug = "no"\n',
            "protected": False, "masked": False, "hidden": False, "raw": True,
            "environment_scope": "*", "description": "Read at start <&>"})
        self.assert_message(self.get(APP + "/NONE"), 404, "404 Variable Not Found")
        self.assert_message(self.get(INFRA + "/NONE"), 404, "404 GroupVariable Not Found")
        self.assertEqual(self.get(INFRA + "/REGION").json()["value"], "eu-north")

    def test_hidden_values_are_never_shown(self):
        path = APP + "/HIDDEN_TOKEN"
        listed = [row for row in self.get(APP).json() if row["hidden"]]
        for row in (*listed, self.get(path).json(), self.put(path, {"value": "new-value-1"})):
            self.assertEqual((row["key"], row["value"]), ("HIDDEN_TOKEN", None))
        self.assertEqual(self.value("project acme/app", "HIDDEN_TOKEN"), "new-value-1")


class Scopes(VariablesTest):
    """Environment scopes."""

    def test_a_key_in_several_scopes_needs_the_filter(self):
        for method in ("GET", "PUT", "DELETE"):
            for query in ("", "?filter%5Benvironment_scope%5D="):
                self.assert_message(self.call(method, APP + "/DATABASE_URL" + query), 409,
                                    SEVERAL)
            self.assert_message(self.call(method, APP + "/DATABASE_URL" + STAGING), 404,
                                "404 Variable Not Found")
        self.assertTrue(self.get(APP + "/DATABASE_URL" + PRODUCTION).json()["protected"])
        star = "?filter%5Benvironment_scope%5D=" + quote("*")
        self.assertFalse(self.get(APP + "/DATABASE_URL" + star).json()["protected"])
        self.assert_error(self.get(APP + "/CONFIG?filter=x"), 400,
                          {"error": "filter is invalid"})
        self.assertEqual(self.call("DELETE", APP + "/DATABASE_URL" + PRODUCTION).status, 204)
        self.assertEqual(self.get(APP + "/DATABASE_URL").json()["environment_scope"], "*")

    def test_an_update_takes_the_filter_from_url_or_body(self):
        path = APP + "/DATABASE_URL"
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        for url, body, headers in [
                (path + PRODUCTION, {"value": "1"}, {}),
                (path + "?filter[environment_scope]=production", {"value": "2"}, {}),
                (path, {"filter": {"environment_scope": "production"}, "value": "3"}, {}),
                (path, "filter%5Benvironment_scope%5D=production&value=4", form),
                (path + PRODUCTION + "&value=5", None, {})]:
            row = self.put(url, body, headers=headers)
            self.assertEqual(row["environment_scope"], "production")
        self.assertEqual(row["value"], "5")
        self.assertNotIn("value=5", self.control("GET", "journal")[-1]["path"])

    def test_an_update_changes_the_scope(self):
        path = APP + "/DATABASE_URL"
        self.assert_message(self.call("PUT", path + PRODUCTION, {"environment_scope": "*"}), 400,
                            {"key": ["(DATABASE_URL) has already been taken"]})
        row = self.put(path + PRODUCTION, {"environment_scope": " review/* "})
        self.assertEqual(row["environment_scope"], "review/*")
        self.assertEqual(self.get(path + PRODUCTION).status, 404)
        self.assert_message(self.call("PUT", APP + "/CONFIG", {"environment_scope": "a,b"}), 400,
                            {"environment_scope": [SCOPE_CHARACTERS]})
        self.assert_message(self.call("PUT", APP + "/CONFIG", {"environment_scope": None}), 400,
                            {"environment_scope": ["can't be blank", SCOPE_CHARACTERS]})

    def test_group_variables_are_updated_leniently(self):
        self.post(INFRA, key="REGION", value="prod", environment_scope="production")
        self.assert_message(self.get(INFRA + "/REGION"), 409, SEVERAL)
        self.assert_message(self.call("DELETE", INFRA + "/REGION"), 409, SEVERAL)
        self.assertEqual(self.put(INFRA + "/REGION" + PRODUCTION, {"value": "a"})
                         ["environment_scope"], "production")
        for query in ("", STAGING):
            self.assertEqual(self.put(INFRA + "/REGION" + query, {"value": "b"})
                             ["environment_scope"], "*")
        self.assert_message(self.call("PUT", INFRA + "/NONE" + STAGING, {"value": "b"}), 404,
                            "404 GroupVariable Not Found")

    def test_group_scopes_need_a_paid_tier(self):
        self.control("POST", "settings", {"group_variable_scopes": False})
        row = self.post(INFRA, key="NEW", value="v", environment_scope="production").json()
        self.assertEqual(row["environment_scope"], "*")
        self.assertEqual(self.put(INFRA + "/NEW", {"environment_scope": "x"})
                         ["environment_scope"], "*")
        row = self.post(APP, key="NEW", value="v", environment_scope="production").json()
        self.assertEqual(row["environment_scope"], "production")


class Creation(VariablesTest):
    def test_fields_that_are_not_sent_have_defaults(self):
        for path in (APP, INFRA):
            answer = self.post(path, key=" NEW ", value="")
            self.assertEqual(answer.status, 201)
            self.assertEqual(answer.json(), {
                "variable_type": "env_var", "key": "NEW", "value": "", "protected": False,
                "masked": False, "hidden": False, "raw": False, "environment_scope": "*",
                "description": None})

    def test_all_fields_are_stored(self):
        fields = {"key": "NEW", "value": "long-enough", "variable_type": "file", "raw": True,
                  "protected": True, "masked": True, "environment_scope": "prod/*",
                  "description": ""}
        self.assertEqual(self.post(APP, **fields).json(), fields | {"hidden": False})

    def test_masked_and_hidden_hides_the_value(self):
        answer = self.post(APP, key="NEW", value="long-enough", masked_and_hidden=True)
        row = answer.json()
        self.assertEqual((answer.status, row["masked"], row["hidden"], row["value"]),
                         (201, True, True, None))
        self.assertEqual(self.value("project acme/app", "NEW"), "long-enough")
        self.assertFalse(self.post(APP, key="N2", value="long-enough", hidden=True)
                         .json()["hidden"])

    def test_invalid_fields_are_refused(self):
        letters = "can contain only letters, digits and '_'."
        for body, message in [
                ({"key": "CONFIG"}, {"key": ["(CONFIG) has already been taken"]}),
                ({"key": "a-b"}, {"key": [letters]}),
                ({"key": "Ä"}, {"key": [letters]}),
                ({"key": None}, {"key": ["can't be blank", letters]}),
                ({"key": "k" * 256}, {"key": ["is too long (maximum is 255 characters)"]}),
                ({"description": "d" * 256},
                 {"description": ["is too long (maximum is 255 characters)"]}),
                ({"environment_scope": ""},
                 {"environment_scope": ["can't be blank", SCOPE_CHARACTERS]}),
        ]:
            self.assert_message(self.post(APP, **({"key": "K", "value": "x"} | body)), 400,
                                message)
        self.assert_error(self.post(APP, key="K"), 400, {"error": "value is missing"})
        self.assert_error(self.post(APP), 400, {"error": "key is missing, value is missing"})
        self.assert_error(self.post(APP, key="K", value="x", variable_type="env"), 400,
                          {"error": "variable_type does not have a valid value"})
        self.assertEqual(self.post(APP, key="k" * 255, value="x").status, 201)

    def test_values_that_cannot_be_masked_are_refused(self):
        for value, raw, accepted in [
                ("glpat-0123456789abcdefghij", False, True), ("a_+=/@:.~-", False, True),
                ("seven77", False, False), ("two words", False, False), ("two\nlines", True, False),
                ("dollar$sign", False, False), ("dollar$sign", True, True),
                ("two words", True, False), (None, False, False)]:
            answer = self.post(APP, key="M", value=value, raw=raw, masked=True)
            if accepted:
                self.assertEqual(answer.status, 201)
                self.call("DELETE", APP + "/M")
            else:
                self.assert_message(answer, 400, {"value": ["is invalid"]})


class Changes(VariablesTest):
    def test_an_update_changes_only_what_was_sent(self):
        before = self.get(APP + "/CONFIG").json()
        self.assertEqual(self.put(APP + "/CONFIG", {}), before)
        self.assertEqual(self.put(APP + "/CONFIG", {"value": "v", "protected": True,
                                                    "key": "OTHER"}),
                         before | {"value": "v", "protected": True})
        for description in ("", None, "new"):
            self.assertEqual(self.put(APP + "/CONFIG", {"description": description})
                             ["description"], description)

    def test_an_update_checks_masked_values_and_does_not_hide(self):
        self.assert_message(self.call("PUT", APP + "/CONFIG", {"masked": True}), 400,
                            {"value": ["is invalid"]})
        self.assert_message(self.call("PUT", APP + "/DEPLOY_PAT", {"value": "short"}), 400,
                            {"value": ["is invalid"]})
        self.assertEqual(self.value("project acme/app", "DEPLOY_PAT"), "old-deploy-pat")
        row = self.put(APP + "/DEPLOY_PAT", {"hidden": True, "masked_and_hidden": True})
        self.assertFalse(row["hidden"])
        self.assert_message(self.call("PUT", APP + "/HIDDEN_TOKEN", {"masked": False}), 400, {
            "base": ["The visibility setting cannot be changed for masked and hidden variables."]})

    def test_a_deleted_variable_is_gone(self):
        for path in (APP + "/DEPLOY_PAT", INFRA + "/REGION"):
            answer = self.call("DELETE", path, token=ALICE)
            self.assertEqual((answer.status, answer.body), (204, b""))
            self.assertEqual(self.call("DELETE", path).status, 404)
        self.assertEqual(self.get(INFRA).json(), [])


class Access(VariablesTest):
    def test_roles_decide_who_may_use_variables(self):
        self.add_dave()
        # What the caller may is looked at before the parameters.
        for method, path in (("GET", APP + "?page=x"), ("POST", APP), ("PUT", APP + "/CONFIG"),
                             ("DELETE", APP + "/CONFIG")):
            self.assert_message(self.call(method, path, token=DAVE), 403, "403 Forbidden")
        for path, text in (("/projects/2/variables", "404 Project Not Found"),
                           ("/groups/acme%2Finfra/variables", "404 Group Not Found"),
                           ("/projects/no%2Fsuch/variables", "404 Project Not Found"),
                           ("/projects/acme/variables", "404 Project Not Found"),
                           ("/groups/99/variables", "404 Group Not Found")):
            self.assert_message(self.get(path, token=DAVE), 404, text)
        # A member of a project sees that there is its group.
        self.assert_message(self.get("/groups/acme/variables", token=DAVE), 403, "403 Forbidden")

    def test_roles_are_inherited(self):
        self.add_dave()
        self.sim.simctl("group", "set", "acme", "members.dave=40")
        self.assertEqual(self.get("/projects/2/variables", token=DAVE).status, 200)
        self.assert_message(self.get(INFRA, token=DAVE), 403, "403 Forbidden")

    def test_roles_can_change(self):
        self.add_dave()
        self.sim.simctl("project", "set", "acme/app", "members.dave=40")
        self.assertEqual(self.get(APP, token=DAVE).status, 200)
        self.sim.simctl("project", "set", 1, "members.dave=0")
        self.assert_message(self.get(APP, token=DAVE), 404, "404 Project Not Found")
        self.sim.simctl("group", "set", "acme/infra", "members.8=40")
        self.assert_message(self.get(INFRA, token=DAVE), 403, "403 Forbidden")
        self.sim.simctl("group", "set", "acme/infra", "members.dave=50")
        self.assertEqual(self.get(INFRA, token=DAVE).status, 200)

    def test_read_api_reads_and_does_not_write(self):
        self.assertEqual(self.get(APP, token=ALICE_READ).status, 200)
        for method, path in (("POST", APP), ("PUT", APP + "/CONFIG"), ("DELETE", APP + "/CONFIG"),
                             ("PUT", INFRA + "/REGION")):
            answer = self.call(method, path, {"value": "v"}, token=ALICE_READ)
            self.assertEqual((answer.status, answer.json()["error"], answer.json()["scope"]),
                             (403, "insufficient_scope", "api read_api"))

    def test_a_read_only_instance_refuses_writes(self):
        self.control("POST", "settings", {"read_only": True})
        self.assert_message(self.call("PUT", APP + "/CONFIG", {"value": "v"}), 403,
                            "You cannot perform write operations on a read-only instance")
        self.assertEqual(self.get(APP).status, 200)


class Namespaces(VariablesTest):
    """Projects and groups come, go and are renamed."""

    def test_projects_and_groups_are_added_and_removed(self):
        simctl = self.sim.simctl
        self.assertEqual(simctl("project", "add", "path=acme/new", "members.alice=40"), "3\n")
        self.assertEqual(simctl("group", "add", "path=other"), "3\n")
        self.assertEqual(simctl("projects").splitlines()[-1], "3 acme/new alice=40")
        self.assertEqual(simctl("groups").splitlines()[-1], "3 other")
        self.assertEqual(self.get("/projects/acme%2Fnew/variables", token=ALICE).json(), [])
        simctl("project", "remove", "acme/new")
        self.assertEqual(self.get("/projects/3/variables").status, 404)
        self.assertEqual(simctl("project", "add", "path=acme/new"), "4\n")
        simctl("group", "remove", "acme")  # with all that is in it
        self.assertEqual((simctl("projects"), simctl("groups")), ("", "3 other\n"))
        self.assertEqual(simctl("variables"), "")

    def test_a_renamed_project_redirects_reads_and_refuses_writes(self):
        self.add_dave()
        self.sim.simctl("project", "set", "acme/app", "path=acme/App2")
        answer = self.get(APP + "/DATABASE_URL" + PRODUCTION, token=ALICE)
        url = (self.sim.url + "/api/v4/projects/1/variables/DATABASE_URL" + PRODUCTION)
        self.assertEqual((answer.status, answer.headers["Location"]), (301, url))
        self.assertEqual(answer.headers["Content-Type"], "text/plain")
        self.assertEqual(answer.body.decode(),
                         "This resource has been moved permanently to " + url)
        self.assertEqual(self.get(APP).headers["Location"],
                         self.sim.url + "/api/v4/projects/1/variables")
        for method, path in (("POST", APP), ("PUT", APP + "/CONFIG"), ("DELETE", APP + "/CONFIG")):
            self.assert_message(self.call(method, path), 405,
                                "Non GET methods are not allowed for moved projects")
        self.assertEqual(self.get("/projects/acme%2Fapp2/variables").status, 200)
        self.sim.simctl("project", "set", 1, "members.dave=0")
        self.assert_message(self.get(APP, token=DAVE), 404, "404 Project Not Found")
        # Who takes the path over gets the requests.
        self.sim.simctl("project", "add", "path=acme/app")
        self.assertEqual(self.get(APP).json(), [])

    def test_a_renamed_group_does_not_redirect(self):
        self.sim.simctl("group", "set", "acme", "path=emca")
        self.assert_message(self.get("/groups/acme/variables"), 404, "404 Group Not Found")
        self.assertEqual(self.get("/groups/emca%2Finfra/variables").status, 200)
        self.assertEqual(self.get("/projects/emca%2Fweb/variables").status, 200)
        self.assertEqual(self.get(APP).status, 301)

    def test_invalid_projects_are_refused(self):
        for words in (("add", "path=acme/app"), ("add", "path=acme"), ("add", "path=flat"),
                      ("set", "acme/none", "path=a/b"), ("set", "acme/app", "path=ACME/web"),
                      ("add", "path=a/b", "members.nobody=40"), ("add", "path=a/b", "color=red"),
                      ("add", "path=a/b", "id=1"),
                      ("remove", "acme/none")):
            with self.assertRaises(AssertionError):
                self.sim.simctl("project", *words)
        self.assertEqual(len(self.sim.simctl("projects").splitlines()), 2)

    def test_reset_creates_projects_with_variables(self):
        self.reset(projects=30)
        lines = self.sim.simctl("projects").splitlines()
        self.assertEqual((len(lines), lines[-1]), (32, "32 acme/project00030 alice=40"))
        (row,) = self.get("/projects/32/variables", token=ALICE).json()
        self.assertEqual((row["key"], row["value"]), ("DEPLOY_PAT", "project-00030-pat"))


class Instance(VariablesTest):
    PATH = "/admin/ci/variables"

    def test_instance_variables_are_created_changed_and_deleted(self):
        self.assertEqual(self.get(self.PATH).json(), [])
        answer = self.call("POST", self.PATH, {"key": "K", "value": "v", "hidden": True,
                                               "environment_scope": "production"})
        self.assertEqual((answer.status, answer.json()), (201, {
            "variable_type": "env_var", "key": "K", "value": "v", "hidden": False,
            "protected": False, "masked": False, "raw": False, "description": None}))
        self.assertEqual(self.put(self.PATH + "/K", {"value": "w"})["value"], "w")
        self.assertEqual(self.sim.simctl("variables").splitlines()[-1], 'instance K * "w"')
        self.assertEqual(self.call("DELETE", self.PATH + "/K").status, 204)
        self.assert_message(self.get(self.PATH + "/K"), 404, "404 InstanceVariable Not Found")

    def test_only_administrators_use_instance_variables(self):
        self.assert_message(self.get(self.PATH, token=ALICE), 403, "403 Forbidden")

    def test_instance_variables_have_limits(self):
        self.control("POST", "settings", {"instance_variable_limit": 1})
        self.sim.simctl("variable", "set", "instance=true", "key=A", "value=a")
        self.assert_message(self.call("POST", self.PATH, {"key": "B", "value": "b"}), 400, {
            "base": ["Maximum number of ci instance level variables (1) exceeded"]})
        self.assert_message(self.call("PUT", self.PATH + "/A", {"value": "x" * 10_001}), 400, {
            "value": ["The value of the provided variable exceeds the 10000 character limit"]})


class DeadVariables(VariablesTest):
    def test_variables_with_dead_tokens_are_listed(self):
        simctl = self.sim.simctl
        self.put(APP + "/DEPLOY_PAT", {"value": ALICE})
        self.put(INFRA + "/REGION", {"value": "glpat-sim-deploykey"})
        self.put(APP + "/HIDDEN_TOKEN", {"value": "glpat-sim-frank"})
        self.assertIn("project acme/app DEPLOY_PAT * token 2 masked\n", simctl("variables"))
        self.assertEqual(simctl("dead-variables"), "")
        self.call("DELETE", "/personal_access_tokens/2")
        simctl("token", "set", 15, "expires_at=%s" % date(2024, 1, 1))
        self.assertEqual(simctl("dead-variables"),
                         "project acme/app DEPLOY_PAT * token 2 revoked\n"
                         "project acme/app HIDDEN_TOKEN * token 15 expired\n")
        new = self.call("POST", "/personal_access_tokens/12/rotate", {}).json()
        self.assertIn("group acme/infra REGION * token 12 revoked\n", simctl("dead-variables"))
        self.put(INFRA + "/REGION", {"value": new["token"]})
        self.assertNotIn("REGION", simctl("dead-variables"))
