"""Creating, rotating and revoking tokens."""

import re
from datetime import date, timedelta

from simulator import ADMIN, ALICE, SimulatorTest

TOKENS = "/personal_access_tokens"
ALICES = "/users/2/personal_access_tokens"
TODAY = date(2026, 6, 24)


def day(days):
    return (TODAY + timedelta(days)).isoformat()


class ChangesTest(SimulatorTest):
    def setUp(self):
        super().setUp()
        self.control("POST", "clock", {"now": TODAY.isoformat() + "T22:54:15.137955Z"})

    def create(self, path=ALICES, caller=ADMIN, **fields):
        return self.call("POST", path, {"name": "n", "scopes": ["api"]} | fields, token=caller)


class Creation(ChangesTest):
    def test_the_answer_has_all_fields_and_a_working_secret(self):
        answer = self.create(name="new", description="what for", expires_at=day(30),
                             scopes=["read_user", "api"])
        self.assertEqual(answer.status, 201)
        row = answer.json()
        secret = row.pop("token")
        self.assertRegex(secret, r"\Aglpat-[\w-]{20}\Z")
        self.assertEqual(row, {
            "id": 17, "name": "new", "revoked": False, "created_at": "2026-06-24T22:54:15.137Z",
            "description": "what for", "scopes": ["read_user", "api"], "user_id": 2,
            "last_used_at": None, "active": True, "granular": False, "expires_at": day(30)})
        self.assertEqual(self.get(TOKENS + "/self", token=secret).json()["id"], 17)

    def test_form_data_is_accepted(self):
        for form in ("name=n&scopes[]=api&scopes[]=read_user", "name=n&scopes=api,read_user"):
            answer = self.call("POST", ALICES, form, headers={
                "Content-Type": "application/x-www-form-urlencoded"})
            self.assertEqual(answer.json()["scopes"], ["api", "read_user"])

    def test_missing_and_invalid_parameters_are_named(self):
        for body, text in [
                ({}, "name is missing, scopes is missing"),
                ({"name": "n"}, "scopes is missing"),
                ({"name": "n", "scopes": ["rubbish"]}, "scopes does not have a valid value"),
                ({"name": "n", "scopes": ["api"], "expires_at": "soon"}, "expires_at is invalid"),
        ]:
            self.assert_error(self.call("POST", ALICES, body), 400, {"error": text})

    def test_values_that_the_model_refuses_are_named(self):
        for fields, text in [
                ({"name": " "}, "Name can't be blank"),
                ({"scopes": []}, "Scopes can't be blank"),
                ({"description": "x" * 256},
                 "Description is too long (maximum is 255 characters)"),
                ({"expires_at": day(366)}, "Expiration date must be before " + day(365)),
                ({"name": "", "scopes": []}, "Name can't be blank and Scopes can't be blank"),
        ]:
            self.assert_message(self.create(**fields), 422, text)
        self.control("POST", "settings", {"create_permitted": False})
        self.assert_message(self.create(), 422, "Not permitted to create")

    def test_the_expiry_has_a_default_and_a_limit(self):
        for sent, stored in [(day(365), day(365)), (None, day(365)), (day(-5), day(-5))]:
            self.assertEqual(self.create(expires_at=sent).json()["expires_at"], stored)
        self.assertFalse(self.create(expires_at=day(0)).json()["active"])
        self.control("POST", "settings", {"require_expiry": False})
        for sent, stored in [(None, None), (day(3650), day(3650))]:
            self.assertEqual(self.create(expires_at=sent).json()["expires_at"], stored)

    def test_only_administrators_create_tokens_for_others(self):
        self.assert_message(self.create(caller=ALICE), 403, "403 Forbidden")
        self.assert_message(self.create("/users/999/personal_access_tokens"), 404,
                            "404 User Not Found")

    def test_users_create_k8s_proxy_tokens_for_themselves(self):
        path = "/user/personal_access_tokens"
        self.assert_error(self.create(path, ALICE), 400,
                          {"error": "scopes does not have a valid value"})
        answer = self.create(path, ALICE, scopes=["k8s_proxy"])
        self.assertEqual((answer.status, answer.json()["user_id"]), (201, 2))
        self.assertEqual(answer.json()["expires_at"], day(365))

    def test_fine_grained_tokens_are_enforced(self):
        self.reset(version="19.4")
        self.control("POST", "settings", {"granular_tokens_enforced": True})
        self.assertEqual(self.create(expires_at=None).status, 422)
        self.assertEqual(self.call("POST", TOKENS + "/2/rotate").status, 400)
        self.assertEqual(self.call("POST", TOKENS + "/13/rotate").status, 200)
        self.assertEqual(self.call("POST", TOKENS + "/11/rotate").status, 200)  # no human's

    def test_permissions_of_fine_grained_tokens(self):
        self.reset(version="19.4")
        fine = "glpat-sim-finegrained"  # may read
        self.assertEqual(self.get(TOKENS + "/self", token=fine).status, 200)
        for method, path, what in (("DELETE", "/self", "Revoke"), ("DELETE", "/2", "Revoke"),
                                   ("POST", "/self/rotate", "Rotate")):
            answer = self.call(method, TOKENS + path, token=fine)
            self.assert_error(answer, 403, {
                "error": "insufficient_granular_scope",
                "error_description": "Access denied: This operation requires a fine-grained "
                "personal access token with the following user permissions: [Personal Access "
                "Token: %s]." % what})

    def test_fine_grained_tokens_are_created_from_19_4_on(self):
        path = "/user/personal_access_tokens"
        body = {"name": "n", "granular_scopes": [
            {"access": "selected_memberships", "permissions": ["read_job"], "project_ids": [1, 2]}]}
        self.assertEqual(self.call("POST", path, body).status, 400)
        self.reset(version="19.4")
        row = self.call("POST", path, body).json()
        self.assertEqual((row["scopes"], row["granular"]), (["granular"], True))
        self.assertNotIn("granular_scopes", row)
        row = self.get("%s/%d" % (TOKENS, row["id"])).json()
        self.assertEqual([s["project_id"] for s in row["granular_scopes"]], [1, 2])
        self.assertEqual(self.call("POST", ALICES, body).status, 400)


