"""Tokens of projects, groups and service accounts, in the fixture; recordings tell the rest."""

from simulator import ADMIN, ALICE, SimulatorTest

APP = "/projects/acme%2Fapp/access_tokens"
INFRA = "/groups/2/access_tokens"
ACCOUNTS = "/groups/acme/service_accounts"
DEPLOYS = ACCOUNTS + "/7/personal_access_tokens"
DAVE = "glpat-dave"  # Developer of acme/app


class ContainerTest(SimulatorTest):
    VERSION = "19.4"

    def setUp(self):
        super().setUp()
        self.control("POST", "clock", {"now": "2026-06-24T12:00:00Z"})
        self.add_token(token=DAVE, user_id=8, expires_at="2099-12-31")

    def create(self, path=APP, token=ALICE, **fields):
        body = {"name": "new", "scopes": ["read_api"], "expires_at": "2026-07-01"} | fields
        return self.call("POST", path, body, token=token)

    def created(self, path=APP, token=ALICE, **fields):
        answer = self.create(path, token, **fields)
        self.assertEqual(answer.status, 201, answer.body)
        return answer.json()

    def user(self, user_id):
        (row,) = [u for u in self.control("GET", "users") if u["id"] == user_id]
        return row


class ResourceTokens(ContainerTest):
    def test_lists_take_a_path_or_a_number(self):
        for path in (APP, "/projects/1/access_tokens"):
            (row,) = self.get(path, token=ALICE).json()
            self.assertEqual((row["id"], row["user_id"], row["access_level"],
                              row["resource_type"], row["resource_id"]), (9, 5, 30, "project", 1))
        (row,) = self.get(INFRA, token=ALICE).json()
        self.assertEqual((row["id"], row["access_level"], row["resource_type"],
                          row["resource_id"]), (10, 40, "group", 2))
        self.assertEqual(self.get("/groups/acme/access_tokens", token=ALICE).json(), [])

    def test_a_new_token_has_a_bot_of_its_own(self):
        row = self.created(access_level=20)
        bot = self.user(row["user_id"])
        self.assertRegex(bot["username"], r"\Aproject_1_bot_[0-9a-f]{32}\Z")
        self.assertEqual((bot["name"], bot["bot"], row["access_level"]), ("new", True, 20))
        secret = row["token"]
        self.assertEqual(self.get("/personal_access_tokens/self", token=secret).json()["id"],
                         row["id"])
        self.assertEqual(self.get("/projects/1/variables", token=secret).status, 403)

    def test_rotation_keeps_the_bot(self):
        row = self.created(access_level=40)
        new = self.call("POST", "%s/%d/rotate" % (APP, row["id"]), {}, token=ALICE).json()
        self.assertEqual((new["user_id"], new["access_level"], new["expires_at"]),
                         (row["user_id"], 40, "2026-07-01"))
        self.assertTrue(self.stored(row["id"])["revoked"])

    def test_a_token_rotates_itself(self):
        row = self.created(scopes=["self_rotate"])
        path = APP + "/self/rotate"
        new = self.call("POST", path, {"expires_at": "2026-08-01"}, token=row["token"]).json()
        self.assertEqual((new["user_id"], new["expires_at"]), (row["user_id"], "2026-08-01"))
        self.assertEqual(self.call("POST", path, token=ALICE).status, 405)
        self.assertEqual(self.call("POST", path, token=row["token"]).status, 401)
        self.assertTrue(self.stored(new["id"])["revoked"])  # as somebody used the old one

    def test_a_developer_may_neither_list_nor_change_tokens(self):
        self.assert_message(self.get(APP, token=DAVE), 401, "401 Unauthorized")
        self.assert_message(self.call("POST", APP + "/9/rotate", token=DAVE), 401,
                            "401 Unauthorized")
        self.assert_message(self.create(token=DAVE), 400, "400 Bad request - User does not have "
                            "permission to create project access token")
        self.assert_message(self.call("DELETE", APP + "/9", token=DAVE), 400,
                            "400 Bad request - Dave Dunn cannot delete project bot")
        self.assert_message(self.get("/projects/2/access_tokens", token=DAVE), 404,
                            "404 Project Not Found")
        self.assert_message(self.call("DELETE", APP + "/99", token=DAVE), 404,
                            "404 project Access Token Not Found")

    def test_levels_that_the_creator_does_not_hold_are_refused(self):
        self.sim.simctl("project", "set", "acme/app", "members.dave=40")
        for level in (15, 25, 50):
            self.assert_message(self.create(token=DAVE, access_level=level), 400,
                                "400 Bad request - Access level of the token contains "
                                "permissions not held by the creating user")
        row = self.created(token=ADMIN, access_level=50)
        self.assert_message(self.call("POST", "%s/%d/rotate" % (APP, row["id"]), token=DAVE), 400,
                            "400 Bad request - Not eligible to rotate tokens with permissions "
                            "not held by the user")
        self.assertEqual(self.call("DELETE", "%s/%d" % (APP, row["id"]), token=DAVE).status, 204)

    def test_expiry_has_to_be_sent(self):
        body = {"name": "n", "scopes": ["api"]}
        self.assert_message(self.call("POST", APP, body, token=ALICE), 400,
                            "400 Bad request - expires_at is missing")
        self.assertEqual(self.created(expires_at=None)["expires_at"], "2027-06-24")
        self.control("POST", "settings", {"require_expiry": False})
        self.assertIsNone(self.created(expires_at=None)["expires_at"])
        self.reset(version="18.11")
        self.control("POST", "settings", {"require_expiry": False})
        answer = self.call("POST", APP, body, token=ALICE)
        self.assertIsNotNone(answer.json()["expires_at"])

    def test_creation_can_be_switched_off(self):
        self.sim.simctl("group", "set", "acme", "token_creation_allowed=false")
        self.assertEqual(self.create().status, 400)
        self.assertEqual(self.call("POST", APP + "/9/rotate", token=ALICE).status, 401)
        self.assertEqual(self.call("POST", APP + "/9/rotate").status, 404)
        self.assertEqual(self.get(APP, token=ALICE).ids(), [9])
        self.assertEqual(self.call("DELETE", APP + "/9", token=ALICE).status, 204)

    def test_a_second_token_for_the_bot_outlives_the_first(self):
        row = self.created("/users/5/personal_access_tokens", ADMIN)
        self.assertEqual(self.get(APP, token=ALICE).ids(), [9, row["id"]])
        self.call("DELETE", "/personal_access_tokens/9")
        self.assertEqual(self.get("/personal_access_tokens/self", token=row["token"]).status, 200)

    def test_bots_are_cleaned_up(self):
        row = self.created()
        path = "%s/%d" % (APP, row["id"])
        self.assertEqual([self.call("DELETE", path, token=ALICE).status for _ in range(2)],
                         [204, 204])
        self.control("POST", "clock", {"now": "2026-07-24T11:00:00Z"})
        self.assertTrue(self.get(path, token=ALICE).json()["revoked"])
        self.control("POST", "clock", {"now": "2026-07-25T11:00:00Z"})
        self.assert_message(self.get(path, token=ALICE), 404,
                            "404 project Access Token Not Found")
        self.assertEqual(self.get("/users/%d" % row["user_id"]).status, 404)
        self.assertEqual(self.get(APP, token=ALICE).ids(), [9])  # that one lives

    def test_bots_of_expired_tokens_are_cleaned_up_unless_switched_off(self):
        row = self.created(expires_at="2026-06-30")
        self.control("POST", "settings", {"keep_inactive_bots_days": None})
        self.control("POST", "clock", {"now": "2026-09-01T00:00:00Z"})
        self.assertEqual(self.get(APP, token=ALICE).ids(), [9, row["id"]])
        self.control("POST", "settings", {"keep_inactive_bots_days": 30})
        self.control("POST", "clock", {"now": "2026-09-02T00:00:00Z"})
        self.assertEqual(self.get(APP, token=ALICE).ids(), [9])

    def test_before_17_9_revoking_deletes_the_bot(self):
        self.reset(version="17.8")
        self.created("/users/5/personal_access_tokens", ADMIN, expires_at=None)
        self.assertEqual(self.call("DELETE", APP + "/9", token=ALICE).status, 204)
        self.assertEqual(self.get(APP, token=ALICE).json(), [])
        self.assertEqual(self.get("/users/5").status, 404)

    def test_older_versions_lack_fields_and_ignore_filters(self):
        self.reset(version="17.11")
        (row,) = self.get(APP, token=ALICE, search="nothing", sort="id_desc").json()
        self.assertEqual(row.keys() & {"granular", "last_used_ips", "access_level",
                                       "resource_type", "resource_id"},
                         {"access_level", "resource_type", "resource_id"})
        self.assertEqual(self.get(APP, token=ALICE, state="inactive").json(), [])
        self.reset(version="18.11")
        self.assertEqual(self.get(APP, token=ALICE, search="nothing").json(), [])

    def test_gitlab_com_refuses_creation_on_the_free_plan(self):
        self.control("POST", "settings", {"tier": "free"})
        self.created()
        self.control("POST", "settings", {"saas": True})
        self.assertEqual(self.create().status, 400)

    def test_fine_grained_tokens_need_the_permission(self):
        for scope, status in [
                ({"access": "all_memberships"}, 200),
                ({"access": "selected_memberships", "project_id": 1}, 200),
                ({"access": "selected_memberships", "group_id": 1}, 200),
                ({"access": "selected_memberships", "project_id": 2}, 403),
                ({"access": "user"}, 403)]:
            scope["permissions"] = ["read_resource_access_token"]
            token = self.add_token(user_id=2, scopes="granular", granular=True,
                                   granular_scopes=[scope], token="glpat-fine")
            answer = self.get(APP, token="glpat-fine")
            self.assertEqual(answer.status, status, scope)
            self.assertEqual(self.create(token="glpat-fine").json()["error"],
                             "insufficient_granular_scope")
            self.control("DELETE", "tokens/%d" % token)


