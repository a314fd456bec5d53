"""The simulator answers as GitLab's own code did, but for what is left out on purpose."""

import os
import re
import unittest

from replay import Replay, recordings_in
from simulator import DIRECTORY, shared

_NO_TIE_BREAKER = ("Equal values come in any order where GitLab's query has no tie-breaker; the "
                   "simulator scrambles them.")

_USERS_ARE_THIN = "The recorder's users were thin models: most of their fields had no values."

# Recording -> what is left out of it: patterns of the case, of the request's method and path, and
# of the differences that are accepted, and why.
LEFT_OUT = {
    "personal_access_tokens": [
        ("list: sort", "sort=created_at_", "order of body", _NO_TIE_BREAKER),
        ("list: sort", "sort=updated_", "order of body", _NO_TIE_BREAKER),
        ("create for oneself", "POST /user/", "status 422 instead of 500",
         "The recording's 500 for a permission that does not exist is not GitLab's own."),
        ("create for oneself", "POST /user/", "body.message: \"Permissions",
         "The recording's 500 for a permission that does not exist is not GitLab's own."),
    ],
    "resource_access_tokens": [
        ("", "GET /users/",
         r"body\.(?!(?:id|username|name|state|locked|bot|email|external|is_admin):)",
         _USERS_ARE_THIN),
    ],
    "group_manage": [
        ("list", "sort=(created_date|updated_asc)", "order of body", _NO_TIE_BREAKER),
    ],
}


def left_out(recording, line, difference):
    """The reason, or None."""
    request = "%s %s" % (line["request"]["method"], line["request"]["path"])
    return next((reason for case, part, pattern, reason in LEFT_OUT.get(recording.name, ())
                 if re.search(case, line["case"]) and re.search(part, request)
                 and re.match(pattern, difference)),
                None)


class Recordings(unittest.TestCase):
    """One test for each file in recordings/ and in the directory GITLAB_RECORDINGS."""

    def replay(self, recording):
        replay = Replay(shared(), recording)
        self.addCleanup(replay.close)
        problems = []
        for number, line in enumerate(recording.lines, start=2):
            if "harness" in line:
                replay.harness(line)
                continue
            problems += ["%d %s: %s %s as %s: %s" % (
                number, line["case"], line["request"]["method"], line["request"]["path"][:120],
                line.get("as"), difference)
                for difference in replay.ask(line) if not left_out(recording, line, difference)]
        if problems:
            self.fail("%d differences\n%s" % (len(problems), "\n".join(problems)))


def _test_of(recording):
    return lambda self: self.replay(recording)


for _recording in recordings_in(DIRECTORY / "recordings",
                                *filter(None, [os.environ.get("GITLAB_RECORDINGS")])):
    setattr(Recordings, "test_" + _recording.name, _test_of(_recording))
