"""GET /users, /users/:id and /user."""

from urllib.parse import parse_qs, urlsplit

from simulator import ALICE, SimulatorTest


class Users(SimulatorTest):
    def names(self, **query):
        answer = self.get("/users", **query)
        self.assertEqual(answer.status, 200, answer.body)
        return [row["username"] for row in answer.json()]

    def test_users_come_by_descending_id(self):
        self.assertEqual(self.get("/users").ids(), list(range(10, 0, -1)))
        self.assertEqual(self.get("/users", sort="asc").ids(), list(range(1, 11)))
        self.assertEqual(self.names(order_by="name", sort="asc")[:3], ["root", "alice", "bob"])

    def test_filters_select_users(self):
        bots = ["service_account_deploy", "group_2_bot_d4e5f6", "project_1_bot_a1b2c3"]
        for query, names in [
                ({"username": "ALICE"}, ["alice"]), ({"blocked": "true"}, ["bob"]),
                ({"external": "true"}, ["dave"]), ({"admins": "true"}, ["frank", "root"]),
                ({"exclude_humans": "true"}, bots), ({"search": "arch"}, ["alice"]),
                ({"search": "bob@example.com"}, ["bob"]), ({"search": "al"}, []),
                ({"created_before": "2024-01-02"}, ["alice", "root"]),
                ({"exclude_active": "true"}, ["carol", "bob"]),
        ]:
            self.assertEqual(self.names(**query), names, query)
        self.assertEqual(set(self.names()) - set(self.names(humans="true")), set(bots))
        self.assertEqual(len(self.names(without_project_bots="true")), 8)
        self.assertEqual(len(self.names(blocked="false")), 10)

    def test_others_see_fewer_fields_and_users(self):
        rows = self.get("/users", token=ALICE).json()
        self.assertNotIn("bob", [row["username"] for row in rows])
        self.assertEqual(set(rows[0]), {"id", "username", "public_email", "name", "state",
                                        "locked", "avatar_url", "web_url"})
        self.assertEqual(len(self.names(token=ALICE, admins="true")), 9)

    def test_a_single_user_is_found_by_id(self):
        user = self.get("/users/9").json()
        self.assertEqual((user["locked"], user["email"], user["bot"]),
                         (True, "erin@example.com", False))
        self.assertNotIn("email", self.get("/users/9", token=ALICE).json())
        self.assert_message(self.get("/users/999"), 404, "404 User Not Found")
        self.assertTrue(self.get("/user").json()["is_admin"])
        self.assertNotIn("is_admin", self.get("/user", token=ALICE).json())

    def test_users_need_a_credential(self):
        self.assert_message(self.get("/users", token=None), 403,
                            "403 Forbidden - Not authorized to access /api/v4/users")
        self.assert_message(self.get("/users/1", token=None), 403,
                            "403 Forbidden - Not authorized!")


class UserPages(SimulatorTest):
    USERS = 240

    def read_by_keyset(self, **query):
        ids, cursor = [], {}
        while True:
            answer = self.get("/users", pagination="keyset", per_page=100, **query, **cursor)
            self.assertNotIn("X-Total", answer.headers)
            ids += answer.ids()
            link = answer.headers["Link"]
            if not link:
                self.assertNotIn("X-NEXT-CURSOR", answer.headers)
                return ids
            url, _, relation = link.partition("; ")
            self.assertEqual(relation, 'rel="next"')
            (value,) = parse_qs(urlsplit(url[1:-1]).query)["cursor"]
            self.assertEqual(value, answer.headers["X-NEXT-CURSOR"])
            cursor = {"cursor": value}

    def test_keyset_pages_list_all_users(self):
        self.assertEqual(self.read_by_keyset(), list(range(250, 0, -1)))
        self.assertEqual(self.read_by_keyset(sort="asc"), list(range(1, 251)))
        for order_by in ("name", "username", "created_at"):
            ids = self.read_by_keyset(order_by=order_by)
            self.assertEqual(ids, self.read_by_keyset(order_by=order_by, sort="asc")[::-1])
            self.assertEqual(len(set(ids)), 250)

    def test_offset_pages_have_a_limit(self):
        self.assertEqual(self.get("/users", page=500, per_page=100).json(), [])
        self.assert_error(self.get("/users", page=501, per_page=100), 405, {"error": (
            "Offset pagination has a maximum allowed offset of 50000 for requests that return "
            "objects of type User. Remaining records can be retrieved using keyset "
            "pagination.")})
        self.assertEqual(self.get("/users", page=501, per_page=100, pagination="keyset").status,
                         200)