class ServiceAccounts(ContainerTest):
    def test_owners_and_administrators_list_accounts(self):
        (row,) = self.get(ACCOUNTS, token=ALICE).json()
        self.assertEqual(row, {
            "id": 7, "username": "service_account_deploy", "public_email": None,
            "name": "Deploy", "email": "service_account_deploy@example.com"})
        self.assertEqual(self.get("/service_accounts").ids(), [7])
        self.assert_message(self.get("/service_accounts", token=ALICE), 403, "403 Forbidden")

    def test_an_account_has_any_number_of_tokens(self):
        first, second = self.created(DEPLOYS), self.created(DEPLOYS)
        self.assertEqual(self.get(DEPLOYS, token=ALICE).ids(), [11, first["id"], second["id"]])
        for row in (first, second):
            self.assertEqual(self.get("/personal_access_tokens/self", token=row["token"])
                             .json()["user_id"], 7)
        self.assertEqual(self.get("%s/%d" % (DEPLOYS, first["id"]), token=ALICE).status, 404)
        new = self.call("POST", "%s/%d/rotate" % (DEPLOYS, first["id"]), token=ALICE).json()
        self.assertEqual((new["user_id"], new["expires_at"]), (7, "2026-07-01"))
        self.assertEqual(self.call("DELETE", "%s/%d" % (DEPLOYS, second["id"]),
                                   token=ALICE).status, 204)

    def test_accounts_come_and_go(self):
        for path, prefix in ((ACCOUNTS, "service_account_group_1_"),
                             ("/groups/2/service_accounts", "service_account_group_2_"),
                             ("/projects/1/service_accounts", "service_account_project_1_")):
            row = self.call("POST", path, {"name": "New"}, token=ALICE).json()
            self.assertRegex(row["username"], r"\A%s[0-9a-f]{32}\Z" % prefix)
            one = "%s/%d" % (path, row["id"])
            self.assertEqual(self.call("PATCH", one, {"name": "Newer"}, token=ALICE)
                             .json()["name"], "Newer")
            secret = self.created(one + "/personal_access_tokens")["token"]
            self.assertEqual(self.call("DELETE", one, token=ALICE).status, 204)
            self.assertEqual(self.get("/personal_access_tokens/self", token=secret).status, 401)

    def test_a_developer_may_not_use_accounts(self):
        self.assert_message(self.get(ACCOUNTS, token=DAVE), 403, "403 Forbidden")
        self.assert_message(self.create(DEPLOYS, token=DAVE), 403, "403 Forbidden")
        self.assert_message(self.get("/groups/2/service_accounts", token=DAVE), 404,
                            "404 Group Not Found")
        self.control("POST", "settings", {"group_owners_manage_accounts": False})
        self.assert_message(self.get(ACCOUNTS, token=ALICE), 403, "403 Forbidden")
        self.assertEqual(self.get(ACCOUNTS).ids(), [7])

    def test_an_account_of_another_container_is_404(self):
        for path in (ACCOUNTS + "/2", "/groups/2/service_accounts/7",
                     "/projects/1/service_accounts/7", ACCOUNTS + "/x"):
            self.assert_message(self.get(path + "/personal_access_tokens", token=ALICE), 404,
                                "404 User Not Found")

    def test_enforced_expiry_sets_a_default_date(self):
        self.assertEqual(self.created(DEPLOYS, expires_at=None)["expires_at"], "2027-06-24")
        self.control("POST", "settings", {"service_account_expiry_enforced": False})
        self.assertIsNone(self.created(DEPLOYS, expires_at=None)["expires_at"])
        self.control("POST", "settings", {"tier": "free"})
        self.assertEqual(self.created(DEPLOYS, expires_at=None)["expires_at"], "2027-06-24")

    def test_before_18_11_only_top_level_groups_have_accounts(self):
        self.reset(version="18.10")
        self.assertEqual(self.get(ACCOUNTS, token=ALICE).ids(), [7])
        for path in ("/groups/2/service_accounts", "/projects/1/service_accounts"):
            self.assert_message(self.get(path, token=ALICE), 404, "404 Not Found")
        self.control("POST", "settings", {"tier": "free"})
        self.assert_message(self.get(ACCOUNTS, token=ALICE), 404, "404 Not Found")

    def test_the_free_plan_has_a_hundred_accounts(self):
        self.reset(accounts=99)
        self.control("POST", "settings", {"tier": "free"})
        self.assertEqual(self.call("POST", ACCOUNTS, {}, token=ALICE).status, 400)

    def test_reset_creates_accounts_and_groups(self):
        self.reset(accounts=30, groups=3)
        self.assertEqual(len(self.get(ACCOUNTS, token=ALICE, per_page=100).json()), 31)
        self.assertEqual(len(self.sim.simctl("groups").splitlines()), 5)
        (row,) = self.get(ACCOUNTS + "/40/personal_access_tokens", token=ALICE).json()
        self.assertEqual(row["name"], "account token 00030")

    def test_keyset_pages_list_all_accounts(self):
        self.reset(accounts=5)
        seen, cursor = [], {}
        while True:
            answer = self.get(ACCOUNTS, token=ALICE, pagination="keyset", per_page=2, **cursor)
            seen += answer.ids()
            if "X-NEXT-CURSOR" not in answer.headers:
                break
            cursor = {"cursor": answer.headers["X-NEXT-CURSOR"]}
        self.assertEqual(seen, [15, 14, 13, 12, 11, 7])
        self.assertEqual(self.get(DEPLOYS, token=ALICE, pagination="keyset").status, 405)


