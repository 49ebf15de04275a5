"""What differs between hcsd's view of a stream and another server's."""

import json
import re

from observe import NOT_JSON, NO_OBJECT


class Difference:
    """kind: "fewer", hcsd saw fewer requests than the other; "more"; or "other",
    both took something for one request, but not the same. end: why the one that
    saw fewer went no further. arena: the bytes of the stream in which it
    happened, from the last request on that both saw."""

    def __init__(self, kind, server, end, arena, text):
        self.kind = kind
        self.server = server
        self.end = end
        self.arena = arena
        self.text = text

    def key(self):
        return self.kind, self.server, self.end

    def __repr__(self):
        return "%s: %s" % (self.server, self.text)


def same_body(ours, theirs):
    """ours: what hcsd told of a body, which is the member "data" of an object,
    null when it has none, or when there is no body."""
    if ours is None or theirs is None:
        return True
    if ours in (NOT_JSON, NO_OBJECT):
        return theirs != b""
    if theirs == b"":
        return ours == b"null"
    try:
        value = json.loads(theirs.decode())
    except ValueError:
        return False
    return isinstance(value, dict) and (ours in theirs or ("data" not in value and ours == b"null"))


def places(data, ident):
    """Where the id stands: as the value of its field, or else anywhere."""
    ident = re.escape(ident)
    return ([found.start() for found in re.finditer(b": *" + ident + rb"\s", data)] or
            [found.start() for found in re.finditer(ident + rb"(?!\w)", data)])


def arena(stream, before, after):
    """The bytes from the version and the fields of one request to the id of
    another; None is the stream's start or end."""
    data = stream.data
    starts = places(data, before) if before else []
    ends = places(data, after) if after else []
    start = max(data.rfind(b" HTTP/", 0, starts[0]), 0) if starts else 0
    return data[start:ends[-1]] if ends and ends[-1] > start else data[start:]


def difference(stream, server, ours, theirs):
    """The first Difference, or None. ours is hcsd's view. What was perhaps seen
    counts for us when it is about too few, and not when it is about too many."""
    for number, (a, b) in enumerate(zip(ours.seen, theirs.seen)):
        last = ours.seen[number - 1].ident if number else None
        if a.ident and b.ident and a.ident != b.ident:
            text = "request %d is %r to hcsd, and %r to %s" % (number + 1, a, b, server)
        elif not same_body(a.body, b.body):
            text = "request %d has the body %r to hcsd (\"data\"), and %r to %s" % (
                number + 1, a.body, b.body, server)
        else:
            continue
        return Difference("other", server, "", arena(stream, last, None), text)
    n, m = len(ours.seen), len(theirs.seen)
    if n > m:
        return Difference(
            "more", server, theirs.end,
            arena(stream, ours.seen[m - 1].ident if m else None,
                   ours.seen[m + 1].ident if m + 1 < n else None),
            "hcsd saw %d requests, %s %d and then %s" % (n, server, m, theirs.end or "no more"))
    if n + len(ours.maybe) < m:
        n += len(ours.maybe)
        return Difference(
            "fewer", server, ours.end,
            arena(stream, theirs.seen[n - 1].ident if n else None,
                   theirs.seen[n + 1].ident if n + 1 < m else None),
            "hcsd saw %d requests and then %s, %s %d" % (n, ours.end or "no more", server, m))
    return None