class Revocation(ChangesTest):
    def revoke(self, token_id, caller=ADMIN):
        return self.call("DELETE", "%s/%s" % (TOKENS, token_id), token=caller)

    def test_revoking_a_revoked_token_succeeds(self):
        for _ in range(2):
            answer = self.revoke(2)
            self.assertEqual((answer.status, answer.body), (204, b""))
            self.assertNotIn("Content-Type", answer.headers)
        self.assertTrue(self.get(TOKENS + "/2").json()["revoked"])

    def test_a_token_revokes_itself(self):
        self.assertEqual(self.call("DELETE", TOKENS + "/self", token=ALICE).status, 204)
        self.assertEqual(self.call("DELETE", TOKENS + "/self", token=ALICE).status, 401)

    def test_revoking_a_missing_token_is_404(self):
        for caller in (ADMIN, ALICE):
            self.assert_message(self.revoke(999, caller), 404, "404 Not found")

    def test_users_revoke_only_their_own_tokens(self):
        text = "400 Bad request - Not permitted to revoke"
        self.assert_message(self.revoke(1, ALICE), 400, text)
        self.assert_message(self.revoke(8, ALICE), 400, text)  # an impersonation token of hers
        self.assertEqual(self.revoke(3, ALICE).status, 204)
        self.reset(version="17.11")
        self.assert_message(self.revoke(1, ALICE), 400, "400 Bad request")


class Rotation(ChangesTest):
    def rotate(self, token_id="self", caller=ADMIN, **fields):
        return self.call("POST", "%s/%s/rotate" % (TOKENS, token_id), fields, token=caller)

    def test_the_answer_is_the_successor(self):
        answer = self.rotate(12, expires_at=day(60))
        self.assertEqual(answer.status, 200)
        row = answer.json()
        self.assertEqual((row["id"], row["expires_at"]), (17, day(60)))
        old = self.stored(12)
        for field in ("name", "description", "scopes", "user_id"):
            self.assertEqual(row[field], old[field])
        self.assertTrue(old["revoked"])
        self.assertEqual(self.stored(17)["previous_id"], 12)

    def test_the_new_expiry_has_a_default_and_a_limit(self):
        self.assertEqual(self.rotate(2).json()["expires_at"], day(7))
        self.assert_message(self.rotate(3, expires_at=day(366)), 400,
                            "400 Bad request - Expiration date must be before " + day(365))
        self.assertFalse(self.stored(3)["revoked"])
        self.assert_error(self.rotate(3, expires_at="x"), 400, {"error": "expires_at is invalid"})
        self.control("POST", "settings", {"require_expiry": False})
        self.assertIsNone(self.rotate(3).json()["expires_at"])

    def test_the_successor_of_an_impersonation_token_is_one(self):
        self.rotate(8)
        self.assertTrue(self.stored(17)["impersonation"])

    def test_expired_tokens_rotate_and_revoked_or_missing_ones_do_not(self):
        self.assert_message(self.rotate(6), 400, "400 Bad request - Token already revoked")
        self.assertEqual(self.rotate(5).status, 200)  # back to life
        self.assert_message(self.rotate(999), 404, "404 Not Found")
        self.assert_message(self.rotate(1, ALICE), 401, "401 Unauthorized")
        self.assert_message(self.rotate(999, ALICE), 401, "401 Unauthorized")

    def test_a_credential_that_rotates_itself_stops_working(self):
        secret = self.rotate(caller=ALICE).json()["token"]
        self.assertEqual(self.get(TOKENS + "/self", token=ALICE).status, 401)
        self.assertEqual(self.get(TOKENS + "/self", token=secret).status, 200)

    def test_reuse_of_a_revoked_token_revokes_its_successors(self):
        first = self.rotate(caller=ALICE).json()
        second = self.rotate(caller=first["token"]).json()
        # Neither a list nor a revocation with a dead token does anything.
        self.assertEqual(self.get(TOKENS, token=ALICE).status, 401)
        self.assertEqual(self.call("DELETE", TOKENS + "/self", token=ALICE).status, 401)
        self.assertFalse(self.stored(second["id"])["revoked"])
        # Nor does a living one that is pointed at the dead one's id.
        self.assertEqual(self.rotate(2).status, 400)
        self.assertFalse(self.stored(second["id"])["revoked"])
        answer = self.rotate(caller=ALICE)
        self.assertEqual((answer.status, answer.json()["error"]), (401, "invalid_token"))
        self.assertTrue(self.stored(second["id"])["revoked"])
        self.assertFalse(self.stored(3)["revoked"])

    def test_reuse_is_detected_at_any_rotate_url(self):
        second = self.rotate(caller=ALICE).json()
        self.assertEqual(self.rotate(7, ALICE).status, 401)
        self.assertTrue(self.stored(second["id"])["revoked"])