class Inventory(ContainerTest):
    PERSONAL = "/groups/acme/manage/personal_access_tokens"
    RESOURCE = "/groups/acme/manage/resource_access_tokens"

    def test_credentials_are_listed_only_on_paid_gitlab_com(self):
        for settings, status in (({}, 404), ({"saas": True}, 200), ({"tier": "free"}, 404)):
            self.control("POST", "settings", settings)
            self.assertEqual(self.get(self.PERSONAL, token=ALICE).status, status)

    def test_credentials_are_those_of_the_group_and_its_enterprise_users(self):
        self.control("POST", "settings", {"saas": True})
        self.sim.simctl("user", "set", 8, "enterprise_group_id=1")
        self.assertEqual(self.get(self.PERSONAL, token=ALICE).ids(), [7, 11, 12, 17])
        rows = self.get(self.RESOURCE, token=ALICE).json()
        self.assertEqual([(r["id"], r["resource_type"], r["resource_id"]) for r in rows],
                         [(9, "project", 1), (10, "group", 2)])
        self.assertEqual(self.get(self.PERSONAL, token=ALICE, sort="id_asc").status, 500)
        self.assert_message(self.get(self.PERSONAL, token=DAVE), 403, "403 Forbidden")

    def test_credentials_are_rotated_and_revoked(self):
        self.control("POST", "settings", {"saas": True})
        self.sim.simctl("user", "set", 8, "enterprise_group_id=1")
        for path, owner in ((self.PERSONAL + "/12", 8), (self.RESOURCE + "/9", 5)):
            new = self.call("POST", path + "/rotate", token=ALICE).json()
            self.assertEqual(new["user_id"], owner)
            self.assertEqual(self.call("DELETE", path, token=ALICE).status, 204)
        self.assertEqual(self.call("POST", self.PERSONAL + "/11/rotate", token=ALICE).status, 403)
        self.assertEqual(self.call("DELETE", self.PERSONAL + "/11", token=ALICE).status, 204)
        self.assertEqual(self.call("DELETE", self.PERSONAL + "/4", token=ALICE).status, 403)


