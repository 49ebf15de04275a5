"""Byte streams for the differential test: a grammar of pipelined requests, and
mutations of it.

Every request carries an X-Request-ID of its own, also those that hide in bodies,
chunk extensions, trailers and field values, so that whoever takes one of them
for a request says so by that id. Behind each stream stands one more request,
the probe: who answers it thinks that the stream ended where a request ends.

The stream number N of a seed is always the same one: make(seed, N).
"""

import random


class Request:
    """One request in pieces that a mutation can change. Texts are bytes."""

    def __init__(self, ident, method=b"GET", target=b"/"):
        self.ident = ident
        self.before = b""  # the request line
        self.method, self.gap1, self.target, self.gap2 = method, b" ", target, b" "
        self.version = b"HTTP/1.1"
        self.line_end = b"\r\n"
        self.fields = [[b"Host", b": ", b"x", b"\r\n"], [b"X-Request-ID", b": ", ident, b"\r\n"]]
        self.head_end = b"\r\n"
        self.body = b""  # sent as it is, when there are no chunks
        self.chunks = None  # [size, extension, line end, data, data end]
        self.trailers = []  # as fields
        self.end = b"\r\n"  # of the chunked body

    def add(self, name, value, gap=b": ", end=b"\r\n"):
        self.fields.append([name, gap, value, end])

    def find(self, name):
        return [f for f in self.fields if f[0].lower() == name]

    def drop(self, name):
        self.fields = [f for f in self.fields if f[0].lower() != name]

    def bytes(self):
        parts = [self.before, self.method, self.gap1, self.target, self.gap2, self.version,
                 self.line_end]
        for field in self.fields:
            parts += field
        parts.append(self.head_end)
        if self.chunks is None:
            parts.append(self.body)
        else:
            for chunk in self.chunks:
                parts += chunk
            for field in self.trailers:
                parts += field
            parts.append(self.end)
        return b"".join(parts)


class Stream:
    """data is what to send; expected the ids that a server has to see in it when
    nothing was mutated, else None."""

    def __init__(self, name, data, expected=None, changes=()):
        self.name = name
        self.data = data
        self.expected = expected
        self.changes = list(changes)


class Ids:
    def __init__(self, number):
        self.prefix = b"i%d." % number
        self.count = 0

    def next(self):
        self.count += 1
        return self.prefix + b"%d" % self.count


# --- The grammar.

def hidden(rnd, ids):
    """A whole request, for where none should be seen."""
    request = Request(ids.next(), rnd.choice([b"GET", b"GET", b"POST"]), b"/?hidden")
    if request.method == b"POST":
        content = b'{"data":1}'
        request.add(b"Content-Length", b"%d" % len(content))
        request.body = content
    return request.bytes()


def content_of(rnd, ids):
    """A body, before it is framed."""
    kind = rnd.random()
    if kind < 0.45:
        return b'{"data":"%s"}' % bytes(rnd.choices(b"abc xyz0123", k=rnd.randrange(24)))
    if kind < 0.55:
        return b"\r\n" + b'{"data":%d}' % rnd.randrange(1000) + b"\r\n"
    if kind < 0.85:
        return hidden(rnd, ids)
    if kind < 0.9:
        return b"0\r\n\r\n" + hidden(rnd, ids)
    if kind < 0.95:
        return bytes(rnd.choices(b"\r\n 0a;:\t\x00\xff", k=rnd.randrange(1, 12)))
    return b""


def extension(rnd, ids):
    kind = rnd.random()
    if kind < 0.75:
        return b""
    if kind < 0.85:
        return rnd.choice([b";a", b";a=b", b";a=b;c=d", b';a="b c"', b';a="\\""', b';a=";"'])
    return b';a="GET / HTTP/1.1 X-Request-ID: %s"' % ids.next()


def frame_by_chunks(rnd, ids, request, content):
    request.add(b"Transfer-Encoding", b"chunked")
    request.chunks = []
    while content:
        piece = content[:rnd.randrange(1, len(content) + 1)] if rnd.random() < 0.5 else content
        content = content[len(piece):]
        size = (b"%x" if rnd.random() < 0.7 else b"%X") % len(piece)
        request.chunks.append([size, extension(rnd, ids), b"\r\n", piece, b"\r\n"])
    request.chunks.append([b"0", extension(rnd, ids), b"\r\n", b"", b""])
    if rnd.random() < 0.15:
        request.trailers.append([b"X-Trailer", b": ", b"1", b"\r\n"])


