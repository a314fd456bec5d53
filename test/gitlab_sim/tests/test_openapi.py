"""Answers have the shape that GitLab's OpenAPI document promises; schemas.json says which."""

import json
from datetime import date
from pathlib import Path

from jsonschema import Draft202012Validator

from simulator import ALICE, SimulatorTest

SCHEMAS = json.loads((Path(__file__).parent / "schemas.json").read_text())

NEW = {"name": "n", "scopes": ["api"]}
VERSIONS = ("17.11", "18.11", "19.4")

# (schema, status, method, path, body, credential)
ANSWERS = [
    ("tokens", 200, "GET", "/personal_access_tokens?per_page=100", None, None),
    ("tokens", 200, "GET", "/personal_access_tokens", None, ALICE),
    ("token", 200, "GET", "/personal_access_tokens/12", None, None),
    ("token", 200, "GET", "/personal_access_tokens/13", None, None),
    ("token", 200, "GET", "/personal_access_tokens/self", None, ALICE),
    ("associations", 200, "GET", "/personal_access_tokens/self/associations", None, ALICE),
    ("token_with_secret", 201, "POST", "/users/2/personal_access_tokens", NEW, None),
    ("token_with_secret", 201, "POST", "/user/personal_access_tokens",
     {"name": "n", "scopes": ["k8s_proxy"]}, ALICE),
    ("token_with_secret", 200, "POST", "/personal_access_tokens/12/rotate", {}, None),
    ("token_with_secret", 200, "POST", "/personal_access_tokens/self/rotate", {}, ALICE),
    ("impersonation_tokens", 200, "GET", "/users/2/impersonation_tokens", None, None),
    ("impersonation_token", 200, "GET", "/users/2/impersonation_tokens/8", None, None),
    ("impersonation_token_with_secret", 201, "POST", "/users/2/impersonation_tokens",
     NEW | {"expires_at": date.today().isoformat()}, None),
    ("resource_tokens", 200, "GET", "/projects/1/access_tokens", None, ALICE),
    ("resource_token", 200, "GET", "/groups/acme%2Finfra/access_tokens/10", None, None),
    ("resource_token_with_secret", 201, "POST", "/groups/1/access_tokens",
     NEW | {"expires_at": None}, ALICE),
    ("resource_token_with_secret", 200, "POST", "/projects/1/access_tokens/9/rotate", None, None),
    ("tokens", 200, "GET", "/groups/1/service_accounts/7/personal_access_tokens", None, ALICE),
    ("token_with_secret", 201, "POST", "/groups/1/service_accounts/7/personal_access_tokens",
     NEW, ALICE),
    ("users_with_admin", 200, "GET", "/users", None, None),
    ("users_basic", 200, "GET", "/users", None, ALICE),
    ("user_with_admin", 200, "GET", "/users/2", None, None),
    ("user_basic", 200, "GET", "/users/2", None, ALICE),
    ("user_basic", 200, "GET", "/user", None, ALICE),
    ("variables", 200, "GET", "/projects/1/variables", None, ALICE),
    ("variables", 200, "GET", "/groups/acme%2Finfra/variables", None, ALICE),
    ("variable", 200, "GET", "/projects/1/variables/CONFIG", None, None),
    ("variable", 200, "GET", "/groups/1/variables/GROUP_TOKEN", None, ALICE),
    ("variable", 201, "POST", "/groups/1/variables", {"key": "K", "value": "v"}, None),
    ("variable", 201, "POST", "/projects/1/variables",
     {"key": "K", "value": "long-enough", "masked_and_hidden": True}, ALICE),
    ("variable", 200, "PUT", "/projects/1/variables/CONFIG", {"raw": False}, None),
    ("variable", 200, "PUT", "/groups/1/variables/REGION", {"description": "d"}, None),
    ("metadata", 200, "GET", "/metadata", None, None),
    ("metadata", 200, "GET", "/version", None, ALICE),
]


class Schemas(SimulatorTest):
    def test_the_schemas_are_valid(self):
        Draft202012Validator.check_schema(SCHEMAS)

    def test_answers_follow_the_schemas(self):
        for version in VERSIONS:
            for name, status, method, path, body, token in ANSWERS:
                with self.subTest(version=version, method=method, path=path):
                    self.reset(version=version)
                    more = {"token": token} if token else {}
                    answer = self.call(method, path, body, **more)
                    self.assertEqual(answer.status, status, answer.body)
                    schema = {"$ref": "#/$defs/" + name, "$defs": SCHEMAS["$defs"]}
                    Draft202012Validator(schema).validate(answer.json())