class Impersonation(ChangesTest):
    PATH = "/users/2/impersonation_tokens"

    def test_impersonation_tokens_are_listed_by_state(self):
        (row,) = self.get(self.PATH).json()
        self.assertEqual((row["id"], row["impersonation"]), (8, True))
        self.assertEqual(self.get(self.PATH, state="inactive").json(), [])
        self.assertEqual(self.get(self.PATH, state="active").ids(), [8])
        self.assert_error(self.get(self.PATH, state="x"), 400,
                          {"error": "state does not have a valid value"})

    def test_impersonation_tokens_are_created_and_revoked(self):
        answer = self.create(self.PATH, expires_at=day(3))
        self.assertEqual((answer.status, answer.json()["impersonation"]), (201, True))
        self.assertRegex(answer.json()["token"], "^glpat-")
        path = "%s/%d" % (self.PATH, answer.json()["id"])
        self.assertNotIn("token", self.get(path).json())
        old = {"If-Unmodified-Since": "Tue, 23 Jun 2026 00:00:00 GMT"}
        self.assertEqual(self.call("DELETE", path, headers=old).status, 412)
        self.assertEqual([self.call("DELETE", path).status for _ in range(2)], [204, 204])

    def test_bad_requests_for_impersonation_tokens_are_refused(self):
        self.assert_message(self.call("POST", self.PATH, {"name": "n"}), 400,
                            {"scopes": ["can't be blank"], "expires_at": ["can't be blank"]})
        self.assert_message(self.create(self.PATH, scopes=["nope"], expires_at=day(3)), 400,
                            {"scopes": ["can only contain available scopes"]})
        self.assert_message(self.create(self.PATH, expires_at=day(400)), 400,
                            {"expires_at": ["must be before " + day(365)]})
        self.assert_message(self.get(self.PATH, token=ALICE), 403, "403 Forbidden")
        self.assert_message(self.get(self.PATH + "/2"), 404, "404 Impersonation Token Not Found")
        self.assert_message(self.get("/users/999/impersonation_tokens"), 404,
                            "404 User Not Found")


class AdminToken(SimulatorTest):
    PATH = "/admin/token"

    def test_administrators_look_up_and_revoke_by_secret(self):
        self.assertEqual(self.call("POST", self.PATH, {"token": ALICE}).json()["id"], 2)
        self.assertEqual(self.call("DELETE", self.PATH, {"token": ALICE}).status, 204)
        self.assertTrue(self.stored(2)["revoked"])
        self.assert_message(self.call("POST", self.PATH, {"token": "glpat-none"}), 404,
                            {"error": "Not found"})
        self.assert_message(self.call("POST", self.PATH, {"token": "password"}), 422,
                            "Token type not supported.")
        self.assert_message(self.call("POST", self.PATH, {}, token="glpat-sim-serviceaccount"),
                            403, "403 Forbidden")


class Metadata(SimulatorTest):
    def test_version_and_metadata_name_the_version(self):
        for version in ("17.11", "19.4"):
            self.reset(version=version)
            for path in ("/version", "/metadata"):
                self.assertTrue(re.match(re.escape(version) + r"\.\d", self.get(
                    path, token=ALICE).json()["version"]))
        self.assertEqual(self.get("/version", token=None).status, 401)
