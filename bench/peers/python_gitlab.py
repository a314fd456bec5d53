#!/usr/bin/python3
"""python-gitlab as a library. Commands and answers are those of floor.c; also:

  count
  rotate EXPIRES_AT ID,ID,...    natively, one by one, as a script would
"""

import sys

import gitlab

client = gitlab.Gitlab(sys.argv[1], private_token=sys.argv[2], retry_transient_errors=True)
tokens = client.personal_access_tokens


def list_tokens(query):
    filters = dict(pair.split("=") for pair in query.split("&") if pair)
    return sum(1 for _ in tokens.list(iterator=True, per_page=100, **filters))


def count(_argument):
    # GitLab leaves the total out of lists of more than 10,000.
    total = tokens.list(iterator=True, per_page=1).total
    return list_tokens("") if total is None else total


def get(ids):
    # Debian's version has no get() for these objects yet.
    return len([client.http_get("/personal_access_tokens/" + token_id)
                for token_id in ids.split(",")])


def delete(ids):
    return len([tokens.delete(token_id) for token_id in ids.split(",")])


def rotate(argument):
    # Debian 12 has a version without rotate().
    expires_at, ids = argument.split(" ")
    return len([client.http_post("/personal_access_tokens/%s/rotate" % token_id,
                                 post_data={"expires_at": expires_at})["token"]
                for token_id in ids.split(",")])


COMMANDS = {"list": list_tokens, "count": count, "get": get, "delete": delete, "rotate": rotate}

for line in sys.stdin:
    command, _, argument = line.rstrip("\n").partition(" ")
    print(COMMANDS[command](argument), flush=True)
