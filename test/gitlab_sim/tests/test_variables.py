"""CI/CD variables of projects and groups."""

from simulator import ALICE, SimulatorTest

APP = "/projects/acme%2Fapp/variables"
PRODUCTION = "?filter%5Benvironment_scope%5D=production"


class Variables(SimulatorTest):
    def test_list_by_id_and_path(self):
        keys = ["DEPLOY_PAT", "DATABASE_URL", "DATABASE_URL", "HIDDEN_TOKEN", "CONFIG"]
        for path in (APP, "/projects/1/variables"):
            answer = self.get(path, token=ALICE)
            self.assertEqual([row["key"] for row in answer.json()], keys)
        self.assertEqual(answer.headers["X-Total"], "5")
        self.assertEqual([r["key"] for r in self.get("/groups/acme%2Finfra/variables").json()],
                         ["REGION"])

    def test_one(self):
        row = self.get(APP + "/CONFIG").json()
        self.assertEqual(row, {
            "variable_type": "file", "key": "CONFIG", "value": '[app]\ndebug = "no"\n',
            "protected": False, "masked": False, "hidden": False, "raw": True,
            "environment_scope": "*", "description": "Read at start <&>"})
        self.assertIsNone(self.get(APP + "/HIDDEN_TOKEN").json()["value"])
        self.assert_message(self.get(APP + "/NONE"), 404, "404 Variable Not Found")

    def test_scopes(self):
        self.assert_message(self.get(APP + "/DATABASE_URL"), 409, (
            "There are multiple variables with provided parameters. Please use "
            "'filter[environment_scope]'."))
        self.assertTrue(self.get(APP + "/DATABASE_URL" + PRODUCTION).json()["protected"])
        answer = self.call("PUT", APP + "/DATABASE_URL" + PRODUCTION,
                           {"environment_scope": "*"})
        self.assert_message(answer, 400, {"key": ["(DATABASE_URL) has already been taken"]})
        answer = self.call("PUT", APP + "/DATABASE_URL", {
            "filter": {"environment_scope": "production"}, "value": "new"})
        self.assertEqual((answer.status, answer.json()["value"]), (200, "new"))

    def test_create(self):
        answer = self.call("POST", APP, {"key": "NEW", "value": "long-enough",
                                         "masked_and_hidden": True, "description": "d"})
        self.assertEqual(answer.status, 201)
        self.assertEqual((answer.json()["hidden"], answer.json()["value"]), (True, None))
        for body, message in [
                ({"key": "NEW", "value": "x"}, {"key": ["(NEW) has already been taken"]}),
                ({"key": "a-b", "value": "x"},
                 {"key": ["can contain only letters, digits and '_'."]}),
                ({"key": "M", "value": "two words", "masked": True}, {"value": ["is invalid"]}),
        ]:
            self.assert_message(self.call("POST", APP, body), 400, message)
        self.assert_error(self.call("POST", APP, {"key": "K"}), 400,
                          {"error": "value is missing"})

    def test_update_and_delete(self):
        answer = self.call("PUT", APP + "/DEPLOY_PAT", {"value": "glpat-sim-alice",
                                                        "hidden": True})
        self.assertEqual((answer.status, answer.json()["hidden"]), (200, False))
        (row,) = [r for r in self.control("GET", "variables") if r["token_id"]]
        self.assertEqual((row["owner"], row["key"], row["token_id"]),
                         ("project acme/app", "DEPLOY_PAT", 2))
        self.assertEqual(self.call("DELETE", APP + "/DEPLOY_PAT").status, 204)
        self.assertEqual(self.call("DELETE", APP + "/DEPLOY_PAT").status, 404)

    def test_roles(self):
        token = "glpat-dave"
        self.add_token(user_id=8, name="dave", token=token)
        self.assert_message(self.get(APP, token=token), 403, "403 Forbidden")
        self.assert_message(self.get("/projects/2/variables", token=token), 404,
                            "404 Project Not Found")
        self.assert_message(self.get("/groups/acme/variables", token=token), 404,
                            "404 Group Not Found")
        self.assert_message(self.get("/projects/no%2Fsuch/variables"), 404,
                            "404 Project Not Found")
        self.assertEqual(self.get("/groups/acme/variables", token=ALICE).status, 200)
