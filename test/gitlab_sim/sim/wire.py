"""Answers on the connection: well-formed ones through the HTTP library, broken ones past it."""

import asyncio
import socket
import struct
from http import HTTPStatus

_LINGER_NOT = struct.pack("ii", 1, 0)
_CLOSE_TIMEOUT = 2.0  # for a peer that does not take what was written


class Wire:
    """One request's way back to the client."""

    def __init__(self, receive, send, transport):
        self._receive = receive
        self._send = send
        self._transport = transport
        self._gone = None

    @property
    def closed(self):
        return self._transport.is_closing()

    # Well-formed.

    async def answer(self, status, headers, body):
        await self._start(status, headers)
        await self._send({"type": "http.response.body", "body": body})

    async def stream(self, status, headers, chunks):
        """Without Content-Length, unless the headers have it."""
        await self._start(status, headers)
        for chunk in chunks:
            if self.closed:
                return
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
            await asyncio.sleep(0)  # let others have the processor
        await self._send({"type": "http.response.body", "body": b""})

    async def answer_in_two(self, status, headers, body, pause):
        """The head and half of the body, the pause, and, if it allows, the rest."""
        await self._start(status, headers)
        half = len(body) // 2
        await self._send({"type": "http.response.body", "body": body[:half], "more_body": True})
        if await pause():
            await self._send({"type": "http.response.body", "body": body[half:]})
            return True
        return False

    async def _start(self, status, headers):
        await self._send({"type": "http.response.start", "status": status,
                          "headers": [(n.encode(), v.encode("latin-1", "replace"))
                                      for n, v in headers.items()]})

    # Not so.

    async def broken(self, status, headers, body):
        """Whatever the headers say, this body, and the end of the connection."""
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unknown"
        head = ["HTTP/1.1 %d %s" % (status, phrase)]
        head += ["%s: %s" % item for item in headers.items()]
        await self.raw("\r\n".join(head + ["", ""]).encode("latin-1", "replace") + body)

    async def raw(self, data):
        self._transport.write(data)
        await self.close()

    async def close(self):
        """Sends what was written, then FIN."""
        self._transport.close()
        await asyncio.wait([self._until_gone()], timeout=_CLOSE_TIMEOUT)
        if not self._until_gone().done():
            self._transport.abort()
            await self._until_gone()

    async def reset(self):
        """Sends RST, unless the client has left already."""
        if self.closed:
            return
        self._transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._transport.abort()
        await self._until_gone()

    async def hold(self, seconds, released):
        """Waits that long (None: for ever); false if the client left or the stall was ended."""
        waiters = [self._until_gone(), asyncio.ensure_future(released.wait())]
        done, _ = await asyncio.wait(waiters, timeout=seconds,
                                     return_when=asyncio.FIRST_COMPLETED)
        waiters[1].cancel()
        return not done

    def _until_gone(self):
        """A future that ends with the connection. The request's body has been read, so the
        next thing to be received is the news that the client has left."""
        if self._gone is None:
            self._gone = asyncio.ensure_future(self._receive())
        return self._gone