OPTIONAL_FIELDS = [
    (b"Content-Type", b"application/json"), (b"Accept", b"*/*"), (b"User-Agent", b"a/1 (b)"),
    (b"Cookie", b"a=b; c=d"), (b"X-Pad", b"x" * 200), (b"Connection", b"keep-alive"),
    (b"TE", b"trailers"), (b"X-Empty", b""), (b"Accept-Encoding", b"gzip"),
]


def request_of(rnd, ids):
    ident = ids.next()
    kind = rnd.random()
    request = Request(ident, b"POST", b"/")
    if kind < 0.35:
        request.method = b"GET"
    elif kind < 0.4:
        request.method = b"HEAD"
    elif kind < 0.45:
        request.method = b"OPTIONS"
    kind = rnd.random()
    if kind < 0.5:
        request.target = b"/?t=" + ident
    elif kind < 0.6:
        request.target = b"http://x/?t=" + ident
    elif kind < 0.7 and request.method == b"OPTIONS":
        request.target = b"*"
    for name, value in rnd.sample(OPTIONAL_FIELDS, rnd.choice([0, 0, 1, 2, 3])):
        request.add(name, value)
    if request.method == b"POST" or (request.method == b"GET" and rnd.random() < 0.15):
        content = content_of(rnd, ids)
        if rnd.random() < 0.5:
            request.add(b"Content-Length", b"%d" % len(content))
            request.body = content
        else:
            frame_by_chunks(rnd, ids, request, content)
    rnd.shuffle(request.fields)
    return request


# --- Mutations of the grammar: functions of (rnd, ids, request).

BLANKS = [b"", b"  ", b"\t", b" \t", b"\x0b", b"\x0c", b"\r", b"\n", b"\r\n", b"\x00", b"\xa0"]


def chunked_body(rnd, ids, request):
    """Makes sure that it has a chunked body, for what changes one."""
    if not request.chunks:
        request.drop(b"content-length")
        request.drop(b"transfer-encoding")
        request.body = b""
        frame_by_chunks(rnd, ids, request, content_of(rnd, ids))


def coding_value(rnd, ids, request):
    chunked_body(rnd, ids, request)
    for field in request.find(b"transfer-encoding"):
        field[2] = rnd.choice([
            b"Chunked", b"CHUNKED", b"\tchunked", b"chunked ", b"chunked\t", b"\x0bchunked",
            b"chunked\x0b", b"\x0cchunked", b"chunked\x0c", b"chunked, chunked",
            b"chunked,identity", b"identity, chunked", b"gzip, chunked", b"chunked, gzip",
            b'"chunked"', b"chunked;q=1", b"chunked; a=b", b"x chunked", b"chunked x",
            b"chunked\x00", b"\x00chunked", b"", b",chunked", b"chunked,", b", chunked",
            b"xchunked", b"chunkedx", b"identity", b"gzip", b"chun\tked", b"\xa0chunked",
            b"\x85chunked", b"chunked\xa0", b"'chunked'", b"chunked\rx", b"\rchunked", b"chunked\r",
            b"\r\n chunked", b"\r\n\tchunked", b"\n chunked", b"chunke", b"chunked\r\n ",
            b"identity\r\n , chunked", b"trailers", b"deflate", b"compress,chunked", b"\x00",
            b"chunk\xc5\xbfd", b"chunKed"])


def coding_name(rnd, ids, request):
    chunked_body(rnd, ids, request)
    for field in request.find(b"transfer-encoding"):
        field[0], field[1] = rnd.choice([
            (b"transfer-encoding", b":"), (b"TRANSFER-ENCODING", b":"),
            (b"Transfer_Encoding", b": "), (b"Transfer Encoding", b": "),
            (b"Transfer-Encoding", b" : "), (b"Transfer-Encoding", b"\t: "),
            (b" Transfer-Encoding", b": "), (b"\tTransfer-Encoding", b": "),
            (b"\x0bTransfer-Encoding", b": "), (b"Transfer-Encoding\x00", b": "),
            (b"Transfer-Encoding\x0b", b": "), (b"Transfer-Encoding", b"\r: "),
            (b"Transfer-Encoding", b"\r\n: "), (b"Transfer-Encoding", b"\n: "),
            (b"X: y\rTransfer-Encoding", b": "), (b"X: y\nTransfer-Encoding", b": "),
            (b"X\x00: y\r\nTransfer-Encoding", b": "), (b"\rTransfer-Encoding", b": "),
            (b"\xffTransfer-Encoding", b": "), (b"Transfer-Encoding:", b": "),
            (b"Transfer-Encoding", b" "), (b"Transfer-Encoding", b"::"),
            (b"X", b":\r\n Transfer-Encoding: "), (b"Content-Encoding", b": "),
            (b"Transfer-Encodin", b": "), (b"(Transfer-Encoding)", b": ")])


