"""Sends a stream to a server and reads from the replies what the server took
for requests.

After the stream the sending side is shut: whoever waits for more then knows
that none will come, and so no time has to pass to find out what was swallowed.
HAProxy alone forgets, now and then, the requests that it has read but not yet
answered when the end reaches it. There the sending side is shut only when
nothing was heard for a while.
"""

import contextlib
import json
import re
import select
import socket
import time

from harness import PATIENCE

# What hcsd says of bytes that it does not take for a request: after these it
# closes, and where the next one would begin is anybody's guess. Refusals of
# anything else are about a request that was seen.
FRAMING = {
    "bad-request-line", "bad-target", "bad-field", "bad-line-end", "bad-host", "bad-content-length",
    "bad-transfer-encoding", "bad-chunk", "body-too-large", "target-too-long", "header-too-large",
    "unknown-transfer-coding", "unsupported-version", "bad-expectation", "unknown-method",
}
# The same by status, for replies to HEAD, which say no more.
FRAMING_STATUS = {400, 413, 414, 417, 431, 501, 505}


# In place of a body of which hcsd only said what it is not.
NOT_JSON = b"(not JSON)"
NO_OBJECT = b"(no object)"


class Seen:
    """One request as a server saw it. What it does not tell is None."""

    def __init__(self, ident, line=None, body=None, status=200):
        self.ident = ident
        self.line = line
        self.body = body
        self.status = status

    def __repr__(self):
        return " ".join(text.decode("latin-1") if isinstance(text,
                                                             bytes) else str(text) for text in [
            self.ident or "(no id)", self.line and b"[%s]" % self.line,
            self.body is not None and b"body %d" % len(self.body), self.status] if text)


class View:
    """What a server made of a stream: the requests that it saw; those that it may
    have seen besides, because it refused one for its content but without reading
    it to its end; and how it ended: "" or why it refused what followed."""

    def __init__(self):
        self.seen = []
        self.maybe = []
        self.end = ""
        self.upstream = []  # of a pair: the ids that hcsd answered

    def __repr__(self):
        text = "; ".join(map(repr, self.seen)) or "nothing"
        if self.maybe:
            text += "; perhaps " + repr(self.maybe[0])
        return text + ("; then %s" % self.end if self.end else "")

    def key(self):
        """Equal for views that agree in everything."""
        return [(s.ident, s.line, s.body, s.status) for s in self.seen], self.end


class Reply:
    def __init__(self, status, fields, body):
        self.status = status
        self.fields = fields
        self.body = body

    def get(self, name, default=None):
        return self.fields.get(name, default)

    def closes(self):
        return self.get(b"connection", b"").lower() == b"close"


OLD_VERSION = 9  # in place of a status


class Garbled(AssertionError):
    """What came back is not a sequence of replies."""


def cut_chunks(data, at):
    body = b""
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            raise Garbled("cut chunked reply")
        size = int(data[at:end], 16)
        body += data[end + 2:end + 2 + size]
        at = end + 2 + size + 2
        if size == 0:
            return body, at


def replies_of(data, old_version=False):
    """Splits what a server sent. Whether a reply is one to HEAD, and so without
    its body, a front tells; else what follows does: no body here begins like a
    reply. old_version: may answer in HTTP/0.9, which is a body, and no more."""
    replies = []
    at = 0
    while at < len(data):
        end = data.find(b"\r\n\r\n", at)
        if old_version and not data.startswith(b"HTTP/1.", at):
            replies.append(Reply(OLD_VERSION, {b"connection": b"close"}, data[at:]))
            break
        if end < 0 or not data.startswith(b"HTTP/1.", at):
            raise Garbled("not a reply: %r" % data[at:at + 200])
        lines = data[at:end].split(b"\r\n")
        fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            fields.setdefault(name.lower(), value.strip())
        status = int(lines[0].split(b" ")[1])
        at = end + 4
        body = b""
        if status < 200:
            continue
        to_head = fields.get(b"x-line", b"").startswith(b"HEAD ") or data.startswith(b"HTTP/1.", at)
        if status not in (204, 304) and at < len(data) and not to_head:
            if b"chunked" in fields.get(b"transfer-encoding", b""):
                body, at = cut_chunks(data, at)
            elif b"content-length" in fields:
                length = int(fields[b"content-length"])
                body = data[at:at + length]
                at += length
            else:
                body, at = data[at:], len(data)
        replies.append(Reply(status, fields, body))
    return replies


def own(ident):
    """The id if it is one that a stream can have brought; hcsd makes others where
    it finds none, or several."""
    return ident if ident and re.match(rb"^[\x21-\x7e]{1,128}$", ident) and not re.match(
        rb"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-", ident) else None


def word_of(reply):
    """The last part of a problem document's type: "bad-chunk"."""
    if reply.get(b"content-type") != b"application/problem+json" or not reply.body:
        return ""
    return json.loads(reply.body.decode())["type"].rsplit("/", 1)[1]


def body_of(reply):
    """What hcsd tells about the body of a request."""
    word = word_of(reply)
    if reply.status == 200 and b'"data":' in reply.body:
        return reply.body[reply.body.index(b'"data":') + 7:-1]
    return {"bad-json": NOT_JSON, "invalid-job": NO_OBJECT}.get(word)


