#!/usr/bin/python3
"""A server that answers whatever a script tells it to, valid or not.

HostileServer.pm starts it and writes the scripts, one file of JSON a case:
a list of pairs, a regular expression that "METHOD PATH" has to match, and the
steps to play then.  The case is the first segment of the path; of a CONNECT,
the first label of the host name.  A step is a list of a verb and arguments:

  send TEXT               bytes, written as Latin-1; with HTTP/2, a whole answer of
                          HTTP/1.1 that is translated
  flood TEXT              TEXT again and again, endlessly
  repeat TEXT TIMES       TEXT so many times
  trickle TEXT SECONDS    TEXT again and again, with a pause after each
  bomb CODINGS            what so many codings of gzip make of 20 GB of deflate
                          blocks that are empty
  blanks BYTES            so many blanks, compressed
  sleep SECONDS
  stall                   waits until the client is gone
  close                   ends the connection
  tls                     goes on as the TLS server behind a proxy

and of HTTP/2 only:

  headers PAIRS [END]     an answer's headers
  data TEXT [END]         a frame of the body
  frames TYPE FLAGS STREAM TEXT [COUNT]
                          one frame again and again, endlessly or so often, in
                          as large TLS records as there are; stream -1 is that
                          of the request
"""

import argparse
import json
import os
import re
import socket
import socketserver
import ssl
import struct
import sys
import time
import zlib

import hpack

PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
BLOCK = 1024 * 1024
EMPTY_BLOCK = b'\x00\x00\x00\xff\xff'
GZIP_HEADER = b'\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03'

options = None
context = None


