"""What a user finds who starts the simulator to try things."""

from datetime import datetime, timedelta, timezone

from simulator import SimulatorTest

TOKENS = "/personal_access_tokens"


class AroundToday(SimulatorTest):
    def setUp(self):
        super().setUp()
        self.reset(dates="today", tokens=100)
        self.today = datetime.now(timezone.utc).date()

    def day(self, days):
        return (self.today + timedelta(days)).isoformat()

    def test_some_tokens_expire_soon(self):
        soon = self.list(state="active", expires_before=self.day(30))
        self.assertLess({2, 3, 8, 9, 10}, set(soon))
        self.assertLess({2, 9}, set(self.list(state="active", expires_before=self.day(14))))

    def test_the_credentials_work_for_a_while(self):
        for token in (1, 4, 15):
            self.assertIn(token, self.list(expires_after=self.day(90)))

    def test_one_has_expired_and_some_never_do(self):
        self.assertEqual(self.get(TOKENS + "/5").json()["expires_at"], self.day(-40))
        self.assertIsNone(self.get(TOKENS + "/7").json()["expires_at"])

    def test_seeded_tokens_expire_within_a_year(self):
        later = self.list(expires_after=self.day(367))
        self.assertEqual(later, [])
        states = [row["state"] for row in self.control("GET", "tokens")[16:]]
        self.assertEqual([states.count(s) for s in ("active", "expired", "revoked")],
                         [70, 20, 10])

    def test_the_days_are_counted_from_the_reset(self):
        self.control("POST", "reset", {"dates": "fixed"})
        self.assertEqual(self.get(TOKENS + "/2").json()["expires_at"], "2099-12-31")