def view_of_hcsd(replies):
    view = View()
    for reply in replies:
        word = word_of(reply)
        seen = Seen(own(reply.get(b"x-request-id")), body=body_of(reply), status=reply.status)
        if word in FRAMING or (
                not word and reply.status in FRAMING_STATUS and reply.closes()):
            view.end = word or str(reply.status)
        elif reply.closes() and (reply.status >= 400 or reply.status in (204, 304)):
            # Perhaps without its body, which may have been cut or broken.
            view.maybe.append(seen)
            view.end = "unread"
        else:
            view.seen.append(seen)
            view.end = "closed" if reply.closes() else ""
    return view


def view_of_other(replies):
    """Of a front alone, or of Node.js, which all say X-Seen and X-Line."""
    view = View()
    for reply in replies:
        line = reply.get(b"x-line")
        seen = Seen(own(reply.get(b"x-seen")), line, status=reply.status)
        if line is not None and (reply.status < 400 or not reply.closes()):
            if b"x-body" in reply.fields:
                seen.body = bytes.fromhex(reply.get(b"x-body").decode())
            elif reply.status == 200:
                seen.body = reply.body
            view.seen.append(seen)
            if reply.closes():
                view.end = "closed"
        else:
            view.end = str(reply.status)
    return view


def view_of_node(replies):
    view = view_of_other(replies)
    for seen in view.seen:
        seen.body = bytes.fromhex(seen.body.decode()) if seen.body else seen.body
    return view


def view_of_pair(replies):
    """Of hcsd behind a front: a request counts as seen when the front forwarded
    it and hcsd answered; upstream says, reply by reply, which id hcsd saw."""
    view = View()
    for reply in replies:
        if b"x-request-id" in reply.fields or (
                reply.status == OLD_VERSION and not reply.body.startswith(b"<html>")):
            view.seen.append(Seen(own(reply.get(b"x-seen")), None, body_of(reply), reply.status))
            view.upstream.append(own(reply.get(b"x-request-id")))
        else:
            view.end = str(reply.status)
            view.maybe.append(Seen(own(reply.get(b"x-seen")), status=reply.status))
    return view


class Target:
    """Where to send streams, and how to read what comes back. cut: gives the
    pieces in which to send one. shut_late: see above."""

    def __init__(self, name, address, read, cut=None, shut_late=False):
        self.name = name
        self.address = address
        self.read = read
        self.cut = cut
        self.shut_late = shut_late

    def open(self):
        if isinstance(self.address, str):
            sock = socket.socket(socket.AF_UNIX)
        else:
            sock = socket.socket(socket.AF_INET)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock.settimeout(PATIENCE)
            sock.connect(self.address)
        except OSError:
            sock.close()
            raise
        return sock


class Exchange:
    """One stream on its way to one target."""

    def __init__(self, target, stream, number):
        self.target = target
        self.stream = stream
        self.number = number
        self.pieces = target.cut(stream) if target.cut else [stream.data]
        self.received = []
        self.shut_late = target.shut_late
        self.sock = target.open()

    def send(self):
        """The next piece. A server may close early: what it said still counts."""
        try:
            self.sock.sendall(self.pieces.pop(0))
            if not self.pieces and not self.shut_late:
                self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.pieces = []

    def shut(self):
        self.shut_late = False
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def receive(self):
        """False at the end."""
        try:
            data = self.sock.recv(1 << 16)
        except OSError:
            data = b""
        self.received.append(data)
        return data != b""

    def view(self):
        received = b"".join(self.received)
        try:
            return self.target.read(replies_of(
                received, old_version="nginx" in self.target.name))
        except (Garbled, ValueError, IndexError) as error:
            raise AssertionError("%s answered to %r: %r" % (
                self.target.name, self.stream.data, received)) from error


def exchange_all(poll, exchanges, quiet):
    """Runs exchanges, by descriptor, to their ends; gives them one by one."""
    unsent = list(exchanges.values())
    while unsent:
        for exchange in unsent:
            exchange.send()
        unsent = [e for e in unsent if e.pieces]
    late = [e for e in exchanges.values() if e.shut_late]
    end = time.monotonic() + PATIENCE
    while exchanges:
        ready = poll.poll(quiet if late else max(0, end - time.monotonic()))
        for fd, _ in ready:
            exchange = exchanges[fd]
            if not exchange.receive():
                poll.unregister(fd)
                exchange.sock.close()
                del exchanges[fd]
                yield exchange
        if not ready and not late:
            exchange = next(iter(exchanges.values()))
            raise AssertionError("%s neither answers nor closes after %r" % (
                exchange.target.name, exchange.stream.data))
        if not ready:
            for exchange in late:
                exchange.shut()
            late = []


def observe(targets, streams, quiet=0.05):
    """Sends each stream to each target, all at the same time. Gives for each
    stream a dictionary from the target's name to the View."""
    poll = select.epoll()
    exchanges = {}
    views = [{} for _ in streams]
    try:
        for number, stream in enumerate(streams):
            for target in targets:
                exchange = Exchange(target, stream, number)
                exchanges[exchange.sock.fileno()] = exchange
                poll.register(exchange.sock, select.EPOLLIN)
        for exchange in exchange_all(poll, exchanges, quiet):
            views[exchange.number][exchange.target.name] = exchange.view()
    finally:
        for exchange in exchanges.values():
            exchange.sock.close()
        poll.close()
    return views