def coding_and_length(rnd, ids, request):
    chunked_body(rnd, ids, request)
    whole = sum(len(b"".join(chunk)) for chunk in request.chunks) + len(request.end)
    length = rnd.choice([0, 1, 5, len(request.chunks[0][0]) + 2, whole, whole + 5])
    request.add(rnd.choice([b"Content-Length", b"content-length", b"Content_Length"]),
                b"%d" % length)
    rnd.shuffle(request.fields)
    if rnd.random() < 0.5:
        rnd.choice([coding_value, coding_name])(rnd, ids, request)


def coding_twice(rnd, ids, request):
    chunked_body(rnd, ids, request)
    request.add(rnd.choice([b"Transfer-Encoding", b"transfer-encoding"]), rnd.choice([
        b"chunked", b"identity", b"", b"gzip", b"x", b"cow", b"chunked, identity"]))
    rnd.shuffle(request.fields)


def coding_under_old_version(rnd, ids, request):
    chunked_body(rnd, ids, request)
    request.version = b"HTTP/1.0"
    if rnd.random() < 0.6:
        request.drop(b"connection")
        request.add(b"Connection", b"keep-alive")


def length_value(rnd, ids, request):
    if not request.find(b"content-length"):
        request.drop(b"transfer-encoding")
        request.chunks = None
        request.body = content_of(rnd, ids)
        request.add(b"Content-Length", b"%d" % len(request.body))
    n = len(request.body)
    field = request.find(b"content-length")[0]
    field[2] = rnd.choice([
        b"+%d" % n, b"-%d" % n, b"-0", b"0%d" % n, b"000%d" % n, b"%d " % n, b"%d\t" % n,
        b"\t%d" % n, b"%d,%d" % (n, n), b"%d, %d" % (n, n), b"%d, %d" % (n, n + 1), b"0, %d" % n,
        b"0x%x" % n, b"%d.0" % n, b"%de0" % n, b"", b"%d %d" % (n, n), b"%d\x0b" % n, b"\x0b%d" % n,
        b"%d;" % n, b"%d_" % n, b'"%d"' % n, b"%d" % (n + (1 << 64)), b"%d" % (n + (1 << 32)),
        b"%d" % ((1 << 63) + n), b"%d" % ((1 << 64) - 1), b"%d" % (n + 7), b"%d" % max(n - 3, 0),
        b"%d\x00" % n, b"\x00%d" % n, b"%d\r\n " % n, b"\r\n %d" % n, b"%d\r\n 0" % n, b"1" * 40,
        b"%d\xa0" % n, b"%d," % n, b",%d" % n, b"a", b"\xd9\xa5", b"%d\r1" % n, b"%d\x0c" % n,
        b"%d\n" % n, b"%d\r" % n, b"0", b"1"])


def length_name(rnd, ids, request):
    if not request.find(b"content-length"):
        return
    request.find(b"content-length")[0][:2] = rnd.choice([
        [b"content-length", b":"], [b"Content_Length", b": "], [b"Content-Length", b" : "],
        [b"Content-Length", b"\t: "], [b" Content-Length", b": "], [b"Content-Length\x00", b": "],
        [b"Content Length", b": "], [b"Content-Length", b"\r\n: "], [b"\rContent-Length", b": "],
        [b"X: y\rContent-Length", b": "], [b"X: y\nContent-Length", b": "],
        [b"Content-Length", b" "], [b"X", b":\r\n Content-Length: "], [b"Content-Lengt", b": "],
        [b"\xc0Content-Length", b": "]])


def length_twice(rnd, ids, request):
    found = request.find(b"content-length")
    n = int(found[0][2]) if found and found[0][2].isdigit() else 0
    if not found:
        request.add(b"Content-Length", b"0")
    request.add(b"Content-Length", b"%d" % rnd.choice([n, n, n + 1, 0, n + 10]))
    rnd.shuffle(request.fields)


