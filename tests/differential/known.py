"""The differences between hcsd and others that are known, each with its reason.

What the test meets and does not find here fails it. So does an entry whose
example shows the difference no more. `python3 known.py` (with tests/ in PYTHONPATH)
prints them as the tables that docs/http.md shows.
"""

import re

from streams import Stream

# What was looked at: with other versions of these, a difference may go, and hcsd
# may be the stricter one in more.
VERSIONS = {"nginx": "1.22", "haproxy": "2.6"}
BOTH = ("nginx", "haproxy")
PROXY_NAMES = {"nginx": "nginx", "haproxy": "HAProxy"}


class Known:
    """kind and servers: as in a Difference. ends: why the one that saw fewer went
    no further. pattern: what the arena of the stream has to hold, a regular
    expression or a function. example: a request that shows it with each of the
    servers."""

    def __init__(self, kind, servers, ends, pattern, example, what, why):
        self.kind = kind
        self.servers = servers
        self.ends = ends.split() if isinstance(ends, str) else ends
        self.holds = pattern if callable(pattern) else re.compile(
            pattern, re.DOTALL | re.IGNORECASE).search
        self.example = Stream("the example for %r" % what, example.replace(b"@", ID) + PROBE)
        self.what = what
        self.why = why

    def explains(self, difference):
        """A refusal that answers HEAD comes without the word that names it."""
        return (difference.kind == self.kind and difference.server in self.servers and
                (difference.end in self.ends or
                 (self.kind == "fewer" and difference.end in ("400", "417", "501", "505"))) and
                bool(self.holds(difference.arena)))


ID = b"Host: x\r\nX-Request-ID: i0.1\r\n"
PROBE = b"GET / HTTP/1.1\r\nHost: x\r\nX-Request-ID: i0.probe\r\nConnection: close\r\n\r\n"


def fewer(servers, ends, pattern, example, what, why):
    return Known("fewer", servers, ends, pattern, example, what, why)


def more(servers, ends, pattern, example, what, why, framing=False):
    """framing: the difference may be about Content-Length and Transfer-Encoding;
    else it excuses no request in which both of them are."""
    known = Known("more", servers, ends, pattern, example, what, why)
    if not framing:
        holds = known.holds
        known.holds = lambda arena: any(
            holds(section) and not FRAMED_TWICE(section) for section in sections(arena))
    return known


def sections(arena):
    """Header sections, and what of bodies looks like them."""
    return [section + b"\r\n" for section in arena.split(b"\r\n\r\n")]


FRAMED_TWICE = re.compile(rb"\nTransfer-Encoding:.*\nContent-Length:|"
                          rb"\nContent-Length:.*\nTransfer-Encoding:",
                          re.DOTALL | re.IGNORECASE).search


def values(arena, name):
    return [value.strip(b" \t").lower() for value in
            re.findall(rb"\n%s:([^\r\n]*)" % name, arena, re.IGNORECASE)]


def close_is_part_of_a_word(arena):
    fields = values(arena, b"Connection")
    options = [option.strip(b" \t") for field in fields for option in field.split(b",")]
    return any(b"close" in field for field in fields) and b"close" not in options


def host_is_not_the_target_s(arena):
    for host, rest in re.findall(rb" https?://([^/? \r\n]*)([^ \r\n]*) ", arena, re.IGNORECASE):
        if values(arena, b"Host") != [host.lower()] or not rest.startswith(b"/"):
            return True
    return False


POST = b"POST / HTTP/1.1\r\n@Content-Length: 2\r\n"


def short_chunk(arena):
    """Whether a chunk's data lack an octet, so that the CR behind them is data."""
    for found in re.finditer(rb"\n([0-9a-fA-F]{1,8})[^\r\n]*\r\n", arena):
        end = found.end() + int(found.group(1), 16)
        if arena[end - 1:end + 1] == b"\r\n":
            return True
    return False


CHUNKED = b"POST / HTTP/1.1\r\n@Transfer-Encoding: chunked\r\n\r\n"

