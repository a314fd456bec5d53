"""Instances whose time zone is not UTC print and compare in it, and yet go by UTC at times."""

from simulator import ADMIN, ALICE, SimulatorTest

TOKENS = "/personal_access_tokens"


class TimeZones(SimulatorTest):
    VERSION = "19.4"

    def zone(self, name, now):
        self.control("POST", "settings", {"time_zone": name})
        self.control("POST", "clock", {"now": now})

    def created_at(self, token_id):
        return self.get("%s/%d" % (TOKENS, token_id)).json()["created_at"]

    def test_only_utc_is_printed_as_z(self):
        winter = self.add_token(created_at="2026-01-15T12:00:00.999999Z")
        summer = self.add_token(created_at="2026-07-15T23:30:00Z")
        for zone, in_winter, in_summer in [
                ("UTC", "2026-01-15T12:00:00.999Z", "2026-07-15T23:30:00.000Z"),
                ("Europe/London", "2026-01-15T12:00:00.999+00:00",
                 "2026-07-16T00:30:00.000+01:00"),
                ("Asia/Kathmandu", "2026-01-15T17:45:00.999+05:45",
                 "2026-07-16T05:15:00.000+05:45"),
                ("America/New_York", "2026-01-15T07:00:00.999-05:00",
                 "2026-07-15T19:30:00.000-04:00")]:
            self.zone(zone, "2026-01-01T00:00:00Z")
            self.assertEqual(self.created_at(winter), in_winter)
            self.assertEqual(self.created_at(summer), in_summer)
            (row,) = [r for r in self.get(TOKENS, per_page=100).json() if r["id"] == winter]
            self.assertEqual(row["created_at"], in_winter)

    def test_east_of_utc_the_state_ends_before_the_token(self):
        token = self.add_token(token="glpat-east", user_id=2, expires_at="2026-06-02")
        self.zone("Asia/Tokyo", "2026-06-01T14:59:59Z")
        self.assertIn(token, self.list(state="active"))
        self.zone("Asia/Tokyo", "2026-06-01T15:00:00Z")  # midnight there
        self.assertNotIn(token, self.list(state="active"))
        self.assertIn(token, self.list(state="inactive"))
        answer = self.get(TOKENS + "/self", token="glpat-east")
        self.assertEqual((answer.status, answer.json()["active"]), (200, True))
        self.zone("Asia/Tokyo", "2026-06-02T00:00:00Z")
        self.assertEqual(self.get(TOKENS + "/self", token="glpat-east").status, 401)
        self.assertFalse(self.get("%s/%d" % (TOKENS, token)).json()["active"])

    def test_west_of_utc_the_token_ends_before_the_state(self):
        token = self.add_token(token="glpat-west", user_id=2, expires_at="2026-06-02")
        self.zone("America/Los_Angeles", "2026-06-02T00:00:00Z")
        self.assertIn(token, self.list(state="active"))
        self.assertFalse(self.get("%s/%d" % (TOKENS, token)).json()["active"])
        self.assertEqual(self.get(TOKENS + "/self", token="glpat-west").status, 401)

    def test_bounds_of_expiry_go_by_the_local_date(self):
        self.zone("Pacific/Auckland", "2026-06-01T12:00:00Z")  # midnight there
        row = self.call("POST", TOKENS + "/2/rotate", {}, token=ADMIN).json()
        self.assertEqual(row["expires_at"], "2026-06-09")
        answer = self.call("POST", "/users/2/personal_access_tokens",
                           {"name": "n", "scopes": ["api"], "expires_at": "2027-06-03"})
        self.assert_message(answer, 422, "Expiration date must be before 2027-06-02")

    def test_times_without_a_zone_are_utc(self):
        self.zone("Asia/Tokyo", "2026-06-01T00:00:00Z")
        self.assertEqual(self.list(created_before="2024-01-01T00:00:02", token=ALICE), [])
        self.assertEqual(self.list(created_before="2024-01-01T00:00:03", token=ALICE), [2])

    def test_an_unknown_zone_is_refused(self):
        answer = self.sim.request("POST", "/-/sim/settings", {"time_zone": "Mars/Phobos"})
        self.assertEqual((answer.status, answer.json()["error"]),
                         (400, "there is no time zone Mars/Phobos"))


class Dates(SimulatorTest):
    VERSION = "19.4"

    def test_all_dates_that_postgresql_holds_are_stored(self):
        self.control("POST", "settings", {"require_expiry": False})
        for sent, shown, active in [
                ("0000-06-01", "0000-06-01", False), ("-0001-01-01", "-0001-01-01", False),
                ("-4713-11-24", "-4713-11-24", False), ("10000-01-01", "10000-01-01", True),
                ("5874897-12-31", "5874897-12-31", True)]:
            row = self.call("POST", "/users/2/personal_access_tokens",
                            {"name": "n", "scopes": ["api"], "expires_at": sent}).json()
            self.assertEqual((row["expires_at"], row["active"]), (shown, active))
        dates = [r["expires_at"] for r in self.get(
            TOKENS, user_id=2, sort="expires_asc", created_after="2025-01-01").json()]
        self.assertEqual(dates, ["-4713-11-24", "-0001-01-01", "0000-06-01", "10000-01-01",
                                 "5874897-12-31"])
        for date in ("5874898-01-01", "-4713-11-23"):
            answer = self.call("POST", TOKENS + "/3/rotate", {"expires_at": date})
            self.assert_message(answer, 500, "500 Internal Server Error")
            self.assertEqual(self.get(TOKENS, expires_after=date).status, 500)

    def test_control_reads_what_postgresql_writes(self):
        token = self.add_token(expires_at="0044-03-15 BC", created_at="10000-01-01T00:00:00Z")
        row = self.get("%s/%d" % (TOKENS, token)).json()
        self.assertEqual((row["expires_at"], row["created_at"]),
                         ("-0043-03-15", "10000-01-01T00:00:00.000Z"))