def chunk_size(rnd, ids, request):
    chunked_body(rnd, ids, request)
    chunk = rnd.choice(request.chunks)
    n = len(chunk[3])
    chunk[0] = rnd.choice([
        b"0x%x" % n, b"+%x" % n, b"-%x" % n, b" %x" % n, b"%x " % n, b"%x\t" % n, b"0%x" % n,
        b"0" * 14 + b"%x" % n, b"0" * 17 + b"%x" % n, b"0" * 40 + b"%x" % n, b"", b"g", b"%xg" % n,
        b"%x\x00" % n, b"\x00%x" % n, b"%x,%x" % (n, n), b"%x.0" % n, b"%x" % (n + (1 << 64)),
        b"%x" % (n + (1 << 32)), b"%x" % (n + (1 << 60)), b"f" * 16, b"f" * 15, b"8" + b"0" * 15,
        b"%x\x0b" % n, b"\x0b%x" % n, b"\r\n%x" % n, b"\n%x" % n, b"%x\r" % n, b"%x" % (n + 2),
        b"%x" % max(n - 1, 0), b"%x %x" % (n, n), b"_%x" % n, b"%x_" % n, b"%d" % n, b"%x\x0c" % n,
        b"\t%x" % n, b'"%x"' % n, b"%x=" % n, b"%x:" % n])


def chunk_extension(rnd, ids, request):
    chunked_body(rnd, ids, request)
    h = b"GET /?ext HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\n\r\n" % ids.next()
    rnd.choice(request.chunks)[1] = rnd.choice([
        b";", b";;", b";a;", b"; a=b", b" ;a=b", b"\t;a", b";a =b", b";a= b", b";a=b ", b";=b",
        b";a=", b';a="b', b';a=b"', b';a="b\\', b';a="\r\n"', b';a="\n"', b";\n", b";a\n", b";a\nb",
        b";a\rb", b";\r", b";a\x00", b";\x00", b";\x7f", b";\xff", b';a="\xff"', b';a="\x00"',
        b";a=b=c", b" a=b", b",a=b", b";a,b", b";" + b"a" * 300, b';a="' + h + b'"', b";a\r\n" + h,
        b";\n" + h, b";a\n0\r\n\r\n" + h, b";\r\r\n", b';a="\\\r\n"', b";a=(b)", b";a=b\t;c"])


def chunk_end(rnd, ids, request):
    chunked_body(rnd, ids, request)
    chunk = rnd.choice(request.chunks)
    if rnd.random() < 0.5 and len(request.chunks) > 1:
        chunk = rnd.choice(request.chunks[:-1])
        chunk[4] = rnd.choice([
            b"", b"\n", b"\r", b"\n\r", b"\r\r\n", b"\r\n\r\n", b"x\r\n", b"xx", b" \r\n", b"\r\n ",
            b"\x00\r\n", b"\rX", b"X\n"])
    else:
        chunk[2] = rnd.choice([
            b"\n", b"\r", b"\r\r\n", b"\n\n", b"\r\n\r\n", b" \r\n", b"\t\r\n", b"\r\n\n", b"",
            b"\rX", b"\x00\r\n", b"\r\x00\n"])


def last_chunk(rnd, ids, request):
    chunked_body(rnd, ids, request)
    last = request.chunks[-1]
    kind = rnd.randrange(4)
    if kind == 0:
        last[0] = rnd.choice([b"00", b"0" * 20, b"0x0", b"-0", b"+0", b"", b" 0", b"0 ", b"0\x00"])
    elif kind == 1:
        request.end = rnd.choice([
            b"", b"\n", b"\r", b"\r\r\n", b"\n\r\n", b" \r\n", b"\rX", b"\r\n\r\n", b"0\r\n\r\n",
            b"\t\r\n", b"\x00\r\n"])
    elif kind == 2:
        request.chunks.pop()
    else:
        request.chunks.append([b"0", b"", b"\r\n", b"", b""])


