"""Who gets in, and what they are told if not."""

from simulator import ADMIN, ALICE, SimulatorTest

SELF = "/personal_access_tokens/self"
TOKENS = "/personal_access_tokens"


def insufficient(*scopes):
    return {"error": "insufficient_scope",
            "error_description": "The request requires higher privileges than provided by the "
                                 "access token.",
            "scope": " ".join(scopes)}


class Credentials(SimulatorTest):
    def test_both_headers_carry_a_credential(self):
        self.assertEqual(self.get(SELF, token=ALICE).json()["id"], 2)
        bearer = {"Authorization": "Bearer " + ALICE}
        self.assertEqual(self.get(SELF, token=None, headers=bearer).json()["id"], 2)
        journal = self.control("GET", "journal")
        self.assertEqual([(e["authorization"], e["credential_token_id"]) for e in journal],
                         [("private-token", 2), ("bearer", 2)])

    def test_no_credential_and_a_wrong_one_are_refused(self):
        self.assert_message(self.get(SELF, token=None), 401, "401 Unauthorized")
        self.assert_message(self.get(SELF, token="glpat-nonsense"), 401, "401 Unauthorized")

    def test_an_expired_token_is_refused(self):
        self.assert_error(self.get(SELF, token="glpat-sim-expired"), 401, {
            "error": "invalid_token",
            "error_description": "Token is expired. You can either do re-authorization or token "
                                 "refresh."})

    def test_a_revoked_token_is_refused(self):
        answer = self.get(SELF, token="glpat-sim-revoked")
        text = "Token was revoked. You have to re-authorize from the user."
        self.assert_error(answer, 401, {"error": "invalid_token", "error_description": text})
        self.assertEqual(answer.headers["WWW-Authenticate"],
                         'Bearer realm="Protected by OAuth 2.0", error="invalid_token", '
                         'error_description="%s"' % text)

    def test_a_token_expires_at_midnight_utc(self):
        for now, status in (("2099-12-30T23:59:59.999999Z", 200), ("2099-12-31T00:00:00Z", 401)):
            self.control("POST", "clock", {"now": now})
            self.assertEqual(self.get(SELF, token=ALICE).status, status)

    def test_a_blocked_user_is_refused(self):
        self.assert_message(self.get(SELF, token="glpat-sim-blocked"), 403,
                            "403 Forbidden - Your account has been blocked.")

    def test_impersonation_tokens_can_be_disabled(self):
        self.assertEqual(self.get(SELF, token="glpat-sim-impersonation").status, 200)
        self.control("POST", "settings", {"impersonation_enabled": False})
        self.assertEqual(self.get(SELF, token="glpat-sim-impersonation").json()["error"],
                         "invalid_token")

    def test_authentication_comes_before_validation(self):
        self.assertEqual(self.get(TOKENS, token="wrong", state="rubbish").status, 401)

    def test_unknown_routes_and_methods_are_404(self):
        self.assert_error(self.get("/nothing", token=None), 404, {"error": "404 Not Found"})
        self.assert_error(self.call("PATCH", TOKENS + "/1"), 404, {"error": "404 Not Found"})
        answer = self.call("OPTIONS", TOKENS + "/1")
        self.assertEqual((answer.status, answer.headers["Allow"]),
                         (204, "OPTIONS, GET, DELETE, HEAD"))


class Scopes(SimulatorTest):
    def test_read_api_reads_and_does_not_write(self):
        reader = "glpat-sim-alice-read"
        self.assertEqual(self.get(TOKENS, token=reader).status, 200)
        self.assert_error(self.call("DELETE", TOKENS + "/2", token=reader), 403,
                          insufficient("api", "read_api"))
        self.assert_error(self.get(TOKENS, token="glpat-sim-projectbot"), 403,
                          insufficient("api", "read_api"))

    def test_read_user_reads_users_only(self):
        self.assertEqual(self.get("/users", token="glpat-sim-noexpiry").status, 200)
        self.assertEqual(self.get(TOKENS, token="glpat-sim-noexpiry").status, 403)

    def test_self_works_with_any_scope(self):
        self.assertEqual(self.get(SELF, token="glpat-sim-projectbot").status, 200)
        self.assertEqual(self.call("DELETE", SELF, token="glpat-sim-projectbot").status, 204)

    def test_self_rotate_rotates_its_own_token_only(self):
        answer = self.call("POST", SELF + "/rotate", token="glpat-sim-selfrotate")
        self.assertEqual(answer.status, 200)
        answer = self.call("POST", TOKENS + "/15/rotate", token="glpat-sim-selfrotate")
        self.assertEqual(answer.status, 401)  # the old token is dead by now
        answer = self.call("POST", SELF + "/rotate", token="glpat-sim-alice-read")
        self.assert_error(answer, 403, insufficient("api", "self_rotate", "api", "read_api"))