KNOWN = [
    # --- hcsd refuses what others take.
    fewer(BOTH, "bad-line-end bad-chunk", rb"(?<!\r)\n|\r(?!\n)", b"GET / HTTP/1.1\n@\r\n",
          "LF alone, or CR before something else, as the end of a line",
          "RFC 9112, 2.2 lets a server take LF alone; a server that does and one that does not see different lines"),
    fewer(BOTH, "bad-line-end", rb"\nContent-Length:",
          b"POST / HTTP/1.1\r\n@Content-Length: 1\r\n\r\n\r\n", "LF alone before a request line",
          "RFC 9112, 2.2 has a server ignore an empty line there; one of LF alone is none"),
    fewer(BOTH, "bad-request-line", rb"(\r\n){9}", b"\r\n" * 9 + b"GET / HTTP/1.1\r\n@\r\n",
          "More than eight empty lines before a request line",
          "RFC 9112, 2.2 has at least one ignored; without end they would outlast every timeout"),
    fewer(["nginx"], "bad-request-line", rb"HTTP/1\.[0-9] +\r",
          b"GET / HTTP/1.1 \r\n@\r\n", "White space behind the version",
          "RFC 9112, 3 leaves it open"),
    fewer(BOTH, "bad-request-line bad-target", rb"[ \t][ \t\x0b]|\t|  ",
          b"POST  / HTTP/1.1\r\n@Content-Length: 0\r\n\r\n",
          "White space in the request line other than two single spaces",
          "RFC 9112, 3 leaves it open; it moves the bounds of the target"),
    fewer(["nginx"], "bad-request-line", rb"HTTP/(0[0-9]|1\.[0-9]{2})",
          b"GET / HTTP/1.01\r\n@\r\n", "A version of more than two digits",
          "RFC 9112, 2.3: one digit, a dot, one digit"),
    fewer(["haproxy"], "unsupported-version", rb" HTTP/(?!1\.)",
          b"GET / HTTP/3.0\r\n@\r\n", "HTTP/0.9, 2.0, 3.0, ... in a request line",
          "505: the framing of these versions is not known"),
    fewer(BOTH, "unknown-method", rb"",
          b"FOO / HTTP/1.1\r\n@\r\n", "A method that is a token but none that HTTP knows",
          "501 and the end of the connection; a proxy hands it on to a server that may know it"),
    fewer(BOTH, "bad-target", rb'[ /][^ \r\n]*(["<>\\^`{|}\[\]#\x80-\xff]|%)',
          b"GET /{} HTTP/1.1\r\n@\r\n",
          "Octets in the target that RFC 3986 does not allow there",
          "RFC 9112, 3.2 asks for a 400; otherwise servers differ in how they read such octets"),
    fewer(BOTH, "bad-target", rb" (?!https?:)[a-z][a-z0-9+.-]*://",
          b"GET ftp://x/ HTTP/1.1\r\n@\r\n", "A target with a scheme other than http",
          "hcsd is no proxy for others"),
    fewer(BOTH, "bad-target", rb" https?://[^/ ]*:[0-9]{5}", b"GET http://x:99999/ HTTP/1.1\r\n"
          b"Host: x:99999\r\nX-Request-ID: i0.1\r\n\r\n", "A port above 65535", "There is none"),
    fewer(["haproxy"], "bad-target", rb"[A-Z] (https?:|/?[^/* ]|\*)",
          b"GET http:/// HTTP/1.1\r\n@\r\n", "A target in none of the four forms",
          "An absolute form without a host, or a path that does not start with a slash"),
    fewer(BOTH, "bad-field", rb"\n[^\r\n]*[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]",
          b"GET / HTTP/1.1\r\n@X: a\x01b\r\n\r\n", "Control octets in a field",
          "RFC 9110, 5.5; NUL, VT and FF end a value for some readers"),
    fewer(["nginx"], "bad-field", rb"\n([^:\r\n]*[^!#$%&'*+.^_`|~0-9A-Za-z:\r\n-][^:\r\n]*|):",
          b"GET / HTTP/1.1\r\n@X{: y\r\n\r\n",
          "A field name that is no token, or with a space before the colon",
          "RFC 9112, 5.1: a 400. nginx takes the request and forgets the field"),
    fewer(["nginx"], "bad-field", rb"\n[^:\r\n]+\r\n",
          b"GET / HTTP/1.1\r\n@X\r\n\r\n", "A field line without a colon",
          "As above: nginx forgets the line"),
    fewer(["haproxy"], "bad-field", rb"\r\n[ \t]",
          b"GET / HTTP/1.1\r\n@X: y\r\n z\r\n\r\n", "A folded line",
          "RFC 9112, 5.2: refused, or joined, as HAProxy does"),
    fewer(BOTH, "bad-field", rb"\nConnection:",
          b"GET / HTTP/1.1\r\n@Connection: (x)\r\n\r\n",
          "A Connection field that is no list of tokens",
          "It decides where the connection ends, so it has to be understood"),
    fewer(BOTH, "bad-field", rb"\nContent-Type:.*\nContent-Type:",
          b"GET / HTTP/1.1\r\n@Content-Type: a/b\r\nContent-Type: a/b\r\n\r\n",
          "Two Content-Type fields", "HTTP does not say which of them counts"),
    fewer(BOTH, "bad-field", rb"\nIf-(None-)?Match:", b"GET / HTTP/1.1\r\n@If-Match: x\r\n\r\n",
          "An If-Match or If-None-Match that is no list of entity tags",
          "RFC 9110, 13.1: what the client asked for is not known"),
    fewer(["haproxy"], "bad-host", rb"", b"GET / HTTP/1.1\r\nX-Request-ID: i0.1\r\n\r\n",
          "No Host, several, or one that is no host and port",
          "RFC 9112, 3.2 asks for a 400"),
    fewer(["nginx"], "bad-host", rb"\nHost:[^\r\n]*[^ a-z0-9.\r\n-]|HTTP/1\.1\r\n",
          b"GET / HTTP/1.1\r\nHost: x,y\r\nX-Request-ID: i0.1\r\n\r\n",
          "A Host that is no host and port", "RFC 9112, 3.2 asks for a 400"),
    fewer(["haproxy"], "bad-content-length", rb"\nContent-Length:[^\r\n]*,|"
          rb"\nContent-Length:.*\nContent-Length:",
          POST + b"Content-Length: 2\r\n\r\n{}",
          "Content-Length repeated, or a list, of equal numbers",
          "RFC 9110, 8.6 lets a server take one of them"),
    fewer(BOTH, "bad-content-length", rb"\nContent-Length:[ \t]*0[0-9]",
          b"POST / HTTP/1.1\r\n@Content-Length: 02\r\n\r\n{}", "Leading zeros in a length",
          "Digits, but octal to some"),
    fewer(["haproxy"], "bad-content-length", rb"\nContent-Length:[^\r\n]*\t",
          b"POST / HTTP/1.1\r\n@Content-Length: 2\t\r\n\r\n{}", "HTAB behind a length",
          "White space, but not to all readers"),
    fewer(["haproxy"], "bad-transfer-encoding", rb"\nTransfer-Encoding:.*\nContent-Length:|"
          rb"\nContent-Length:.*\nTransfer-Encoding:",
          POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
          "Transfer-Encoding and Content-Length",
          "RFC 9112, 6.1: refused, or read by the coding and closed afterwards; this is how"
          " requests are smuggled"),
    fewer(["haproxy"], "bad-transfer-encoding", rb" HTTP/1\.0",
          CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n", "Transfer-Encoding under HTTP/1.0",
          "RFC 9112, 6.1: its framing is to be taken for faulty"),
    fewer(["haproxy"], "bad-transfer-encoding unknown-transfer-coding",
          rb"\nTransfer-Encoding:[ \t]*\r\n|\nTransfer-Encoding:[^\r\n]*[,\t]",
          CHUNKED.replace(b"chunked", b"chunked,") + b"0\r\n\r\n",
          "A Transfer-Encoding with empty elements, an empty one beside another, HTAB around it",
          "Legal by the letter, but not understood by all in the same way"),
    fewer(["haproxy"], "bad-content-length", rb"\nContent-Length:[ \t]*[0-9]{20}",
          b"POST / HTTP/1.1\r\n@Content-Length: 18446744073709551616\r\n\r\n",
          "A length of 2^64", "HAProxy 2.6 takes this one number for 0; it hands it on as it is"),
    fewer(["nginx"], "closed", rb"\nConnection:.*\nConnection:",
          b"GET / HTTP/1.1\r\n@Connection: close\r\nConnection: keep-alive\r\n\r\n",
          "Connection: close, then another Connection field",
          "The field is a list, RFC 9110, 5.3; nginx heeds the last line of it"),
    fewer(BOTH, "bad-chunk", short_chunk, CHUNKED + b"3\r\n{}\r\n0\r\n\r\n",
          "LF alone behind a chunk's data", "As above; here CR is the last octet of the data"),
    fewer(BOTH, "bad-chunk", rb"\n[0-9a-f]+[ \t]", CHUNKED + b"2 \r\n{}\r\n0\r\n\r\n",
          "White space between a chunk's size and the end of its line",
          "RFC 9112, 7.1.1 has it around the signs of extensions only"),
    fewer(BOTH, "bad-chunk", rb"\n[0-9a-f]+[^\r\n]*;", CHUNKED + b"2;;\r\n{}\r\n0\r\n\r\n",
          "A chunk extension that does not follow its grammar, or is too long",
          "Others skip what stands there up to a line's end, of which they have different ideas"),
    fewer(BOTH, "bad-chunk", rb"\n0{10}", CHUNKED + b"00000000000000002\r\n{}\r\n0\r\n\r\n",
          "A chunk size of more than 15 digits", "No honest sender needs them"),
    fewer(BOTH, "bad-chunk", rb"\n0[^\n]*\n[^\r\n]",
          CHUNKED + b"0\r\nX: \x00\r\n\r\n", "Trailers that are no fields",
          "nginx skips whatever stands there, HAProxy takes folded lines and control octets"),
    fewer(BOTH, "bad-expectation", rb"\nExpect:", b"GET / HTTP/1.1\r\n@Expect: x\r\n\r\n",
          "An expectation other than 100-continue",
          "417, as RFC 9110, 10.1.1 provides; others ignore it"),
    fewer(BOTH, "unread", rb"", b"PUT / HTTP/1.1\r\n@Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
          "A chunked body of a request that is answered from its header section alone",
          "405, 404, 412, 415, 304, and what answers OPTIONS: the last reply, since the body is not read"),

    # --- Others refuse what hcsd takes. In each they lose nothing but the requests
    # behind it, for they close.
    more(["nginx"], "400", rb"OPTIONS \*", b"OPTIONS * HTTP/1.1\r\n@\r\n", "OPTIONS *",
         "RFC 9112, 3.2.4; nginx does not know the asterisk form"),
    more(["nginx"], "400", rb" [^ ]*(\.\.|%00)", b"GET /../x HTTP/1.1\r\n@\r\n",
         "A path that leads out of the root, or holds %00",
         "nginx decodes and normalizes a path before anything else; to hcsd, whose paths name no"
         " files, it is one that nothing is mapped to: 404"),
    more(["nginx"], "400", rb"\nHost:[^\r\n]*\.\.", b"GET / HTTP/1.1\r\nHost: x..y\r\n"
         b"X-Request-ID: i0.1\r\n\r\n", "A Host with two dots in a row",
         "RFC 3986, 3.2.2 allows it; which host it is hcsd does not ask"),
    more(["nginx"], "400", rb"\nHost:[^\r\n]*\t", b"GET / HTTP/1.1\r\nHost:\tx\r\n"
         b"X-Request-ID: i0.1\r\n\r\n", "HTAB beside a Host",
         "White space by RFC 9110, 5.6.3, but not to nginx"),
    more(["nginx"], "400", rb" https?://[^ /?]*[^ /?a-z0-9.:-]",
         b"GET http://%78/ HTTP/1.1\r\n@\r\n",
         "Percent-encoding or punctuation in the host of a target", "RFC 3986, 3.2.2 allows them"),
    more(["nginx"], "400", rb"\nExpect:.*\nExpect:",
         b"GET / HTTP/1.1\r\n@Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n",
         "Expect in several lines", "RFC 9110, 5.3: a list may be; nginx takes one line of it"),
    more(["nginx"], "405", rb"TRACE ", b"TRACE / HTTP/1.1\r\n@\r\n", "TRACE",
         "405 from both; nginx closes with it"),
    more(["nginx"], "closed", close_is_part_of_a_word,
         b"GET / HTTP/1.1\r\n@Connection: xclose\r\n\r\n",
         "A Connection field that contains \"close\"",
         "nginx looks for these letters anywhere in it, hcsd for the option"),
    more(["nginx"], "closed", rb" HTTP/1\.0.*\nConnection:[^\r\n]*keep-alive",
         b"GET / HTTP/1.0\r\n@Connection: keep-alive\r\n\r\n", "HTTP/1.0 with keep-alive",
         "Here nginx puts a body of unknown length into its reply, which only the end of the"
         " connection can end under 1.0"),
    more(["haproxy"], "413", rb" HTTP/1\.0",
         b"GET / HTTP/1.0\r\n@Connection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
         "A GET with a body under HTTP/1.0",
         "HAProxy fears that the server behind it ignores the length"),
    more(["haproxy"], "400", rb"\n0[^\n]*\n([^\r\n]+\r\n)*(Content-Length|Transfer-Encoding):",
         CHUNKED + b"0\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
         "Two Content-Length or Transfer-Encoding fields among the trailers",
         "hcsd throws trailers away, RFC 9110, 6.5.1; HAProxy looks at these", framing=True),
    more(["haproxy"], "400", rb"\n[^:\r\n]{256}",
         b"GET / HTTP/1.1\r\n@" + b"X" * 300 + b": y\r\n\r\n",
         "A field name of more than 255 octets", "A limit of HAProxy"),
    more(["haproxy"], "400", host_is_not_the_target_s, b"GET http://y/ HTTP/1.1\r\n@\r\n",
         "A target in absolute form whose host is not that of Host",
         "RFC 9112, 3.2.2: the target has the say. HAProxy wants them to be equal, byte by byte"
         " but for the default port, and knows no empty path"),
    more(["haproxy"], "400", rb"(\r\n[^\r\n]+){60}",
         b"GET / HTTP/1.1\r\n@" + b"".join(b"X-%d: \r\n" % i for i in range(101)) + b"\r\n",
         "More than 101 fields", "A setting of HAProxy (tune.http.maxhdr); 256 here"),
    more(["haproxy"], "400", rb"\nUpgrade:[^\r\n]*websocket",
         b"GET / HTTP/1.1\r\n@Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
         "An upgrade to WebSocket without Sec-WebSocket-Key",
         "HAProxy could not hand it on over HTTP/2; hcsd upgrades nothing and ignores it"),
]


def find(difference):
    """The first entry that explains it, or None."""
    return next((known for known in KNOWN if known.explains(difference)), None)


def table(kind):
    """The lines of a table in Markdown, one an entry."""
    others = "taken by" if kind == "fewer" else "refused by"
    lines = ["| what | %s | why |" % others, "|---|---|---|"]
    for known in KNOWN:
        if known.kind == kind:
            lines.append("| %s | %s | %s |" % (
                known.what, ", ".join(PROXY_NAMES[name] for name in known.servers), known.why))
    return [line.replace("2^64", "2<sup>64</sup>") for line in lines]


if __name__ == "__main__":
    print("hcsd refuses what others take:\n\n%s\n\nOthers refuse what hcsd takes:\n\n%s" % (
        "\n".join(table("fewer")), "\n".join(table("more"))))