def trailer(rnd, ids, request):
    chunked_body(rnd, ids, request)
    ident = ids.next()
    request.trailers.append(list(rnd.choice([
        (b"Content-Length", b": ", b"5", b"\r\n"),
        (b"Transfer-Encoding", b": ", b"chunked", b"\r\n"), (b"Host", b": ", b"y", b"\r\n"),
        (b"X-Request-ID", b": ", ident, b"\r\n"),
        (b"GET /?trailer HTTP/1.1\r\nX-Request-ID", b": ", ident, b"\r\n"),
        (b"X", b": ", b"y\r\n z", b"\r\n"), (b"X", b" : ", b"y", b"\r\n"),
        (b"X", b"", b"", b"\r\n"), (b"", b":", b"y", b"\r\n"), (b"X", b": ", b"y", b"\n"),
        (b"X", b": ", b"y", b"\r"), (b"X", b": ", b"\x00", b"\r\n"),
        (b"X", b": ", b"\x7f", b"\r\n"), (b" X", b": ", b"y", b"\r\n"),
        (b"X", b": ", b"y",
         b"\n\nGET /?trailer HTTP/1.1\r\nHost: x\r\nX-Request-ID: " + ident + b"\r\n"),
        (b"X", b": ", b"y" * 3000, b"\r\n"), (b"X\xff", b": ", b"y", b"\r\n"),
        (b"X y", b": ", b"", b"\r\n"), (b"X", b": ", b"y\rz", b"\r\n"),
        (b"X", b": ", b"y\x0bz", b"\r\n"), (b"X", b": ", b"y", b"\r\r\n")])))


def method(rnd, ids, request):
    request.method = rnd.choice([
        b"PUT", b"DELETE", b"PATCH", b"TRACE", b"CONNECT", b"PROPFIND", b"FOO", b"get", b"Post",
        b"", b"GET\x00", b"G ET", b"GE\tT", b"(GET)", b"GET,", b"\xffGET", b"M-SEARCH", b"A" * 40,
        b"\"GET\"", b"PRI", b"GET:", b"POST/", b"HEAD", b"OPTIONS", b"QUERY", b"F_O", b"a.b", b"_",
        b"1"])
    if request.method == b"CONNECT" and rnd.random() < 0.6:
        request.target = rnd.choice([
            b"x:80", b"x:443", b"x", b"x:", b"[::1]:80", b"x:0", b"u@x:80"])


def target(rnd, ids, request):
    request.target = rnd.choice([
        b"*", b"", b"x", b"x:80", b"//x/", b"///", b"/\\", b"/a#b", b"/#", b"/a b", b"/a\tb",
        b"/\x00", b"/\x01", b"/\x7f", b"/\xff", b"/\xc3\xa9", b"/%00", b"/%", b"/%2", b"/%zz",
        b"/%2f", b"/a/../b", b"/..", b"/../x", b"/.", b"/\"", b"/<>", b"/[]", b"/{}", b"/|", b"/^",
        b"/`", b"http://x", b"http://x?q", b"http://", b"http:///", b"http:x", b"http:/x",
        b"HTTP://X/", b"https://x/", b"ftp://x/", b"http://y/", b"http://x:80/", b"http://x:/",
        b"http://x:99999/", b"http://u@x/", b"http://u:p@x/", b"http://[::1]/", b"http://[x]/",
        b"http://x/#a", b"http://x\\y/", b"?", b"?q", b"#", b"/?a#b", b"/??", b"/ HTTP/1.1",
        b"/?GET / HTTP/1.1", b"/a?b c", b"/;a", b"/:@", b"/" + b"a" * 2000,
        b"http://x/" + b"a" * 500, b"http://%78/", b"http://x,y/", b"http://x y/", b"/a%0d%0ab",
        b"**", b"*?", b"/%u0041"])


def version(rnd, ids, request):
    request.version = rnd.choice([
        b"HTTP/1.0", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/3.0",
        b"HTTP/1.", b"HTTP/1", b"HTTP/", b"HTTP", b"", b"http/1.1", b"Http/1.1", b"HTTP/01.1",
        b"HTTP/1.01", b"HTTP/1.10", b"HTTP/1.1.", b"HTTP/1.1 ", b"HTTP/1.1\t", b"HTTP/1.1x",
        b"HTTP/1.1;", b"HTTP/1,1", b"HTTP/ 1.1", b"HTTP /1.1", b"HTTP/1 .1", b"HTTP/1. 1",
        b"HTTP/+1.1", b"HTTP/1.1 HTTP/1.1", b"HTTP/11.1", b"HTTP/1.1\x00", b"HTTP\\1.1",
        b"RTSP/1.0", b"ICY/1.0", b"HTTPS/1.1", b"HTTP/9.9", b"HTTP/-1.1", b"HTTP/1.1\x0b",
        b"HTTP/1.11", b"HTTP/\xb1.1"])
    if request.version == b"" and rnd.random() < 0.5:
        request.gap2 = b""  # HTTP/0.9
    if request.version == b"HTTP/1.0" and rnd.random() < 0.5:
        request.drop(b"connection")
        request.add(b"Connection", b"keep-alive")


