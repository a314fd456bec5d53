"""Lists of tokens: what is in them, in which order, and how they are cut into pages."""

import gzip
import json
from datetime import date, timedelta
from urllib.parse import parse_qs, urlsplit

from simulator import ALICE, SimulatorTest

TOKENS = "/personal_access_tokens"


class Fields(SimulatorTest):
    def token(self, version):
        self.reset(version=version)
        (row,) = [r for r in self.get(TOKENS, per_page=100).json() if r["id"] == 12]
        return row

    def test_fields_as_of_18_11(self):
        self.assertEqual(list(self.token("18.11").items()), [
            ("id", 12), ("name", 'deploy   key "x"'), ("revoked", False),
            ("created_at", "2024-01-01T00:00:12.012Z"), ("description", "Ünïcödé ✓ <&>"),
            ("scopes", ["read_registry", "write_registry"]), ("user_id", 8),
            ("last_used_at", "2024-02-03T04:05:06.789Z"), ("active", True), ("granular", False),
            ("expires_at", "2099-12-31"), ("last_used_ips", ["192.0.2.7", "2001:db8::1"])])

    def test_fields_as_of_17_11_lack_granular_and_addresses(self):
        self.assertEqual(self.token("17.11").keys(), self.token("18.11").keys()
                         - {"granular", "last_used_ips"})
        self.reset(version="17.11")
        self.assertIn("last_used_ips", self.get(TOKENS + "/12").json())
        self.assertNotIn("last_used_ips", self.get(TOKENS + "/self").json())

    def test_fields_as_of_19_4_have_granular_scopes(self):
        self.reset(version="19.4")
        row = self.get(TOKENS + "/13").json()
        self.assertEqual((row["granular"], row["scopes"]), (True, ["granular"]))
        self.assertEqual(row["granular_scopes"][0]["access"], "user")
        self.assertNotIn("granular_scopes", self.get(TOKENS + "/12").json())

    def test_no_answer_has_a_secret(self):
        self.assertNotIn(b"glpat", self.get(TOKENS, per_page=100).body)
        self.assertNotIn(b"glpat", self.get(TOKENS + "/12").body)

    def test_html_characters_are_escaped(self):
        body = self.get(TOKENS + "/12").body
        self.assertIn(rb"\u003c\u0026\u003e", body)
        self.assertIn("Ünïcödé ✓".encode(), body)

    def test_active_follows_the_clock(self):
        self.assertTrue(self.get(TOKENS, per_page=1).json()[0]["active"])
        self.control("POST", "clock", {"now": "2099-12-30"})
        self.assertTrue(self.get(TOKENS, per_page=1).json()[0]["active"])
        self.control("POST", "clock", {"advance": 86399})
        self.assertTrue(self.get(TOKENS, per_page=1).json()[0]["active"])
        self.add_token(name="later", token="glpat-later", expires_at="2100-06-01")
        self.control("POST", "clock", {"advance": 1})
        self.assertFalse(self.get(TOKENS, token="glpat-later", per_page=1).json()[0]["active"])


