"""An API request, read completely, as endpoints see it."""

from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

from . import auth
from .answer import ApiError
from .clock import instant_of
from .params import Params, integer_of


@dataclass
class Request:
    sim: object
    method: str
    target: str            # raw path and query, escapes in upper case
    base_url: str          # of this server, as the client writes it
    api_path: str          # raw path from /api/v4 on
    query: str
    headers: dict          # names in lower case
    body: bytes
    client_address: str
    args: dict = field(default_factory=dict)  # path parameters, set by routing
    caller: object = None                     # auth.Caller, set by authentication
    permission: object = None                 # routing.Permission of the route

    def __post_init__(self):
        self.malformed = None
        today = self.sim.today()
        try:
            self.params = Params(self.query, self.headers.get("content-type", ""), self.body,
                                 today)
        except ApiError as error:
            self.params = Params("")
            self.malformed = error

    @property
    def path(self):
        """Below /api/v4."""
        return self.api_path.removeprefix("/api/v4")

    def integer_arg(self, name):
        """A path parameter that must be a number."""
        number = integer_of(self.args[name])
        if number is None:
            self.params.complain("%s is invalid" % name)
            self.params.check()
        self.args[name] = number
        return number

    def credential_token(self):
        """The token that the request carries, dead or alive, or None."""
        value, _ = auth.credential(self)
        return self.sim.store.token_by_value(value) if value else None

    def http_date(self, header):
        """A header's date as an instant; None where it is missing or malformed."""
        try:
            return instant_of(parsedate_to_datetime(self.headers.get(header)))
        except (TypeError, ValueError):
            return None