def request_line_gap(rnd, ids, request):
    if rnd.random() < 0.5:
        request.gap1 = rnd.choice(BLANKS)
    else:
        request.gap2 = rnd.choice(BLANKS)


def before(rnd, ids, request):
    request.before = rnd.choice([
        b"\r\n", b"\r\n\r\n", b"\n", b"\n\n", b"\r", b" ", b"\t", b"\r\n ", b" \r\n", b"\x00",
        b"\r\r\n", b"\n\r\n", b"\xef\xbb\xbf", b"\r\n" * 20, b"\x0b", b"0\r\n\r\n", b"x\r\n",
        b"\r\n\r"])


def line_end(rnd, ids, request):
    end = rnd.choice([b"\n", b"\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b" \r\n", b"\r\n ", b"\r\n\t",
                      b"\x00\r\n", b"\r\x00\n", b"", b"\x0b\r\n", b"\r \n", b"\r\n\x00",
                      b"\r\n\x0b", b"\x85", b"\r\t\n"])
    where = rnd.randrange(4)
    if where == 0:
        request.line_end = end
    elif where == 1:
        rnd.choice(request.fields)[3] = end
    elif where == 2:
        request.head_end = end
    else:
        if end in (b"\n", b"\r", b"\r\r\n"):
            request.line_end = request.head_end = end
            for field in request.fields:
                field[3] = end
        else:
            request.fields[-1][3] = end


def field_syntax(rnd, ids, request):
    ident = ids.next()
    name, gap, value, end = rnd.choice([
        (b"X", b" : ", b"y", b"\r\n"), (b"X", b"\t:", b"y", b"\r\n"), (b"X", b"", b"", b"\r\n"),
        (b"", b":", b"y", b"\r\n"), (b"", b": ", b"", b"\r\n"), (b" X", b": ", b"y", b"\r\n"),
        (b"\tX", b": ", b"y", b"\r\n"), (b"X Y", b": ", b"y", b"\r\n"),
        (b"X", b": ", b"y\r\n z", b"\r\n"), (b"X", b": ", b"y\r\n\tz", b"\r\n"),
        (b"X", b": ", b"\r\n y", b"\r\n"), (b"X", b": ", b"y\n z", b"\r\n"),
        (b"X", b": ", b"y\r z", b"\r\n"), (b"X", b": ", b"\x00", b"\r\n"),
        (b"X", b": ", b"a\x01b", b"\r\n"), (b"X", b": ", b"a\x7fb", b"\r\n"),
        (b"X", b": ", b"\x0b", b"\r\n"), (b"X", b": ", b"\xff\x80", b"\r\n"),
        (b"X\xff", b": ", b"y", b"\r\n"), (b"X\x00", b": ", b"y", b"\r\n"),
        (b"X(", b": ", b"y", b"\r\n"), (b"X/", b": ", b"y", b"\r\n"), (b"X@", b": ", b"y", b"\r\n"),
        (b"X_Y", b": ", b"y", b"\r\n"), (b"X\"", b": ", b"y", b"\r\n"),
        (b"X{", b": ", b"y", b"\r\n"), (b"!#$%&'*+-.^_`|~", b": ", b"y", b"\r\n"),
        (b"X[]", b": ", b"y", b"\r\n"), (b"X", b":" + b" " * 50, b"y", b"\r\n"),
        (b"X", b":\t", b"y\t", b"\r\n"), (b"X" * 300, b": ", b"y", b"\r\n"),
        (b"X", b": ", b"y" * 3000, b"\r\n"), (b"X", b"=", b"y", b"\r\n"),
        (b"X", b": ", b"a\rb", b"\r\n"),
        (b"X", b": ", b"GET /?value HTTP/1.1\nHost: x\nX-Request-ID: " + ident + b"\n", b"\r\n"),
        (b"X", b": ", b"\rGET /?value HTTP/1.1\rHost: x\rX-Request-ID: " + ident + b"\r\r",
         b"\r\n"),
        (b"X", b": ", b"a\n\nGET /?value HTTP/1.1\r\nHost: x\r\nX-Request-ID: " + ident, b"\r\n"),
        (b"X", b": ", b"a\r\rGET /?value HTTP/1.1\r\nHost: x\r\nX-Request-ID: " + ident, b"\r\n"),
        (b"GET /?value HTTP/1.1\r\nX", b": ", b"y", b"\r\n"),
        (b"GET /?value HTTP/1.1", b"", b"", b"\r\n"), (b"X-Request-ID", b": ", ident, b"\r\n"),
        (b"X", b": ", b"\x00\r\n\r\n", b""), (b"\r", b"", b"", b"\r\n"),
        (b"X", b": ", b"y\x85z", b"\r\n"), (b"X", b": ", b"y\r\n\x0bz", b"\r\n"),
        (b"\x0bX", b": ", b"y", b"\r\n"), (b" ", b"", b"", b"\r\n"), (b":", b"", b"", b"\r\n"),
        (b"::", b"", b"y", b"\r\n"), (b"X,Y", b": ", b"y", b"\r\n"), (b"X;", b": ", b"y", b"\r\n")])
    request.fields.insert(rnd.randrange(len(request.fields) + 1), [name, gap, value, end])


