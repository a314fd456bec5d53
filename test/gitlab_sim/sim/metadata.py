"""GET /metadata and GET /version."""

from .answer import Answer
from .routing import READ_USERS, route


@route("GET", "/metadata", READ_USERS)
@route("GET", "/version", READ_USERS)
def show_metadata(request):
    sim = request.sim
    return Answer.json(200, {
        "version": sim.version.text,
        "revision": "a88e17d191e",
        "kas": {"enabled": True,
                "externalUrl": "wss://gitlab.internal.invalid/-/kubernetes-agent/",
                "externalK8sProxyUrl":
                    "https://gitlab.internal.invalid/-/kubernetes-agent/k8s-proxy/",
                "version": sim.version.text},
        "enterprise": True,
    })