class AdministratorsAndOthers(SimulatorTest):
    def test_administrator_sees_everything(self):
        self.assertEqual(self.list(), list(range(1, 17)))

    def test_others_see_their_own_without_impersonation_tokens(self):
        self.assertEqual(self.list(token=ALICE), [2, 3, 5, 6, 13])

    def test_admin_mode_hides_the_tokens_of_others_without_its_scope(self):
        without_scope = "glpat-sim-noadminmode"
        self.assertEqual(len(self.list(token=without_scope)), 16)
        self.control("POST", "settings", {"admin_mode": True})
        self.assertEqual(self.list(token=without_scope), [1, 4])
        self.assertEqual(len(self.list()), 16)

    def test_only_administrators_list_by_another_user_id(self):
        def probe(user_id, token):
            answer = self.get(TOKENS, user_id=user_id, token=token)
            return answer.status, answer.json() if answer.status != 200 else answer.ids()

        unauthorized = 401, {"message": "401 Unauthorized"}
        not_found = 404, {"message": "404 Not Found"}
        invalid = 400, {"error": "user_id is invalid"}
        self.assertEqual(probe(2, ADMIN), (200, [2, 3, 5, 6, 8, 13]))
        self.assertEqual(probe(999, ADMIN), not_found)
        self.assertEqual(probe("", ADMIN), not_found)
        self.assertEqual(probe("x", ADMIN), invalid)
        self.assertEqual(probe(2, ALICE), (200, [2, 3, 5, 6, 13]))
        self.assertEqual(probe("", ALICE), (200, [2, 3, 5, 6, 13]))
        self.assertEqual(probe(1, ALICE), unauthorized)
        self.assertEqual(probe(999, ALICE), unauthorized)
        self.assertEqual(probe("x", ALICE), invalid)

    def test_only_administrators_look_up_others_tokens_by_id(self):
        for token in (8, 9, 11):
            self.assertEqual(self.get("%s/%d" % (TOKENS, token)).json()["id"], token)
        self.assert_message(self.get(TOKENS + "/999"), 404, "404 Not Found")
        self.assertEqual(self.get(TOKENS + "/2", token=ALICE).status, 200)
        self.assertEqual(self.get(TOKENS + "/8", token=ALICE).status, 200)
        self.assert_message(self.get(TOKENS + "/1", token=ALICE), 401, "401 Unauthorized")
        self.assert_message(self.get(TOKENS + "/999", token=ALICE), 401, "401 Unauthorized")

    def test_an_id_that_is_no_number_is_refused(self):
        self.assert_message(self.get(TOKENS + "/x"), 404, "404 Not Found")
        self.reset(version="19.4")
        self.assert_error(self.get(TOKENS + "/x"), 400, {"error": "id is invalid"})

    def test_sudo_acts_for_another_user(self):
        self.assertEqual(self.list(sudo="alice"), [2, 3, 5, 6, 13])
        self.assertEqual(
            self.get(TOKENS, headers={"Sudo": "2"}).ids(), [2, 3, 5, 6, 13])
        self.assert_message(self.get(TOKENS, sudo="nobody"), 404,
                            "404 User with ID or username 'nobody' Not Found")
        self.assert_message(self.get(TOKENS, sudo="root", token=ALICE), 403,
                            "403 Forbidden - Must be admin to use sudo")
        self.assert_error(self.get(TOKENS, sudo="alice", token="glpat-sim-frank"), 403,
                          insufficient("sudo"))


class Limits(SimulatorTest):
    def test_requests_above_the_rate_limit_get_429(self):
        self.control("POST", "settings", {"rate_limit": {"limit": 2, "period": 30}})
        self.assertEqual(self.get(SELF).headers["RateLimit-Remaining"], "1")
        self.assertEqual(self.get(SELF).headers["RateLimit-Limit"], "4")
        answer = self.get(SELF)
        self.assertEqual((answer.status, answer.body), (429, b"Retry later\n"))
        self.assertEqual(answer.headers["Content-Type"], "text/plain")
        self.assertIn(int(answer.headers["Retry-After"]), range(25, 31))
        self.assertEqual(self.get(SELF, token=ALICE).status, 200)

    def test_user_lookups_have_a_limit_of_their_own(self):
        self.control("POST", "settings", {"user_lookup_limit": 1})
        self.assertEqual(self.get("/users/1", token=ALICE).status, 200)
        answer = self.get("/users/1", token=ALICE)
        self.assert_message(answer, 429, {
            "error": "This endpoint has been requested too many times. Try again later."})
        self.assertEqual([self.get("/users/1").status for _ in range(3)], [200] * 3)

    def test_a_read_only_instance_refuses_writes(self):
        self.control("POST", "settings", {"read_only": True})
        self.assertEqual(self.get(SELF).status, 200)
        self.assert_message(self.call("DELETE", TOKENS + "/2"), 403,
                            "You cannot perform write operations on a read-only instance")


class Usage(SimulatorTest):
    def test_last_used_at_is_not_tracked_by_default(self):
        self.get(SELF)
        self.assertIsNone(self.stored(1)["last_used_at"])

    def test_last_used_at_changes_every_ten_minutes(self):
        self.control("POST", "settings", {"track_usage": True})
        seen = []
        for now in ("2030-01-01T00:00:00Z", "2030-01-01T00:09:59Z", "2030-01-01T00:10:00Z"):
            self.control("POST", "clock", {"now": now})
            seen.append(self.get(SELF).json()["last_used_at"])
        self.assertEqual(seen, ["2030-01-01T00:00:00.000Z", "2030-01-01T00:00:00.000Z",
                                "2030-01-01T00:10:00.000Z"])
        self.assertEqual(self.get(SELF).json()["last_used_ips"], ["127.0.0.1"])