def host(rnd, ids, request):
    kind = rnd.random()
    if kind < 0.2:
        request.drop(b"host")
    elif kind < 0.35:
        request.add(rnd.choice([b"Host", b"host"]), rnd.choice([b"x", b"y", b""]))
    else:
        for field in request.find(b"host"):
            field[2] = rnd.choice([
                b"", b"x:80", b"x:", b"x:99999", b"x:a", b"x:-1", b"x, y", b"x,x", b"u@x", b"x/",
                b"x/a", b"/", b"x y", b" x", b"x ", b"[::1]", b"[::1]:80", b"[::1", b"::1", b"[x]",
                b"x?", b"x#", b"x\\y", b"%78", b"%zz", b"x\x00", b"\x00", b"x\x7f", b"\xff",
                b"http://x", b"X", b"x..y", b".x", b"x.", b"-", b"_", b"x:80:80", b"x\ty",
                b"a" * 300, b"\"x\"", b"x;y", b"*", b"<x>", b"127.0.0.1", b"1.2.3.4.5", b":80",
                b"x:00080", b"x:+80", b"x: 80", b"x :80", b"..", b"x|y", b"x^", b"x{", b"!x",
                b"x'y"])


def connection(rnd, ids, request):
    request.drop(b"connection")
    request.add(b"Connection", rnd.choice([
        b"close", b"Close", b"keep-alive, close", b"close, x", b"upgrade",
        b"Upgrade, HTTP2-Settings", b"content-length", b"transfer-encoding", b"host",
        b"x-request-id", b"", b",", b", ,", b"close\t", b"keep-alive\x0b", b'"close"', b"clo se",
        b"te", b"keep-alive, content-length, transfer-encoding", b"close;q=0", b"xclose",
        b"x, close ,y", b"proxy-connection", b"\xff", b"(x)"]))
    if rnd.random() < 0.2:
        request.add(b"Connection", rnd.choice([b"close", b"keep-alive", b"content-length"]))


def expect(rnd, ids, request):
    request.add(b"Expect", rnd.choice([
        b"100-continue", b"100-continue", b"100-Continue", b"100-continue, x", b"x", b"", b"200-ok",
        b"100", b"100-continue;a", b"\"100-continue\"", b",", b"100-continue, 100-continue"]))
    if rnd.random() < 0.1:
        request.add(b"Expect", b"100-continue")