class Filters(SimulatorTest):
    def test_revoked_filters(self):
        self.assertEqual(self.list(revoked="true"), [6])
        self.assertEqual(len(self.list(revoked="false")), 15)
        self.assertEqual(len(self.list(revoked="")), 15)
        self.assert_error(self.get(TOKENS, revoked="maybe"), 400, {"error": "revoked is invalid"})

    def test_times_are_inclusive_and_finer_than_printed(self):
        # Token 5 was created at 00:00:05.005505, which is printed as 00:00:05.005.
        printed = self.get(TOKENS + "/5").json()["created_at"]
        self.assertEqual(printed, "2024-01-01T00:00:05.005Z")
        self.assertEqual(self.list(created_before=printed), [1, 2, 3, 4])
        self.assertEqual(self.list(created_before="2024-01-01T00:00:05.005505Z"), [1, 2, 3, 4, 5])
        self.assertEqual(self.list(created_before="2024-01-01T00:00:05.006Z"), [1, 2, 3, 4, 5])
        self.assertEqual(self.list(created_after=printed)[0], 5)
        self.assertEqual(self.list(created_after="2024-01-01T00:00:05.005505Z")[0], 5)
        self.assertEqual(self.list(created_after="2024-01-01T00:00:05.005506Z")[0], 6)

    def test_never_used_tokens_fail_both_filters(self):
        self.assertEqual(self.list(last_used_before="2099-01-01"), [12])
        self.assertEqual(self.list(last_used_after="2000-01-01"), [12])
        self.assertEqual(self.list(last_used_before="2024-02-03T04:05:06.789Z"), [])
        self.assertEqual(self.list(last_used_after="2024-02-03T04:05:06.789Z"), [12])

    def test_expires_before_and_expires_after_filter(self):
        self.assertEqual(self.list(expires_before="2020-06-30"), [])
        self.assertEqual(self.list(expires_before="2020-07-01"), [5])
        self.assertEqual(len(self.list(expires_after="2099-12-31")), 13)
        self.assertEqual(self.list(expires_after="2100-01-01"), [])

    def test_expiry_and_sort_are_ignored_by_old_versions(self):
        self.reset(version="17.11")
        self.assertEqual(len(self.list(expires_before="2020-07-01", sort="id_desc")), 16)
        self.assertEqual(self.list(expires_before="rubbish", sort="id_desc")[0], 1)

    def test_dates_are_read_leniently(self):
        for text in ("2024-01-02", "2024-01-01T12:30:25", "2024-01-01T:12:30:26",
                     "2024-01-01T12:30:25+02:00", "2024-01-01 12:30",
                     "2024-01-01T12:30:25 02:00", "2024/01/02", "02.01.2024", "20240101T123025Z",
                     "20240101123025", "1/1/2024 12:30 CET", "Tue, 2 Jan 2024 12:30:25 GMT"):
            self.assertEqual(len(self.list(created_before=text)), 16, text)
        for text in ("rubbish", "2024-13-01", "2024-01-01T25:00:00"):
            self.assert_error(self.get(TOKENS, created_before=text), 400,
                              {"error": "created_before is invalid"})

    def test_state_follows_the_day(self):
        today = date.today()
        self.control("POST", "clock", {"now": today.isoformat() + "T12:00:00Z"})
        dates = {n: self.add_token(expires_at=(today + timedelta(n)).isoformat())
                 for n in (-1, 0, 1)}
        self.assertIn(dates[1], self.list(state="active"))
        self.assertEqual(self.list(state="inactive"), [5, 6, dates[-1]])
        self.assertFalse(self.get("%s/%d" % (TOKENS, dates[0])).json()["active"])
        self.assertNotIn(dates[0], self.list(state="active"))
        self.assert_error(self.get(TOKENS, state="dead"), 400,
                          {"error": "state does not have a valid value"})

    def test_inactive_is_the_complement_in_new_versions(self):
        self.reset(version="19.4")
        self.control("POST", "clock", {"now": "2030-05-05T12:00:00Z"})
        token = self.add_token(expires_at="2030-05-05")
        self.assertEqual(self.list(state="inactive"), [5, 6, token])

    def test_search_matches_words_without_case(self):
        for text, ids in {
                "": list(range(1, 17)), "ALICE": [2, 3], "read alice": [3], "bot": [9, 10],
                "deploy key": [12], "deploy   key": [12], '"deploy key"': [],
                'key "x"': [12], "ey": [], "xy alice": [2, 3], "%": [], "a_i": [],
        }.items():
            self.assertEqual(self.list(search=text), ids, text)
        istanbul = self.add_token(name="\u0130stanbul")
        self.assertEqual(self.list(search="ISTANBUL"), [istanbul])
        short = self.add_token(name="xy")
        self.assertEqual(self.list(search=" XY "), [short])

    def test_errors_are_collected(self):
        self.assert_error(self.get(TOKENS, state="x", revoked="perhaps"), 400,
                          {"error": "revoked is invalid, state does not have a valid value"})

    def test_what_does_not_reach_the_api_is_plain_text(self):
        for query in ("search=%FF", "search=%00", "search=%zz", "user_id=a%2F..%2Fb",
                      "search=" + "x" * 10_300):
            answer = self.get(TOKENS + "?" + query)
            self.assertEqual((answer.status, answer.headers["Content-Type"], answer.body),
                             (400, "text/plain", b"Bad Request"), query[:20])
        self.assertEqual(self.list(search="a/../b"), [])

    def test_unknown_parameters_are_ignored(self):
        self.assertEqual(len(self.list(id=3, impersonation="true")), 16)


class Sort(SimulatorTest):
    def test_lists_sort_by_id(self):
        self.assertEqual(self.list(sort="id_desc"), list(range(16, 0, -1)))
        self.assertEqual(self.list(sort="rubbish"), list(range(1, 17)))

    def test_nulls_and_ties_follow_the_version(self):
        others = [i for i in range(1, 17) if i not in (5, 7, 11)]
        self.assertEqual(self.list(sort="expires_asc"), [5, *reversed(others), 11, 7])
        self.assertEqual(self.list(sort="expires_desc"), [11, 7, *reversed(others), 5])
        self.reset(version="19.4")
        self.assertEqual(self.list(sort="expires_asc"), [5, *others, 7, 11])
        self.assertEqual(self.list(sort="expires_desc"), [11, 7, *reversed(others), 5])

    def test_lists_sort_by_last_use(self):
        self.assertEqual(self.list(sort="last_used_asc")[0], 12)
        self.assertEqual(self.list(sort="last_used_desc")[-1], 12)

    def test_lists_sort_by_creation_and_name(self):
        self.assertEqual(self.list(sort="created_desc"), list(range(16, 0, -1)))
        names = [r["name"] for r in self.get(TOKENS, sort="name_desc", per_page=100).json()]
        self.assertEqual(names, sorted(names, reverse=True))