def segment(data):
    """Deflate blocks that can be repeated, for they refer to nothing before."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflate.compress(data) + deflate.flush(zlib.Z_FULL_FLUSH)


def bomb(codings):
    """Some kB, of which each coding makes a thousand times as much."""
    unit = EMPTY_BLOCK * (BLOCK // len(EMPTY_BLOCK))
    count = 20 * 1024
    if codings == 1:
        return GZIP_HEADER + unit * 16
    data = GZIP_HEADER + segment(GZIP_HEADER + unit) + segment(unit) * count
    for _ in range(codings - 2):
        data = GZIP_HEADER + segment(data)
    return data


def repeated(text):
    """So much of a text that one write of it is worth while."""
    return text * max(1, BLOCK // len(text))


def frame(kind, flags, stream, payload):
    """A frame of HTTP/2."""
    return struct.pack('>I', len(payload))[1:] + bytes([kind, flags]) + \
        struct.pack('>I', stream) + payload


class Connection(socketserver.BaseRequestHandler):
    """One connection of a client."""

    def setup(self):
        self.socket = self.request
        self.pending = b''
        self.stream = 0

    def handle(self):
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context and options.tickets:
                self.start_tls_with_tickets()
            if context:
                self.start_tls()
            if context and self.socket.selected_alpn_protocol() == 'h2':
                self.serve_http2()
            else:
                self.serve_http1()
        except (OSError, EOFError, ssl.SSLError):
            pass

    def start_tls_with_tickets(self):
        """Becomes a TLS server that has more session tickets than anybody needs."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context.num_tickets = options.tickets
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.socket.sendall(outgoing.read())
                incoming.write(self.receive())
        note('tickets')
        # made before they are sent, for that takes longer than to read them
        self.socket.sendall(outgoing.read())
        raise EOFError

    def start_tls(self):
        """Becomes a TLS server, and notes what protocols were offered."""
        self.socket = (context or default_context()).wrap_socket(
            self.socket, server_side=True, suppress_ragged_eofs=True)

    # --- HTTP/1.1 ---------------------------------------------------------------

    def receive(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        return data

    def read_request(self):
        """Reads a request with its body; returns method and target."""
        while b'\r\n\r\n' not in self.pending:
            self.pending += self.receive()
        head, self.pending = self.pending.split(b'\r\n\r\n', 1)
        found = re.search(rb'(?i)\r\ncontent-length: *(\d+)', head)
        length = int(found.group(1)) if found else 0
        while len(self.pending) < length:
            self.pending += self.receive()
        self.pending = self.pending[length:]
        method, target = head.decode('latin-1').split(' ')[:2]
        return method, target

    def serve_http1(self):
        while True:
            method, target = self.read_request()
            for step in script(method, target):
                self.play(*step)

    # --- HTTP/2 -----------------------------------------------------------------

    def serve_http2(self):
        """Takes one request after the other; what else comes is ignored."""
        note('HTTP/2')
        decoder = hpack.Decoder()
        self.encoder = hpack.Encoder()
        self.socket.sendall(frame(4, 0, 0, b''))
        self.pending = b''
        while len(self.pending) < len(PREFACE):
            self.pending += self.receive()
        self.pending = self.pending[len(PREFACE):]
        while True:
            kind, flags, stream, payload = self.read_frame()
            if kind == 4 and not flags & 1:
                self.socket.sendall(frame(4, 1, 0, b''))
            if kind != 1:
                continue
            if flags & 0x20:
                payload = payload[5:]
            fields = dict(decoder.decode(payload))
            self.stream = stream
            for step in script(fields[':method'], fields[':path']):
                self.play(*step)

    def read_frame(self):
        while len(self.pending) < 9:
            self.pending += self.receive()
        size = struct.unpack('>I', b'\0' + self.pending[:3])[0]
        kind, flags = self.pending[3], self.pending[4]
        stream = struct.unpack('>I', self.pending[5:9])[0]
        while len(self.pending) < 9 + size:
            self.pending += self.receive()
        payload = self.pending[9:9 + size]
        self.pending = self.pending[9 + size:]
        return kind, flags, stream, payload

    # --- steps ------------------------------------------------------------------

    def play(self, verb, *arguments):
        getattr(self, 'play_' + verb)(*arguments)

    def play_send(self, text):
        if self.stream:
            self.send_as_frames(text)
        else:
            self.socket.sendall(text.encode('latin-1'))

    def send_as_frames(self, text):
        """Sends a whole answer of HTTP/1.1 as one of HTTP/2."""
        head, body = text.split('\r\n\r\n', 1)
        status, *lines = head.split('\r\n')
        pairs = [line.split(': ', 1) for line in lines]
        self.play_headers(
            [(':status', status.split(' ')[1])] +
            [(name.lower(), value) for name, value in pairs])
        self.play_data(body, True)

    def play_flood(self, text):
        block = repeated(text.encode('latin-1'))
        while True:
            self.socket.sendall(block)

    def play_repeat(self, text, times):
        self.socket.sendall(text.encode('latin-1') * times)

    def play_trickle(self, text, seconds):
        while True:
            self.socket.sendall(text.encode('latin-1'))
            time.sleep(seconds)

    def play_bomb(self, codings):
        self.socket.sendall(bomb(codings))
        self.play_stall()

    def play_blanks(self, size):
        deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
        for _ in range(size // BLOCK):
            self.socket.sendall(deflate.compress(b' ' * BLOCK))
        self.socket.sendall(deflate.flush())

    def play_sleep(self, seconds):
        time.sleep(seconds)

    def play_stall(self):
        while self.socket.recv(65536):
            pass
        raise EOFError

    def play_close(self):
        raise EOFError

    def play_tls(self):
        self.start_tls()

    def play_headers(self, pairs, end=False):
        block = self.encoder.encode([tuple(pair) for pair in pairs])
        self.socket.sendall(frame(1, 5 if end else 4, self.stream, block))

    def play_data(self, text, end=False):
        self.socket.sendall(frame(0, 1 if end else 0, self.stream,
                                  text.encode('latin-1')))

    def play_frames(self, kind, flags, stream, text, count=None):
        one = frame(kind, flags, self.stream if stream < 0 else stream,
                    text.encode('latin-1'))
        if count:
            self.socket.sendall(one * count)
            return
        block = repeated(one)
        while True:
            self.socket.sendall(block)


def note(line):
    """Writes a line of the journal."""
    with open(os.path.join(options.directory, 'journal'), 'a',
              encoding='latin-1') as journal:
        journal.write(line + '\n')


def script(method, target):
    """The steps that a request asks for, which is noted."""
    name = target.split('.')[0] if method == 'CONNECT' else \
        target.split('/')[1]
    note(f'{method} {target}')
    try:
        with open(os.path.join(options.directory, name + '.json'),
                  encoding='utf-8') as file:
            for pattern, steps in json.load(file):
                if re.search(pattern, f'{method} {target}'):
                    return steps
    except FileNotFoundError:
        pass
    return [['send', 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n']]


def default_context():
    """The TLS side of a server, which notes what protocols clients offer."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(options.certificate, options.key)
    if options.http2:
        made.set_alpn_protocols(['h2', 'http/1.1'])
    return made


class Server(socketserver.ThreadingTCPServer):
    """Listens on loopback; a thread for each connection."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        with open(os.path.join(options.directory, 'errors'), 'a',
                  encoding='utf-8') as file:
            file.write(repr(sys.exc_info()[1]) + '\n')


def main():
    global options, context
    parser = argparse.ArgumentParser()
    parser.add_argument('--port', type=int, required=True)
    parser.add_argument('--directory', required=True)
    parser.add_argument('--certificate')
    parser.add_argument('--key')
    parser.add_argument('--tls', action='store_true')
    parser.add_argument('--http2', action='store_true')
    parser.add_argument('--tickets', type=int, default=0)
    options = parser.parse_args()
    if options.tls or options.http2:
        context = default_context()
    Server(('127.0.0.1', options.port), Connection).serve_forever()


main()