class Lists(ContainerTest):
    def test_groups_are_listed_by_membership(self):
        rows = self.get("/groups", token=ALICE).json()
        self.assertEqual([(r["id"], r["full_path"], r["parent_id"]) for r in rows],
                         [(1, "acme", None), (2, "acme/infra", 1)])
        self.assertEqual(self.get("/groups", token=ALICE, top_level_only="true").ids(), [1])
        self.assertEqual(self.get("/groups", token=DAVE).ids(), [1])
        self.assertEqual(self.get("/groups", token=DAVE, min_access_level=30).ids(), [])
        self.assertEqual(self.get("/groups/acme/descendant_groups", token=ALICE).ids(), [2])
        self.assertEqual(self.get("/groups", token=None).json(), [])
        self.sim.simctl("group", "set", "acme", "visibility=public")
        self.assertEqual(self.get("/groups", token=None).ids(), [1])

    def test_projects_are_listed_by_membership(self):
        self.assertEqual(self.get("/projects", token=ALICE, order_by="id").ids(), [2, 1])
        self.assertEqual(self.get("/projects", token=DAVE, membership="true").ids(), [1])
        self.assertEqual(self.get("/projects", token=DAVE, min_access_level=40).ids(), [])
        self.assertEqual(self.get("/projects").headers["X-Total"], "2")
        self.assertEqual(self.get("/projects", membership="true").ids(), [])
        self.sim.simctl("project", "set", "acme/web", "archived=true")
        self.assertEqual(self.get("/projects", token=ALICE, archived="false").ids(), [1])
        self.assertTrue(self.get("/projects/acme%2Fweb", token=ALICE).json()["archived"])
        self.assertEqual(self.get("/groups/acme/projects", token=ALICE).headers["X-Total"], "2")

    def test_keyset_pages_list_all_projects(self):
        self.reset(projects=5)
        seen, bound = [], {}
        while True:
            answer = self.get("/projects", token=ALICE, pagination="keyset", order_by="id",
                              sort="asc", per_page=3, **bound)
            seen += answer.ids()
            if "Link" not in answer.headers:
                break
            bound = {"id_after": seen[-1]}
            self.assertIn("id_after=%d" % seen[-1], answer.headers["Link"])
        self.assertEqual(seen, list(range(1, 8)))
        self.assertEqual(self.get("/projects", pagination="keyset").status, 405)

    def test_a_single_group_or_project_is_found_by_path_or_number(self):
        self.assertEqual(self.get("/groups/acme%2Finfra", token=ALICE).json()["id"], 2)
        self.assertEqual(self.get("/groups/2", token=DAVE).status, 404)
        self.sim.simctl("project", "set", "acme/app", "path=acme/main")
        answer = self.get("/projects/acme%2Fapp", token=ALICE)
        self.assertEqual(answer.status, 301)
        self.assertTrue(answer.headers["Location"].endswith("/api/v4/projects/1"))
