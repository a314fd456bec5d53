"""The server process: command line, connections, start and end."""

import argparse
import asyncio
import logging
import os
import random
import signal
import ssl

import uvicorn
from starlette.responses import PlainTextResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from .api import Api
from .control import Control
from .simulator import Simulator
from .version import Version

_KEEP_ALIVE = 600  # seconds; clients are to decide when a connection ends
_LONGEST_JITTER = 10_000  # milliseconds


class Application:
    """Sends each request to the API or to the control interface."""

    def __init__(self, sim):
        self._sim = sim
        self._connections = {}  # client's address -> Connection
        self._api = Api(sim)
        self._control = Control(sim, self._api, self._open_connections)
        self._numbers = {}

    async def __call__(self, scope, receive, send):
        path = scope["path"].removeprefix(self._sim.prefix)
        if path.startswith("/api/v4/"):
            connection = self._connections[scope["client"]]
            await self._api(scope, receive, send, connection)
        elif path.startswith("/-/sim"):
            await self._control(scope, receive, send)
        else:
            await PlainTextResponse("Not found\n", 404)(scope, receive, send)

    def connected(self, connection):
        """False if a fault wants the connection closed."""
        self._connections[connection.client] = connection
        return not self._sim.faults.refuses_connection()

    def disconnected(self, connection):
        self._connections.pop(connection.client, None)

    def next_number(self, reset):
        self._numbers = {reset: self._numbers.get(reset, 0) + 1}
        return self._numbers[reset]

    def _open_connections(self):
        """Those that have carried an API request."""
        return sum(c.used for c in self._connections.values())


class Connection(H11Protocol):
    """uvicorn's protocol, known to the application: faults need the transport behind it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._number = (None, None)

    def connection_made(self, transport):
        super().connection_made(transport)
        if not self.app.connected(self):
            transport.abort()

    def connection_lost(self, exc):
        self.app.disconnected(self)
        super().connection_lost(exc)

    @property
    def used(self):
        return self._number[0] is not None

    def number(self, reset):
        """1 for the first connection that carries an API request after a reset, and so on."""
        if self._number[0] != reset:
            self._number = (reset, self.app.next_number(reset))
        return self._number[1]


class Server(uvicorn.Server):
    """Says where it listens, and dies at once: there is nothing to save."""

    def __init__(self, config, prefix):
        super().__init__(config)
        self._prefix = prefix

    async def startup(self, sockets=None):
        await super().startup(sockets)
        # After uvicorn's own handlers. A graceful end would wait for the requests
        # that a test has stalled.
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, os._exit, 0)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        print("%s://%s:%d%s" % ("https" if self.config.is_ssl else "http",
                                "[%s]" % host if ":" in host else host, port, self._prefix),
              flush=True)


def _arguments():
    parser = argparse.ArgumentParser(
        prog="gitlab-sim", description="Simulates GitLab's API for access tokens. Prints its "
        "base URL once it accepts connections.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="default: any free port")
    parser.add_argument("--tls-cert", metavar="FILE", help="serve TLS with this certificate")
    parser.add_argument("--tls-key", metavar="FILE")
    parser.add_argument("--tls-client-ca", metavar="FILE",
                        help="demand client certificates that this CA has signed")
    parser.add_argument("--gitlab-version", default="18.11", metavar="VERSION")
    parser.add_argument("--dates", choices=("today", "fixed"), default="today",
                        help="when the tokens of the fixture expire: around today, or on fixed "
                        "dates that are far away")
    parser.add_argument("--prefix", default="", help="a relative URL root, such as /gitlab")
    parser.add_argument("--jitter", type=float, metavar="MILLISECONDS",
                        default=os.environ.get("GITLAB_SIM_JITTER") or "0",
                        help="let each API request wait at random, up to so long, before it is "
                        "recorded and handled; default: GITLAB_SIM_JITTER or 0")
    parser.add_argument("--jitter-seed", metavar="SEED",
                        default=os.environ.get("GITLAB_SIM_JITTER_SEED") or None,
                        help="draw the waits of this seed; default: GITLAB_SIM_JITTER_SEED, or "
                        "others at each start")
    arguments = parser.parse_args()
    if arguments.prefix and not arguments.prefix.startswith("/") or \
            arguments.prefix.endswith("/"):
        parser.error("a prefix starts with a slash and does not end with one")
    if bool(arguments.tls_cert) != bool(arguments.tls_key):
        parser.error("--tls-cert and --tls-key belong together")
    if not 0 <= arguments.jitter <= _LONGEST_JITTER:
        parser.error("--jitter is from 0 to %d" % _LONGEST_JITTER)
    try:
        Version(arguments.gitlab_version)
    except ValueError as error:
        parser.error(str(error))
    return arguments


def jitter(milliseconds, seed):
    """A function that draws the seconds to wait, or None."""
    if not milliseconds:
        return None
    dice = random.Random(seed)
    return lambda: dice.uniform(0, milliseconds / 1000)


def main():
    arguments = _arguments()
    logging.basicConfig(level=logging.WARNING, format="gitlab-sim: %(levelname)s: %(message)s")
    sim = Simulator(arguments.gitlab_version, arguments.prefix, arguments.dates,
                    jitter(arguments.jitter, arguments.jitter_seed))
    config = uvicorn.Config(
        Application(sim), host=arguments.host, port=arguments.port, http=Connection,
        ws="none", loop="asyncio", lifespan="off", interface="asgi3", log_config=None,
        log_level="warning", access_log=False, proxy_headers=False, server_header=False,
        date_header=False, timeout_keep_alive=_KEEP_ALIVE, ssl_certfile=arguments.tls_cert,
        ssl_keyfile=arguments.tls_key, ssl_version=ssl.PROTOCOL_TLS_SERVER,
        ssl_ca_certs=arguments.tls_client_ca,
        ssl_cert_reqs=ssl.CERT_REQUIRED if arguments.tls_client_ca else ssl.CERT_NONE)
    Server(config, arguments.prefix).run()