def upgrade(rnd, ids, request):
    request.drop(b"connection")
    request.add(b"Upgrade", rnd.choice([
        b"h2c", b"websocket", b"HTTP/2.0", b"TLS/1.0", b"x", b"", b"h2c, x"]))
    if rnd.random() < 0.7:
        request.add(b"Connection", b"Upgrade")
    if rnd.random() < 0.3:
        request.add(b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==")
        request.add(b"Sec-WebSocket-Version", b"13")


def other_field(rnd, ids, request):
    request.add(*rnd.choice([
        (b"Content-Type", b"text/plain"), (b"Content-Encoding", b"gzip"),
        (b"Content-Encoding", b"identity"), (b"Trailer", b"X"),
        (b"Proxy-Connection", b"keep-alive"), (b"Keep-Alive", b"timeout=5"),
        (b"Content-Range", b"bytes 0-1/2"), (b"Range", b"bytes=0-"),
        (b"X-HTTP-Method-Override", b"DELETE"), (b"X-Forwarded-Host", b"y"),
        (b"Max-Forwards", b"0"), (b"Via", b"1.1 x"), (b"X-Request-ID", b"again"),
        (b"If-Match", b"*"), (b"If-Match", b'"x"'), (b"If-None-Match", b"*"),
        (b"If-None-Match", b'W/"x", "y"'), (b"If-Match", b"x"),
        (b"HTTP2-Settings", b"AAMAAABkAAQAAP__"), (b"Content-Length", b"0"),
        (b"Forwarded", b"for=x"), (b"TE", b"chunked"), (b"Content-Type", b""),
        (b"Content-Type", b"text/plain, a/b+json"), (b"Content-Type", b"a/b+json;c=\""),
        (b"Content-Type", b"application/json")]))
    if rnd.random() < 0.2:
        many = rnd.choice([60, 120])
        for i in range(many):
            request.add(b"X-%d" % i, b"")


def no_body_end(rnd, ids, request):
    """Less, or more, of a body than was announced."""
    if request.chunks is None and request.body:
        request.body = rnd.choice([
            request.body[:-1], request.body + b"x", request.body + b"\r\n", request.body + b"\n",
            request.body[1:], b""])
    else:
        last_chunk(rnd, ids, request)


MUTATIONS = [
    coding_value, coding_value, coding_value, coding_name, coding_name, coding_and_length,
    coding_and_length, coding_twice, coding_under_old_version, length_value, length_value,
    length_value, length_name, length_twice, length_twice, chunk_size, chunk_size, chunk_size,
    chunk_extension, chunk_extension, chunk_end, chunk_end, last_chunk, trailer, trailer, method,
    target, version, request_line_gap, before, line_end, line_end, field_syntax, field_syntax, host,
    connection, expect, upgrade, other_field, no_body_end]


# --- Mutations of bytes.

INTERESTING = [bytes([b]) for b in b"\x00\t\n\x0b\x0c\r :;,0\"\x7f\x80\xff/?#%1aG"] + [
    b"\r\n", b"\r\n\r\n", b"\n\n", b"0\r\n\r\n", b"chunked", b"Content-Length: 0\r\n", b"\r\n ",
    b" HTTP/1.1"]


def mutate_bytes(rnd, data, other):
    at = rnd.randrange(len(data))
    to = min(len(data), at + rnd.choice([1, 1, 1, 2, 4, 16]))
    kind = rnd.randrange(6)
    if kind == 0:
        return data[:at] + rnd.choice(INTERESTING) + data[at:], "insert"
    if kind == 1:
        return data[:at] + data[to:], "delete"
    if kind == 2:
        return data[:at] + bytes([data[at] ^ 1 << rnd.randrange(8)]) + data[at + 1:], "flip"
    if kind == 3:
        to = min(len(data), at + rnd.choice([2, 8, 32, 128]))
        return data[:to] + data[at:to] + data[to:], "duplicate"
    if kind == 4:
        return data[:at] + rnd.choice(INTERESTING) + data[at + 1:], "replace"
    return data[:at] + other()[rnd.randrange(len(data)):], "splice"


# --- A stream.

def probe(ids):
    request = Request(ids.prefix + b"probe")
    request.add(b"Connection", b"close")
    return request.bytes()


def make(seed, number):
    """The stream of that number. A quarter is not mutated at all."""
    rnd = random.Random("%s/%d" % (seed, number))
    ids = Ids(number)
    requests = [request_of(rnd, ids) for _ in range(rnd.choice([1, 1, 2, 2, 3, 4]))]
    changes = []
    mutations = rnd.choice([0, 0, 1, 1, 1, 1, 2, 3])
    for _ in range(mutations):
        mutation = rnd.choice(MUTATIONS)
        mutation(rnd, ids, rnd.choice(requests))
        changes.append(mutation.__name__)
    data = b"".join(request.bytes() for request in requests)
    if rnd.random() < (0.15 if mutations else 0.3):
        for _ in range(rnd.choice([1, 1, 2, 4])):
            data, name = mutate_bytes(
                rnd, data or b"\r\n",
                lambda: b"".join(request_of(rnd, ids).bytes() for _ in range(2)))
            changes.append(name)
    expected = None
    if not changes:
        expected = [request.ident for request in requests] + [ids.prefix + b"probe"]
    return Stream("%s/%d" % (seed, number), data + probe(ids), expected, changes)
