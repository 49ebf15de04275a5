"""Checks what the compiler does not check.

    check-layers.sh [--circles | --sizes] [ROOT]

    --circles  print only the circles between files
    --sizes    print only files and functions that are too long
    ROOT       the tree to check (default: the one that holds this script)

Rules:

  layers    a file includes only from the rooms that TABLE gives to its room
  calls     the same for functions and objects: a source that uses one of
            another room needs that room in TABLE
  circles   no circle between files. foo.c and foo.h count as one file. An edge
            is an #include, or the use of a function or object
  order     foo.c includes foo.h first, so that foo.h needs nothing before it
  build     src/CMakeLists.txt lists every source
  pure      src/http has no socket, no thread and no clock
  names     what a source offers to others is called hcs_... or HCS_...
  sizes     no file above 800 lines, no function above 80
  paths     a path that a text of the project names exists
  links     a page, and a heading, that a page links to exists
  lists     a place in a source that a list of tests/ names exists
  bytes     text is UTF-8, without invisible characters

Exit status: 0 when all holds, 1 with complaints, 2 when used wrongly.
"""

import bisect
import collections
import os
import re
import subprocess
import sys

# Which room may include which. The room of a file is its folder below src/, or
# the nearest folder above it in TABLE. "hcs" is the public header's folder.
ALL = ("handlers handlers/exec handlers/sql "
       "shard job observe guard http sync event base hcs")
TABLE = {
    "hcs": "hcs",
    "base": "base hcs",
    "sync": "sync base",
    "event": "event base",
    "http": "http base hcs",
    "guard": "guard http base hcs",
    "observe": "observe http base hcs",
    "job": "job guard observe http sync base hcs",
    "shard": "shard job observe guard http sync event base hcs",
    # Handlers know the public header alone, the built-in ones too: what they
    # would need from elsewhere, the handlers of other authors need as well.
    "handlers": "handlers hcs",
    "handlers/exec": "handlers/exec handlers hcs",
    "handlers/sql": "handlers/sql handlers hcs",
    "app": "app " + ALL,
    "main": "main app " + ALL,
}
TABLE = {room: rooms.split() for room, rooms in TABLE.items()}

# What src/http may not have: sockets, threads, clocks.
IMPURE_HEADERS = set("""
    fcntl.h netdb.h netinet/in.h netinet/tcp.h poll.h pthread.h sched.h
    semaphore.h signal.h stdatomic.h sys/epoll.h sys/eventfd.h sys/ioctl.h
    sys/random.h sys/select.h sys/signalfd.h sys/socket.h sys/syscall.h
    sys/time.h sys/timerfd.h sys/uio.h sys/un.h threads.h time.h unistd.h
    base/fdtable.h base/log.h base/random.h
    """.split())
IMPURE_CALLS = set("""
    accept accept4 bind clock clock_gettime clock_nanosleep close connect
    epoll_create1 epoll_ctl epoll_wait eventfd fork getsockopt gettimeofday
    hcs_clock_ms hcs_clock_ns hcs_clock_realtime_ms ioctl listen nanosleep open
    poll ppoll read readv recv recvfrom recvmsg select send sendmsg sendto
    setsockopt shutdown sleep socket socketpair syscall time usleep write writev
    """.split())
IMPURE_PREFIXES = ("atomic_", "cnd_", "hcs_log_", "mtx_", "pthread_", "sem_",
                   "thrd_")

FILE_LINES = 800
FUNCTION_LINES = 80