class Pages(SimulatorTest):
    TOKENS = 84

    def test_headers_name_page_and_totals(self):
        expected = {1: ("2", ""), 3: ("4", "2"), 5: ("", "4"), 9: ("", "")}
        for page, (following, preceding) in expected.items():
            headers = self.get(TOKENS, page=page).headers
            self.assertEqual(headers["X-Next-Page"], following)
            self.assertEqual(headers["X-Prev-Page"], preceding)
            self.assertEqual(headers["X-Page"], str(page))
            self.assertEqual((headers["X-Per-Page"], headers["X-Total"],
                              headers["X-Total-Pages"]), ("20", "100", "5"))

    def test_pages_have_all_rows_once(self):
        ids = [i for page in range(1, 6) for i in self.get(TOKENS, page=page).ids()]
        self.assertEqual(ids, list(range(1, 101)))
        answer = self.get(TOKENS, page=6)
        self.assertEqual((answer.status, answer.json()), (200, []))

    def test_per_page_is_capped(self):
        answer = self.get(TOKENS, per_page=1000)
        self.assertEqual((len(answer.json()), answer.headers["X-Per-Page"]), (100, "100"))
        self.assert_error(self.get(TOKENS, page="x"), 400, {"error": "page is invalid"})

    def test_an_empty_list_has_one_page(self):
        answer = self.get(TOKENS, search="nothing like it")
        self.assertEqual((answer.headers["X-Total"], answer.headers["X-Total-Pages"],
                          answer.headers["X-Next-Page"]), ("0", "1", ""))

    def test_link_has_a_foreign_host_and_all_parameters(self):
        link = self.get(TOKENS, page=2, per_page=10, revoked="false").headers["Link"]
        relations = [part.partition("; ")[2] for part in link.split(", ")]
        self.assertEqual(relations, ['rel="prev"', 'rel="next"', 'rel="first"', 'rel="last"'])
        url = urlsplit(link.split(", ")[1].partition(">")[0][1:])
        self.assertEqual((url.scheme, url.netloc, url.path),
                         ("http", "gitlab.internal.invalid", "/api/v4/personal_access_tokens"))
        self.assertEqual(parse_qs(url.query), {"page": ["3"], "per_page": ["10"],
                                               "revoked": ["false"]})

    def test_no_totals_above_ten_thousand(self):
        self.reset(tokens=9985)
        answer = self.get(TOKENS, page=100, per_page=100)
        self.assertNotIn("X-Total", answer.headers)
        self.assertNotIn("X-Total-Pages", answer.headers)
        self.assertNotIn('rel="last"', answer.headers["Link"])
        self.assertEqual(answer.headers["X-Next-Page"], "101")
        answer = self.get(TOKENS, page=101, per_page=100)
        self.assertEqual((len(answer.json()), answer.headers["X-Next-Page"]), (1, ""))
        self.call("DELETE", TOKENS + "/20")
        self.assertEqual(self.get(TOKENS, revoked="false").headers["X-Total"], str(
            sum(not t["revoked"] for t in self.control("GET", "tokens"))))

    def test_answers_have_gzip_etag_and_date(self):
        self.control("POST", "clock", {"now": "2030-01-02T03:04:05.6Z"})
        headers = {"Accept-Encoding": "gzip"}
        answer = self.get(TOKENS, headers=headers)
        self.assertEqual(answer.headers["Content-Encoding"], "gzip")
        self.assertEqual(len(json.loads(gzip.decompress(answer.body))), 20)
        self.assertEqual(answer.headers["Date"], "Wed, 02 Jan 2030 03:04:05 GMT")
        headers["If-None-Match"] = answer.headers["ETag"]
        self.assertEqual(self.get(TOKENS, headers=headers).status, 304)
        self.assertNotEqual(answer.headers["X-Request-Id"],
                            self.get(TOKENS).headers["X-Request-Id"])

    def test_rows_slide_when_a_row_leaves(self):
        self.assertEqual(self.get(TOKENS, revoked="false", page=2).ids()[0], 23)
        self.call("DELETE", TOKENS + "/1", token="glpat-sim-frank")
        token = {"token": "glpat-sim-frank"}
        self.assertEqual(self.get(TOKENS, revoked="false", page=2, **token).ids()[0], 24)


class Associations(SimulatorTest):
    def test_associations_depend_on_the_role(self):
        answer = self.get(TOKENS + "/self/associations", token=ALICE)
        self.assertEqual([g["id"] for g in answer.json()["groups"]], [1, 2])
        self.assertEqual([p["id"] for p in answer.json()["projects"]], [1, 2])
        answer = self.get(TOKENS + "/self/associations", token=ALICE, min_access_level=50)
        self.assertEqual(answer.json()["projects"], [])
