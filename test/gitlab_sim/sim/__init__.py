"""A GitLab simulator: the part of GitLab's REST API that deals with access tokens and
with the CI/CD variables that hold them.

The path of a request is the path through the modules:

    server      accepts connections and hands out (transport, ASGI request)
    api         reads the request, consults faults and hooks, sends the answer
    routing     method and path -> endpoint
    auth        credential -> caller
    tokens, users, variables, metadata
                the endpoints
    params      request parameters -> Python values, or GitLab's 400
    finders     filters and orders -> rows
    pagination  rows -> one page and its headers
    entities    rows -> JSON, as the simulated version of GitLab prints it
    wire        answer -> bytes on the connection, broken ones on demand

`store` holds what the instance knows, `fixture` what it knows at the start, `simulator` puts
it all together, and `control` is the interface for tests.
"""