# Comments, string and character literals. What they hold is not code.
NOT_CODE = re.compile(
    r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*([<\"])([^>\"\n]*)[>\"]",
                     re.MULTILINE)
DEFINE = re.compile(r"[ \t]*#[ \t]*define[ \t]+\w+(?:\([^)]*\))?(.*)", re.DOTALL)
ATTRIBUTE = re.compile(
    r"__attribute__\s*\(\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)\)")
OFFERED = re.compile(r"(?<![\w.])(?:hcs|HCS)_\w+")
TAG = re.compile(r"\b(?:struct|union|enum)\s+$")
CALL = re.compile(r"(?<![\w.])(?<!->)([a-z]\w*)\s*\(")

# Paths in texts: those from the top, and those below src/ as pages write them.
PATH = re.compile(
    r"(?<![\w./$}{*<>-])((?:src|include|tests|bench|scripts|docs)"
    r"/[\w./-]*\w\.(?:c|h|py|sh|md|txt|pml|inc|lua))\b(?![\w*])")
BELOW_SRC = re.compile(
    r"(?<![\w./-])((?:base|sync|event|http|guard|observe|job|shard|handlers|app)"
    r"/[\w/]+\.[ch])\b")
LINK = re.compile(r"\]\((?![a-z]+:)([^)\s#]*)(?:#([^)\s]*))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
NOT_TEXT = (".png", ".svg", ".gz")
# These name paths of trees that tests make up.
MADE_UP = ("tests/scripts/", "scripts/check_layers.py")

# Zero-width characters, directional marks, invisible operators, byte order mark.
UNSEEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def blank(match):
    """What stands for the match: as long, with the same line ends."""
    return re.sub(r"[^\n]", " ", match.group())


def without_literals(match):
    """Comments go; a literal leaves its quotes, so that it remains a value."""
    text = match.group()
    if text[0] == "/":  # it may stand in a macro of several lines
        return re.sub(r"\\(?!\n)|[^\n\\]", " ", text)
    return text[0] + " " * (len(text) - 2) + text[-1]


class Definition:
    def __init__(self, name, line, lines, public):
        self.name = name
        self.line = line
        self.lines = lines  # 0 for an object
        self.public = public


class Source:
    """A file of src/ or include/, read as far as the rules need it."""

    def __init__(self, path, text):
        self.path = path
        self.name = re.sub(r"^(src|include)/", "", path)
        self.node = re.sub(r"\.[ch]$", "", self.name)
        self.room = room_of(path)
        self.line_count = text.count("\n")
        self.starts = [0] + [at.end() for at in re.finditer("\n", text)]
        self.includes = []  # (line, quote, name)
        for found in INCLUDE.finditer(text):
            self.includes.append(
                (self.line(found.start()), found.group(1), found.group(2)))
        self.plain = NOT_CODE.sub(without_literals, text)
        code = DIRECTIVE.sub(blank, self.plain)
        self.definitions = []
        self.code = []  # (offset, text) that is executed or initialises
        self.read_top_level(code)
        for found in DIRECTIVE.finditer(self.plain):
            macro = DEFINE.match(found.group())
            if macro:
                self.code.append((found.start() + macro.start(1), macro.group(1)))

    def line(self, offset):
        return bisect.bisect_right(self.starts, offset)

    def read_top_level(self, code):
        """Cuts the code into statements of the file's own level."""
        depth = 0
        start = 0
        body = None  # where the first brace of this statement opens
        for found in re.finditer(r"[{};]", code):
            at = found.start()
            if found.group() == "{":
                if depth == 0 and body is None:
                    body = at
                depth += 1
                continue
            if found.group() == "}":
                depth = max(0, depth - 1)
                if depth == 0 and self.take_function(code, start, body, at):
                    start, body = at + 1, None
                continue
            if depth == 0:
                self.take_statement(code, start, body, at)
                start, body = at + 1, None

    def take_function(self, code, start, body, end):
        if body is None:
            return False
        head = ATTRIBUTE.sub(blank, code[start:body])
        if "(" not in head or "=" in head:
            return False
        found = re.search(r"(\w+)\s*\(", head)
        if not found:
            return False
        first = self.line(start + len(head) - len(head.lstrip()))
        lines = self.line(end) - first + 1
        public = not re.search(r"\bstatic\b", head)
        self.definitions.append(
            Definition(found.group(1), first, lines, public))
        self.code.append((body, code[body:end]))
        return True

    def take_statement(self, code, start, body, end):
        """A declaration, an object, or a type."""
        text = ATTRIBUTE.sub(blank, code[start:end])
        # A "=" behind a brace is that of an enum's constant.
        before_brace = text[:(end if body is None else body) - start]
        head, equals, _ = before_brace.partition("=")
        if equals:
            self.code.append((start + len(head), text[len(head):]))
        elif "(" in head and body is None:
            return  # a declaration
        elif body is not None:
            head = re.sub(r"\{.*\}", " ", text, flags=re.DOTALL)
        words = re.findall(r"\w+", re.sub(r"\[[^]]*\]", " ", head))
        if len(words) < 2 or words[0] in (
                "typedef", "extern", "static_assert", "_Static_assert"):
            return
        if re.search(r"\b(struct|union|enum)\s+\w*\s*$", head):
            return  # a type alone
        line = self.line(start + len(head) - len(head.lstrip()))
        self.definitions.append(
            Definition(words[-1], line, 0, "static" not in words))

    def declared(self):
        """Functions that a header declares, also inside extern "C"."""
        return re.findall(r"\b(hcs_\w+)\s*\(", self.plain)

    def uses(self):
        """(name, line) of each mention of what may be another file's."""
        own = {one.name for one in self.definitions}
        for offset, text in self.code:
            for found in OFFERED.finditer(text):
                name = found.group()
                before = text[max(0, found.start() - 10):found.start()]
                if name in own or before.endswith("->") or TAG.search(before):
                    continue
                yield name, self.line(offset + found.start())


def room_of(path):
    if path.startswith("include/"):
        return os.path.dirname(path)[len("include/"):]
    folder = os.path.dirname(path)[len("src/"):]
    room = folder
    while room and room not in TABLE:
        room = os.path.dirname(room)
    return room or folder or "main"


class Tree:
    def __init__(self, root):
        self.root = root
        self.files = list_files(root)
        self.complaints = []
        self.texts = {}
        self.read_texts()
        self.sources = [
            Source(path, self.texts[path]) for path in self.files
            if path in self.texts and re.match(r"(src|include)/.*\.[ch]$", path)]
        self.by_name = {source.name: source for source in self.sources}
        self.edges = collections.defaultdict(dict)  # from, to: {name: where}

    def complain(self, text):
        self.complaints.append(text)

    def read_texts(self):
        for path in self.files:
            if path.endswith(NOT_TEXT):
                continue
            with open(os.path.join(self.root, path), "rb") as file:
                data = file.read()
            try:
                self.texts[path] = data.decode("utf-8")
            except UnicodeDecodeError:
                self.complain(f"{path}: not UTF-8")

    # --- the rules

    def check_bytes(self):
        for path, text in self.texts.items():
            if CONTROL.search(text):
                self.complain(f"{path}: has control characters")
            for found in UNSEEN.finditer(text):
                line = text.count("\n", 0, found.start()) + 1
                self.complain(f"{path}:{line}: has a character that cannot be "
                              f"seen (U+{ord(found.group()):04X})")

    def check_includes(self):
        folders = {room.partition("/")[0] for room in TABLE}
        folders.update(source.room.partition("/")[0] for source in self.sources)
        for source in self.sources:
            may = TABLE.get(source.room)
            if may is None:
                self.complain(
                    f"{source.path}: no room is called {source.room} (TABLE in "
                    "scripts/check_layers.py)")
                continue
            for line, quote, name in source.includes:
                here = f"{source.path}:{line}"
                if quote == '"' and "/" not in name:
                    self.complain(f'{here}: write "{name}" relative to src')
                    continue
                if quote == "<" and name.partition("/")[0] not in folders:
                    continue  # a system's header
                target = self.by_name.get(name)
                if target is None:
                    continue  # check_paths says so
                self.add_edge(source, target.node, f"#include {name}", line)
                if target.room not in may:
                    self.complain(
                        f"{here}: {source.room} may not include {name} "
                        f"(only from: {' '.join(may)})")

    def check_own_header_first(self):
        for source in self.sources:
            own = source.node + ".h"
            if not source.name.endswith(".c") or own not in self.by_name:
                continue
            first = source.includes[0][2] if source.includes else "nothing"
            if first != own:
                self.complain(f"{source.path}: includes {first} before its "
                              f"own \"{own}\"")

    def check_build(self):
        listed = set(re.findall(
            r"[\w/.-]+\.c\b", self.texts.get("src/CMakeLists.txt", "")))
        for source in self.sources:
            if source.path.startswith("src/") and source.name.endswith(".c") \
                    and source.name not in listed:
                self.complain(f"{source.path}: not in src/CMakeLists.txt")

    def check_names(self):
        for source in self.sources:
            for one in source.definitions:
                if one.public and one.name != "main" and \
                        not OFFERED.fullmatch(one.name):
                    self.complain(
                        f"{source.path}:{one.line}: {one.name} is neither "
                        "static nor called hcs_...")

    def check_uses(self):
        """Adds the edges that calls make, and holds them against the table."""
        definers = collections.defaultdict(list)
        public = {}  # declared in the public header
        for source in self.sources:
            for one in source.definitions:
                if one.public:
                    definers[one.name].append(source)
            if source.room == "hcs":
                public.update((name, source) for name in source.declared())
        for source in self.sources:
            may = TABLE.get(source.room, [])
            for name, line in source.uses():
                for target in definers.get(name, ()):
                    if name in public and "http" not in may:
                        target = public[name]  # known by the header alone
                    self.add_edge(source, target.node, name, line)
                    if target.room not in may:
                        self.complain(
                            f"{source.path}:{line}: {source.room} may not use "
                            f"{name} of {target.path}")

    def add_edge(self, source, node, name, line):
        if node != source.node:
            self.edges[source.node].setdefault(node, {}).setdefault(
                name, f"{source.path}:{line}")

    def check_circles(self):
        for members in strong_components(self.edges):
            shown = set()
            for node in sorted(members):
                if node not in shown:
                    circle = shortest_circle(self.edges, node, members)
                    shown.update(circle)
                    self.complain(self.draw(circle))

    def draw(self, circle):
        lines = ["circle: " + " > ".join(circle)]
        for here, there in zip(circle, circle[1:]):
            names = sorted(self.edges[here][there].items())
            shown = [f"{name} ({where})" for name, where in names[:4]]
            if len(names) > 4:
                shown.append(f"{len(names) - 4} more")
            lines.append(f"    {here} > {there}: " + ", ".join(shown))
        return "\n".join(lines)

    def check_pure(self):
        for source in self.sources:
            if source.room != "http":
                continue
            for line, _, name in source.includes:
                if name in IMPURE_HEADERS:
                    self.complain(f"{source.path}:{line}: http is pure: no "
                                  f"socket, thread or clock, so no {name}")
            own = {one.name for one in source.definitions}
            for offset, text in source.code:
                for found in CALL.finditer(text):
                    name = found.group(1)
                    if name not in own and (
                            name in IMPURE_CALLS or
                            name.startswith(IMPURE_PREFIXES)):
                        line = source.line(offset + found.start())
                        self.complain(
                            f"{source.path}:{line}: http is pure: no socket, "
                            f"thread or clock, so no {name}()")

    def check_sizes(self):
        for source in self.sources:
            if not source.path.startswith("src/"):
                continue
            if source.line_count > FILE_LINES:
                self.complain(f"{source.path}: has {source.line_count} lines; "
                              f"the most is {FILE_LINES}")
            for one in source.definitions:
                if one.lines > FUNCTION_LINES:
                    self.complain(
                        f"{source.path}:{one.line}: {one.name} has {one.lines} "
                        f"lines; the most is {FUNCTION_LINES}")

    def check_paths(self):
        there = set(self.files)
        for path, text in self.texts.items():
            if path.startswith(MADE_UP):
                continue
            named = [(found, found.group(1)) for found in PATH.finditer(text)]
            named += [(found, "src/" + found.group(1))
                      for found in BELOW_SRC.finditer(text)]
            for found, name in named:
                if name not in there:
                    line = text.count("\n", 0, found.start()) + 1
                    self.complain(f"{path}:{line}: there is no {name}")

    def check_links(self):
        for path, text in self.texts.items():
            if not path.endswith(".md"):
                continue
            for found in LINK.finditer(text):
                name, heading = found.groups()
                target = os.path.normpath(
                    os.path.join(os.path.dirname(path), name)) if name else path
                line = text.count("\n", 0, found.start()) + 1
                if not os.path.exists(os.path.join(self.root, target)):
                    self.complain(f"{path}:{line}: there is no {target}")
                elif heading and heading not in self.headings_of(target):
                    self.complain(
                        f"{path}:{line}: {target} has no heading #{heading}")

    def headings_of(self, path):
        """The headings of a page, as links name them."""
        return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
                for heading in HEADING.findall(self.texts.get(path, ""))]

    def check_lists(self):
        """Entries FILE FUNCTION of the lists that name places in sources; in
        the list of uncovered lines also the text behind FUNCTION."""
        for path in ("tests/coverage-exceptions.txt",
                     "tests/model/operations.txt"):
            lines = self.texts.get(path, "").splitlines()
            for number, line in enumerate(lines, 1):
                found = re.match(r"src/(\S+\.[ch]) (\w+)\b(?:: (.+))?", line)
                source = found and self.by_name.get(found.group(1))
                if not source:
                    continue
                bodies = [self.lines_of(source, one)
                          for one in source.definitions
                          if one.name == found.group(2)]
                if not bodies:
                    self.complain(f"{path}:{number}: {source.path} has no "
                                  f"{found.group(2)}")
                elif found.group(3) not in (None, "*") and not any(
                        " ".join(found.group(3).split()) in body
                        for body in bodies):
                    self.complain(f"{path}:{number}: {found.group(2)} has no "
                                  f"line {found.group(3)}")

    def lines_of(self, source, one):
        lines = self.texts[source.path].splitlines()
        return [" ".join(line.split())
                for line in lines[one.line - 1:one.line - 1 + one.lines]]


def list_files(root):
    """Paths of the project: what git knows or would take, else all but
    builds."""
    if os.path.exists(os.path.join(root, ".git")):
        output = subprocess.run(
            ["git", "-C", root, "ls-files", "-z", "-co", "--exclude-standard"],
            capture_output=True, check=True).stdout.decode("utf-8")
        paths = set(filter(None, output.split("\0")))
        return sorted(path for path in paths
                      if os.path.isfile(os.path.join(root, path)))
    paths = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders
                      if not name.startswith("build") and
                      name not in ("__pycache__", ".cache")]
        for name in names:
            paths.append(os.path.relpath(os.path.join(folder, name), root))
    return sorted(path for path in paths
                  if os.path.isfile(os.path.join(root, path)))


def strong_components(edges):
    """Sets of two nodes or more that all reach each other (Tarjan)."""
    index = {}
    low = {}
    stack = []
    found = []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            members = set(stack[stack.index(node):])
            del stack[stack.index(node):]
            if len(members) > 1:
                found.append(members)

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def shortest_circle(edges, start, members):
    """The nodes of a shortest way from start back to start."""
    came_from = {}
    line = collections.deque([start])
    while line:
        node = line.popleft()
        for other in sorted(edges[node]):
            if other == start:
                way = [start]
                while node != start:
                    way.append(node)
                    node = came_from[node]
                return [start] + way[:0:-1] + [start]
            if other in members and other not in came_from:
                came_from[other] = node
                line.append(other)
    raise AssertionError(f"{start} is in no circle")


def main(arguments):
    options = {one for one in arguments if one.startswith("-")}
    roots = [one for one in arguments if not one.startswith("-")]
    if options & {"-h", "--help"}:
        print(__doc__, end="")
        return 0
    if options - {"--circles", "--sizes"} or len(roots) > 1:
        print("check-layers: unknown option; see --help", file=sys.stderr)
        return 2
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    root = roots[0] if roots else top
    if not os.path.isdir(os.path.join(root, "src")):
        print(f"check-layers: there is no {root}/src", file=sys.stderr)
        return 2

    tree = Tree(root)
    tree.check_includes()
    tree.check_uses()
    if options:
        tree.complaints.clear()
    if not options or "--circles" in options:
        tree.check_circles()
    if not options or "--sizes" in options:
        tree.check_sizes()
    if not options:
        tree.check_own_header_first()
        tree.check_build()
        tree.check_names()
        tree.check_pure()
        tree.check_paths()
        tree.check_links()
        tree.check_lists()
        tree.check_bytes()

    for complaint in tree.complaints:
        print(complaint)
    count = len(tree.complaints)
    if count:
        print(f"check-layers: {count} complaint{'s' if count > 1 else ''}")
        return 1
    print(f"check-layers: {len(tree.sources)} sources, "
          f"{len(tree.texts)} texts: no complaint")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
