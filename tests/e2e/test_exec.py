"""Programs that people bring: exec, with children of every kind."""
# ctest: timeout=300 builds=release,asan,tsan slow

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse

import harness
from harness import HCSD, Daemon, get_bytes, post_bytes

HERE = os.path.dirname(os.path.abspath(__file__))
PLAYER = os.path.join(HERE, "exec_player.py")
EXAMPLES = os.path.join(HERE, "../../docs/examples/exec")
EX_CONFIG = 78
NOBODY = 65534


def quoted(value):
    return urllib.parse.quote(str(value), safe="/")


def exec_route(program, *args, path="/", **settings):
    pairs = [("arg", arg) for arg in args] + sorted(settings.items())
    query = "&".join("%s=%s" % (name, quoted(value)) for name, value in pairs)
    return "%s=exec:%s%s" % (path, quoted(program), "?" + query if query else "")


def player(*args, **settings):
    return exec_route(sys.executable, PLAYER, *args, **settings)


def is_gone(pid):
    """Neither running nor a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


class ExecTest(harness.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def start(self, **settings):
        """Ready for jobs, and not only for connections."""
        daemon = super().start(**settings)
        self.eventually(lambda: daemon.get("/readyz").status == 200, "children")
        return daemon

    def file(self, name):
        return os.path.join(self.folder.name, name)

    def script(self, name, text):
        path = self.file(name)
        with open(path, "w") as out:
            out.write(text)
        os.chmod(path, 0o755)
        return path

    def start_player(self, *args, settings=None, **daemon):
        daemon.setdefault("WORKERS", 1)
        return self.start(HANDLERS=player(*args, **(settings or {})), **daemon)

    def do(self, daemon, what, **more):
        """What the player answers."""
        reply = daemon.post(json.dumps({"do": what, **more}))
        self.assertEqual(reply.status, 200, reply)
        return reply.json()

    def refuse(self, daemon, expected, problem, detail, what, **more):
        reply = daemon.post(json.dumps({"do": what, **more}))
        self.assertEqual(reply.status, expected, reply)
        self.assertEqual(reply.problem(), problem)
        self.assertIn(detail, reply.json()["detail"])

    def logged(self, daemon, text):
        self.eventually(lambda: text in daemon.output(), "%r in the log" % text)

    def figures(self, daemon):
        return daemon.metrics()["handlers"][0]["figures"]

    def gone(self, pid):
        self.eventually(lambda: is_gone(pid), "the end of %d" % pid)

    def read_pids(self, name):
        path = self.file(name)
        self.eventually(lambda: os.path.exists(path), path)
        with open(path) as text:
            return json.load(text)


class Examples(ExecTest):
    def check(self, program):
        daemon = self.start(HANDLERS=exec_route(program), WORKERS=1)
        for text, upper in [("abc", "ABC"), ("a\nb\"c\\", "A\nB\"C\\"), ("", ""),
                            ("x" * 200000, "X" * 200000), ("a\u2028b\u2029c", "A\u2028B\u2029C")]:
            for ascii_only in (True, False):
                body = json.dumps({"text": text, "more": [1, None]}, indent=1,
                                  ensure_ascii=ascii_only)
                reply = daemon.post(body)
                self.assertEqual(reply.status, 200, reply)
                self.assertEqual(reply.json(), {"text": upper})
        for body in ('{"text": 1}', "[]", "null", '"text"', "{}"):
            reply = daemon.post(body)
            self.assertEqual(reply.status, 422, reply)
            self.assertEqual(reply.json()["detail"], "text must be a string")
        self.assertEqual(daemon.get("/").status, 422)
        self.assertEqual(self.figures(daemon)["exec_starts_total"], 1)

    def test_python(self):
        self.check(os.path.join(EXAMPLES, "upper.py"))

    @unittest.skipUnless(shutil.which("node"), "no node here")
    def test_node(self):
        self.check(os.path.join(EXAMPLES, "upper.js"))

    @unittest.skipUnless(shutil.which("jq"), "no jq here")
    def test_shell(self):
        self.check(os.path.join(EXAMPLES, "upper.sh"))

    @unittest.skipUnless(shutil.which("go"), "no go here")
    def test_go(self):
        program = self.file("upper")
        env = dict(os.environ, GOCACHE=self.file("cache"), GOFLAGS="", GOTOOLCHAIN="local",
                   GO111MODULE="off", CGO_ENABLED="0", GOMAXPROCS="2")
        subprocess.run(["go", "build", "-o", program, os.path.join(EXAMPLES, "upper.go")],
                       check=True, env=env, cwd=self.folder.name)
        self.check(program)

    def test_documents_show_each(self):
        with open(os.path.join(HERE, "../../docs/exec.md")) as text:
            said = text.read()
        for name in os.listdir(EXAMPLES):
            self.assertIn("examples/exec/" + name, said)


class Protocol(ExecTest):
    def test_line_tells_the_job(self):
        daemon = self.start_player(settings={"path": "/a'b"})
        body = '{"do": "line",\r\n "n": 9007199254740993,\n "s": "\\n"}'
        reply = daemon.post(body, path='/a%27b?x=%221%22&y=%5C',
                            headers="X-Request-ID: test-123\r\n")
        self.assertEqual(reply.status, 200, reply)
        self.assertEqual(reply.json()["line"], {
            "id": "1", "request_id": "test-123", "method": "POST", "path": "/a%27b",
            "query": 'x=%221%22&y=%5C', "deadline_ms": None,
            "body": {"do": "line", "n": 9007199254740993, "s": "\n"}})
        line = daemon.get("/a%27b").json()["line"]
        self.assertEqual((line["id"], line["method"], line["query"], line["body"]),
                         ("2", "GET", None, None))

    def test_line_tells_the_deadline(self):
        daemon = self.start_player(JOB_TIMEOUT="50s")
        left = self.do(daemon, "line")["line"]["deadline_ms"]
        self.assertGreater(left, 0)
        self.assertLessEqual(left, 50000)

    def test_bodies_pass_byte_for_byte(self):
        daemon = self.start(HANDLERS=exec_route("cat"), WORKERS=1)
        body = '{"a":1e400,"a":-0.0 , "\\u0041":"\\ud83d\\ude00","b":9007199254740993}'
        reply = daemon.post(body)
        self.assertEqual(reply.body.decode(), body)
        self.assertEqual(reply.headers["content-type"], "application/json")

    def test_both_pipes_may_be_full(self):
        # cat answers the first part while the last is not yet written.
        daemon = self.start(HANDLERS=exec_route("cat"), WORKERS=1, MAX_BODY_SIZE="12MiB")
        for size in (64 * 1024 - 60, 1 << 17, 10 << 20):
            body = '"' + "x" * size + '"'
            self.assertEqual(daemon.post(body).body.decode(), body)
        self.assertEqual(self.figures(daemon)["exec_starts_total"], 1)

    def test_status_may_be_another(self):
        daemon = self.start_player()
        for status in (200, 201, 404, 503):
            reply = daemon.post(json.dumps(
                {"do": "raw", "parts": ['{"id":"ID","status":%d,"body":[1, 2]}\n' % status]}))
            self.assertEqual((reply.status, reply.body), (status, b"[1, 2]"))
        reply = daemon.post(json.dumps({"do": "raw", "parts": ['{"status":204,"id":"ID"}\n']}))
        self.assertEqual((reply.status, reply.body), (204, b""))
        self.assertEqual(self.figures(daemon)["exec_deaths_total"], 0)

    def test_fields_go_with_the_answer(self):
        daemon = self.start_player()
        reply = daemon.post(json.dumps({"do": "raw", "parts": [
            '{"id":"ID","status":303,"fields":{"Location":"\\/jobs/7","X-\\u0041":"b c"},'
            '"body":null}\n']}))
        self.assertEqual((reply.status, reply.body), (303, b"null"))
        self.assertEqual(reply.headers["location"], "/jobs/7")
        self.assertEqual(reply.headers["x-a"], "b c")
        reply = daemon.post(json.dumps({"do": "raw", "parts": [
            '{"id":"ID","fields":{},"body":1}\n']}))
        self.assertEqual((reply.status, reply.body), (200, b"1"))
        self.assertEqual(self.figures(daemon)["exec_deaths_total"], 0)

    def test_errors_are_problems(self):
        daemon = self.start_player()
        for members, status, problem in [
                ('"error":"no \\"good\\" too"', 422, "invalid-job"),
                ('"error":"no \\"good\\" too","status":422', 422, "invalid-job"),
                ('"error":"no \\"good\\" too","status":500', 500, None),
                ('"error":"no \\"good\\" too","status":503', 503, None)]:
            reply = daemon.post(json.dumps({"do": "raw", "parts": ['{"id":"ID",%s}\n' % members]}))
            self.assertEqual(reply.status, status, reply)
            self.assertEqual(reply.json()["detail"], 'no "good" too')
            if problem:
                self.assertEqual(reply.problem(), problem)
        self.assertEqual(self.figures(daemon)["exec_deaths_total"], 0)

    def test_line_may_come_in_pieces(self):
        daemon = self.start_player()
        reply = daemon.post(json.dumps(
            {"do": "raw", "parts": ['{"id":', 0.05, '"ID","bo', 0.05, 'dy":1}', 0.05, "\n"]}))
        self.assertEqual((reply.status, reply.body), (200, b"1"))

    def test_nonsense_costs_its_job_alone(self):
        daemon = self.start_player()
        cases = [
            ("\n", "not JSON"),
            ("hello\n", "not JSON"),
            ('{"id":"ID","body":01}\n', "not JSON"),
            ("[]\n", "without an id"),
            ("null\n", "without an id"),
            ('{"body":1}\n', "without an id"),
            ('{"id":1,"body":1}\n', "another job"),
            ('{"id":"0","body":1}\n', "another job"),
            ('{"id":"ID%s","body":1}\n' % ("0" * 300), "another job"),
            ('{"id":"ID"}\n', "neither a body nor an error"),
            ('{"id":"ID","body":1,"error":"x"}\n', "both a body and an error"),
            ('{"id":"ID","error":1}\n', "not a string"),
            ('{"id":"ID","error":"x","status":200}\n', "other than 422"),
            ('{"id":"ID","body":1,"status":99}\n', "status that a handler may not give"),
            ('{"id":"ID","body":1,"status":"200"}\n', "status that a handler may not give"),
            ('{"id":"ID","body":1,"status":2e2}\n', "status that a handler may not give"),
            ('{"id":"ID","body":1,"status":101}\n', "status that a handler may not give"),
            ('{"id":"ID","body":1,"status":401}\n', "status that a handler may not give"),
            ('{"id":"ID","body":1,"fields":[]}\n', "fields that are not an object"),
            ('{"id":"ID","body":1,"fields":{"X":1}}\n', "field that a handler may not give"),
            ('{"id":"ID","body":1,"fields":{"X Y":"1"}}\n', "field that a handler may not give"),
            ('{"id":"ID","body":1,"fields":{"X":"1\\r\\nY: 2"}}\n', "field that a handler may not give"),
            ('{"id":"ID","body":1,"fields":{"X":"1\\u00002"}}\n', "field that a handler may not give"),
            ('{"id":"ID","body":1,"fields":{"X\\u0000Y":"1"}}\n', "field that a handler may not give"),
            ('{"id":"ID","body":1,"fields":{"Content-Length":"1"}}\n',
             "field that a handler may not give"),
            ('{"id":"ID","body":1}\n{"id":"ID","body":1}\n', "more than one line"),
            ('{"id":"ID","body":1}\n{', "more than one line"),
        ]
        pids = {self.do(daemon, "pid")}
        for text, detail in cases:
            with self.subTest(text=text):
                self.refuse(daemon, 502, "handler-died", detail, "raw", parts=[text])
                pids.add(self.do(daemon, "pid"))
        self.assertEqual(len(pids), len(cases) + 1)
        self.assertEqual(self.figures(daemon)["exec_deaths_total"], len(pids) - 1)

    def test_answer_before_the_job_was_read_is_nonsense(self):
        # It begins to read, answers, and reads no more: the job is larger than
        # its pipe.
        program = self.script("early.sh", "#!/bin/sh\nhead -c 10 > /dev/null\n"
                              "echo '{\"id\":\"1\",\"body\":1}'\nexec sleep 1000\n")
        daemon = self.start(HANDLERS=exec_route(program), WORKERS=1, MAX_BODY_SIZE="2MiB")
        reply = daemon.post('"%s"' % ("x" * 1000000))
        self.assertEqual(reply.status, 502, reply)
        self.assertIn("before it had read the whole job", reply.json()["detail"])

    def test_talking_out_of_turn_costs_no_job(self):
        daemon = self.start_player()
        first = self.do(daemon, "pid")
        reply = daemon.post(json.dumps(
            {"do": "raw", "parts": ['{"id":"ID","body":1}\n', 0.2, '{"id":"3","body":"wrong"}\n'],
             "file": self.file("said")}))
        self.assertEqual((reply.status, reply.body), (200, b"1"))
        self.eventually(lambda: os.path.exists(self.file("said")), "the second line")
        self.assertNotEqual(self.do(daemon, "pid"), first)
        self.logged(daemon, "wrote a line although it had no job")
        self.gone(first)


class Deaths(ExecTest):
    def test_end_says_its_status(self):
        daemon = self.start_player()
        self.refuse(daemon, 502, "handler-died", "ended with status 3", "leave", status=3)
        self.assertGreater(self.do(daemon, "pid"), 0)
        self.refuse(daemon, 502, "handler-died", "killed by signal 9", "die", signal=9)
        self.assertGreater(self.do(daemon, "pid"), 0)
        self.refuse(daemon, 502, "handler-died", "closed its standard", "close")
        self.assertGreater(self.do(daemon, "pid"), 0)
        figures = self.figures(daemon)
        self.assertEqual(figures["exec_children"], 1)
        self.assertEqual(figures["exec_starts_total"], 4)
        self.assertEqual(figures["exec_deaths_total"], 3)

    def test_orphan_with_the_pipes_does_not_hide_the_end(self):
        daemon = self.start_player()
        for _ in range(2):
            self.refuse(daemon, 502, "handler-died", "ended with status 3", "leave",
                        status=3, orphan=True)
            self.assertGreater(self.do(daemon, "pid"), 0)
        orphans = [pid for pid in children_of(children_of(daemon.pid)[0])
                   if open("/proc/%d/comm" % pid).read() == "sleep\n"]
        self.assertEqual(len(orphans), 2)
        self.assertEqual(daemon.stop(), 0)
        self.assertTrue(all(is_gone(pid) for pid in orphans))

    def test_others_go_on(self):
        daemon = self.start_player(WORKERS=3)
        client = self.client(daemon)
        client.send(post_bytes(json.dumps(
            {"do": "hang", "file": self.file("pids"), "until": self.file("flag")})))
        child, _ = self.read_pids("pids")
        self.refuse(daemon, 502, "handler-died", "signal 11", "die", signal=11)
        self.assertNotEqual(self.do(daemon, "pid"), child)
        with open(self.file("flag"), "w"):
            pass
        self.assertEqual(client.read_reply().json(), child)

    def test_death_between_jobs_costs_none(self):
        daemon = self.start_player()
        pids = set()
        for _ in range(5):
            pid = self.do(daemon, "pid")
            pids.add(pid)
            os.kill(pid, signal.SIGKILL)
            self.gone(pid)
        self.assertEqual(len(pids), 5)
        self.logged(daemon, "killed by signal 9")

    def test_program_may_do_one_job_and_end(self):
        program = self.script("one.sh", "#!/bin/sh\nread -r line\necho \"$line\"\n")
        daemon = self.start(HANDLERS=exec_route(program), WORKERS=1)
        for i in range(20):
            reply = daemon.post(str(i))
            self.assertEqual((reply.status, reply.body), (200, str(i).encode()))

    def test_hang_ends_at_the_deadline_with_its_group(self):
        daemon = self.start_player(JOB_TIMEOUT="700ms")

        def hang():
            reply = daemon.post(json.dumps({"do": "hang", "file": self.file("pids")}))
            self.assertEqual(reply.status, 504, reply)
            return os.path.exists(self.file("pids"))

        # On a busy machine a deadline may pass before the program has begun.
        self.eventually(hang, "a program that hangs before its deadline")
        child, grandchild = self.read_pids("pids")
        self.gone(child)
        self.gone(grandchild)
        self.logged(daemon, "did not answer in time")
        self.eventually(lambda: daemon.metrics()["workers_busy"] == 0, "a free worker")
        self.assertGreater(self.do(daemon, "pid"), 0)

    def test_flood_is_cut(self):
        daemon = self.start_player(settings={"output": "64KiB"})
        self.refuse(daemon, 502, "handler-died", "longer than output=", "flood")
        frame = len('{"id":"ID","body":""}') - 1
        for size, status in ((65536 - frame, 200), (65536 - frame + 1, 502)):
            reply = daemon.post(json.dumps(
                {"do": "raw", "parts": ['{"id":"ID","body":"%s"}\n' % ("x" * size)]}))
            self.assertEqual(reply.status, status, (size, reply.status))
            self.do(daemon, "pid")

    def test_flood_that_stops_is_cut_too(self):
        daemon = self.start_player(settings={"output": "1KiB"})
        # No newline, and no deadline: what is too long already is too long.
        self.refuse(daemon, 502, "handler-died", "longer than output=", "raw",
                    parts=["x" * 1025])

    def test_long_answers_pass_up_to_their_bound(self):
        daemon = self.start(HANDLERS=exec_route("cat", output="4MiB"), WORKERS=1,
                            MAX_BODY_SIZE="8MiB")
        for size, status in ((60000, 200), (70000, 200), (3 << 20, 200), (5 << 20, 502)):
            reply = daemon.post('"%s"' % ("x" * size))
            self.assertEqual(reply.status, status)
            self.assertEqual(len(reply.body) == size + 2, status == 200)

    def test_start_waits_longer_and_longer(self):
        flag = self.file("flag")
        program = self.script("moody.sh", "#!/bin/sh\ntest -e %s && exec cat\nexit 5\n" % flag)
        daemon = self.start(HANDLERS=exec_route(program), WORKERS=1)
        statuses = []

        def refused():
            reply = daemon.post("1")
            self.assertEqual(reply.status, 503, reply)
            statuses.append(reply.status)
            found = re.fullmatch(r"the program is started again in \d+\.\d s, after (\d+) failures "
                                 r"in a row: it ended with status 5", reply.json()["detail"])
            self.assertTrue(found, reply)
            return int(found[1]) >= 4

        self.eventually(refused, "a back-off")
        self.assertEqual(self.figures(daemon)["exec_refused_total"], len(statuses))
        with open(flag, "w"):
            pass
        self.eventually(lambda: daemon.post("1").status == 200, "better times")
        self.assertEqual(daemon.post("2").body, b"2")

    def test_program_that_vanishes_is_waited_for(self):
        program = self.script("fleeting.sh", "#!/bin/sh\nexec cat\n")
        daemon = self.start(HANDLERS=exec_route(program), WORKERS=1)
        self.assertEqual(daemon.post("1").status, 200)
        os.rename(program, program + ".away")
        self.kill_children(daemon)

        def missing():
            reply = daemon.post("1")
            self.assertIn(reply.status, (503,), reply)
            return "No such file" in reply.json()["detail"]

        self.eventually(missing, "word of the missing file")
        os.rename(program + ".away", program)
        self.eventually(lambda: daemon.post("1").status == 200, "the file")

    def test_death_is_told_although_no_start_follows(self):
        program = self.script("once.sh", '#!/bin/sh\nread line\nrm "$0"\nexit 7\n')
        daemon = self.start(HANDLERS=exec_route(program), WORKERS=1)
        reply = daemon.post("1")
        self.assertEqual((reply.status, reply.problem()), (502, "handler-died"))
        self.assertEqual(reply.json()["detail"], "the program ended with status 7")
        self.assertIn("cannot be started", daemon.post("1").json()["detail"])

    def kill_children(self, daemon):
        spawner = children_of(daemon.pid)[0]
        for pid in children_of(spawner):
            os.kill(pid, signal.SIGKILL)
            self.gone(pid)


def children_of(pid):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open("/proc/%s/stat" % entry) as stat:
                    if int(stat.read().rsplit(")", 1)[1].split()[1]) == pid:
                        found.append(int(entry))
            except OSError:
                pass
    return found


class Clients(ExecTest):
    def test_client_that_leaves_does_not_cost_the_child(self):
        daemon = self.start_player()
        pid = self.do(daemon, "pid")
        client = daemon.client()
        client.send(post_bytes(json.dumps(
            {"do": "hang", "file": self.file("pids"), "until": self.file("flag")})))
        self.read_pids("pids")
        client.close()
        self.eventually(lambda: daemon.metrics()["cancelled_requests"] == 1, "its leave")
        with open(self.file("flag"), "w"):
            pass
        self.eventually(lambda: daemon.metrics()["workers_busy"] == 0, "a free worker")
        self.assertEqual(self.do(daemon, "pid"), pid)
        self.assertEqual(daemon.metrics()["cancelled_requests"], 1)

    def test_child_that_nobody_waits_for_ends_some_day(self):
        daemon = self.start_player()
        client = daemon.client()
        client.send(post_bytes(json.dumps({"do": "hang", "file": self.file("pids")})))
        child, grandchild = self.read_pids("pids")
        client.close()
        self.gone(child)
        self.gone(grandchild)
        self.logged(daemon, "after its client had left")
        self.assertNotEqual(self.do(daemon, "pid"), child)


class Words(ExecTest):
    def lines(self, daemon, pid):
        """What that child said, in the log."""
        prefix = "pid %d: " % pid
        found = []
        for line in daemon.output().splitlines():
            if line.startswith("{"):
                line = json.loads(line)
                if line["msg"].startswith(prefix) and line["level"] == "info":
                    found.append(line["msg"][len(prefix):])
        return found

    def test_standard_error_goes_to_the_log(self):
        daemon = self.start_player()
        pid = self.do(daemon, "words", text='one\ntwo "2"\n\n' + "x" * 5000 + "\nlast\n")
        expected = ["one", 'two "2"', "", "x" * 1000, "last"]
        self.eventually(lambda: len(self.lines(daemon, pid)) >= 5, "five lines")
        got = self.lines(daemon, pid)
        self.assertEqual(got[:3] + got[4:], expected[:3] + expected[4:])
        self.assertRegex(got[3], r"^x{500,1000}\W*$")

    def test_last_words_need_no_newline(self):
        daemon = self.start_player()
        pid = self.do(daemon, "pid")
        self.refuse(daemon, 502, "handler-died", "status 1", "leave", status=1, words="alas")
        self.eventually(lambda: self.lines(daemon, pid) == ["alas"], "the last words")

    def test_flood_does_not_hurt(self):
        daemon = self.start_player(settings={"path": "/"}, WORKERS=2)
        line = "y" * 79 + "\n"
        client = self.client(daemon)
        client.send(post_bytes(json.dumps({"do": "words", "text": line, "times": 100000})))
        for _ in range(20):
            self.assertEqual(daemon.get("/health").status, 200)
            self.do(daemon, "pid")
        self.assertEqual(client.read_reply().status, 200)
        self.assertEqual(daemon.get("/health").status, 200)

    def test_flood_of_empty_lines_waits_in_its_pipe(self):
        daemon = self.start_player(settings={"path": "/"})
        begin = time.monotonic()
        self.do(daemon, "words", text="\n", times=200000)
        # 20 MB for the log, at 3 MiB a second; less what the pipe holds.
        self.assertGreater(time.monotonic() - begin, 1.5)
        self.assertEqual(daemon.stop(), 0)


class Surroundings(ExecTest):
    def test_no_descriptor_is_inherited(self):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            daemon = self.start_player(inherit=[listener])
            for _ in range(2):
                self.assertEqual(sorted(self.do(daemon, "files")), ["0", "1", "2", "3"])
                found = self.do(daemon, "files")
                self.assertTrue(all(found[n].startswith("pipe:") for n in "012"), found)
                self.assertTrue(found["3"].startswith("/proc/"), found)  # its own look
                self.refuse(daemon, 502, "handler-died", "status 0", "leave", status=0)
            environment = self.do(daemon, "surroundings")["environment"]
            self.assertEqual([n for n in environment if n.startswith(("LISTEN_", "NOTIFY_"))], [])

    def test_signals_are_as_at_first(self):
        program = self.script("signals.sh", "#!/bin/sh\n"
                              "while read -r line; do\n"
                              "  set -- $(cat /proc/self/status | "
                              "sed -n 's/^Sig\\(Blk\\|Ign\\|Cgt\\):.//p')\n"
                              "  echo \"{\\\"id\\\":\\\"$((i += 1))\\\",\\\"body\\\":\\\"$*\\\"}\"\n"
                              "done\n")
        daemon = self.start(HANDLERS=exec_route(program), WORKERS=1,
                            program="/bin/sh",
                            args=["-c", "trap '' HUP USR1 PIPE QUIT; exec \"$0\"", HCSD])
        self.assertEqual(daemon.get("/").json(), " ".join(["0" * 16] * 3))

    def test_settings_are_kept(self):
        daemon = self.start_player("one two", "a&b=c", "", settings={
            "directory": self.folder.name, "files": 77, "memory": "3GiB", "cpu": "1500ms"})
        found = self.do(daemon, "surroundings")
        self.assertEqual(found["directory"], os.path.realpath(self.folder.name))
        self.assertEqual(found["arguments"], ["one two", "a&b=c", ""])
        self.assertEqual(found["files"], [77, 77])
        self.assertEqual(found["memory"], [3 << 30, 3 << 30])
        self.assertEqual(found["cpu"], [2, 3])
        self.assertEqual(found["sid"], found["pid"])
        self.assertEqual(found["uid"], [os.getuid()] * 3)

    def test_open_files_are_limited_as_the_daemon_was(self):
        daemon = self.start_player(
            program="/bin/sh", args=["-c", "ulimit -Sn 256; ulimit -Hn 3000; exec \"$0\"", HCSD])
        self.assertEqual(self.do(daemon, "surroundings")["files"], [256, 3000])
        self.assertEqual(daemon.start_line()["max_fds"], 3000)

    @unittest.skipUnless(os.getuid() == 0, "needs root")
    def test_user_is_another(self):
        os.chmod(self.folder.name, 0o755)
        program = self.script("id.sh", "#!/bin/sh\ni=0\nwhile read -r line; do\n"
                              "echo \"{\\\"id\\\":\\\"$((i += 1))\\\",\\\"body\\\":"
                              "\\\"$(id -u) $(id -g) $(id -G)\\\"}\"\ndone\n")
        for settings, expected in [
                ({"user": "nobody"}, "65534 65534 65534"),
                ({"user": "65534"}, "65534 65534 65534"),
                ({"user": "54321", "group": "12345"}, "54321 12345 12345"),
                ({"group": "12345"}, "0 12345 12345")]:
            with self.subTest(settings=settings):
                daemon = self.start(HANDLERS=exec_route(program, **settings), WORKERS=1)
                self.assertEqual(daemon.get("/").json(), expected)

    @unittest.skipUnless(os.getuid() == 0, "needs root")
    def test_another_user_dies_with_the_daemon_too(self):
        daemon = self.start(HANDLERS=exec_route("cat", user="nobody"), WORKERS=2)
        spawner = children_of(daemon.pid)[0]
        children = children_of(spawner)
        self.assertEqual(len(children), 2)
        os.kill(spawner, signal.SIGKILL)
        for pid in children:
            self.gone(pid)

    def test_memory_is_limited(self):
        daemon = self.start_player(settings={"memory": "300MiB"})
        self.assertEqual(self.do(daemon, "allocate", bytes=1 << 20), 1 << 20)
        self.assertEqual(self.do(daemon, "allocate", bytes=400 << 20), "no memory")

    def test_cpu_time_is_limited_in_a_job(self):
        daemon = self.start_player(settings={"cpu": "1s"})
        self.refuse(daemon, 502, "handler-died", "signal %d" % signal.SIGXCPU, "burn", seconds=10)

    def test_cpu_time_of_many_jobs_costs_none(self):
        daemon = self.start_player(settings={"cpu": "2s"})
        pids = {self.do(daemon, "burn", seconds=0.7) for _ in range(5)}
        self.assertGreater(len(pids), 1)
        self.assertEqual(self.figures(daemon)["exec_deaths_total"], 0)

    def test_path_is_searched(self):
        os.mkdir(self.file("first"))
        os.mkdir(self.file("first/tool"))  # not a file
        os.mkdir(self.file("second"))
        self.script("second/tool", "#!/bin/sh\nexec cat\n")
        daemon = self.start(HANDLERS=exec_route("tool"), WORKERS=1, env={
            "PATH": "%s:%s:%s" % (self.file("first"), self.file("second"), os.environ["PATH"])})
        self.assertEqual(daemon.post("1").status, 200)

    def test_relative_program_is_the_daemons(self):
        self.script("tool", "#!/bin/sh\nexec cat\n")
        daemon = self.start(HANDLERS=exec_route("./tool", directory="/"), WORKERS=1,
                            program="/bin/sh",
                            args=["-c", "cd '%s' && exec \"$0\"" % self.folder.name,
                                  os.path.abspath(HCSD)])
        self.assertEqual(daemon.post("1").status, 200)


class Starts(ExecTest):
    def refused(self, handlers, *parts):
        daemon = Daemon(HANDLERS=handlers, WORKERS=2)
        self.addCleanup(daemon.close_log)
        self.assertEqual(daemon.wait(), EX_CONFIG, daemon.output())
        said = [line for line in daemon.output().splitlines() if not line.startswith("{")]
        self.assertEqual(len(said), 1, daemon.output())
        for part in ("hcsd: HANDLERS: /=exec: ", *parts):
            self.assertIn(part, said[0])

    def test_bad_program_stops_the_start(self):
        self.refused("/=exec", "needs a program")
        self.refused(exec_route("/nowhere/tool"), "/nowhere/tool: No such file")
        self.refused(exec_route("no-such-tool-at-all"), "no-such-tool-at-all", "in PATH")
        self.refused(exec_route("/etc/passwd"), "/etc/passwd: not an executable file")
        self.refused(exec_route("/usr"), "/usr: Is a directory")
        path = self.script("bad.sh", "#!/nowhere/python9\n")
        self.refused(exec_route(path), path, "No such file", "#!")
        path = self.script("plain", "echo hello\n")
        self.refused(exec_route(path), path, "Exec format error", "#!/bin/sh")

    def test_bad_settings_stop_the_start(self):
        self.refused(exec_route("cat", user="no-such-user"), "user=no-such-user", "no such user")
        self.refused(exec_route("cat", user="54321"), "user=54321", "needs a group")
        self.refused(exec_route("cat", group="no-such-group"), "group=no-such-group")
        self.refused(exec_route("cat", directory="/nowhere"), "directory=/nowhere: No such file")
        self.refused(exec_route("cat", directory="/etc/passwd"), "not a directory")
        self.refused(exec_route("cat", memory="lots"), "memory")
        self.refused(exec_route("cat", cpu="0s"), "cpu")
        self.refused(exec_route("cat", files="1"), "files")
        self.refused(exec_route("cat", output="1"), "output")
        self.refused(exec_route("cat", colour="red"), "colour")
        self.refused(exec_route("cat", *["x"] * 1100), "arg: at most 1023")

    @unittest.skipUnless(os.getuid() == 0, "needs root")
    def test_program_out_of_reach_of_its_user_stops_the_start(self):
        os.chmod(self.folder.name, 0o700)
        path = self.script("mine.sh", "#!/bin/sh\n")
        self.refused(exec_route(path, user="nobody"), path, "Permission denied")
        self.refused(exec_route("cat", user="nobody", directory=self.folder.name),
                     "directory=" + self.folder.name, "Permission denied")

    def test_check_starts_nothing(self):
        said = subprocess.run([HCSD, "--check"], capture_output=True, text=True,
                              env=dict(os.environ, HANDLERS=exec_route("cat")))
        self.assertEqual((said.returncode, said.stderr), (0, ""))
        said = subprocess.run([HCSD, "--check"], capture_output=True, text=True,
                              env=dict(os.environ, HANDLERS=exec_route("/nowhere/cat")))
        self.assertEqual(said.returncode, EX_CONFIG)
        self.assertIn("/nowhere/cat", said.stderr)


class Names(ExecTest):
    def test_tools_name_the_daemon_and_not_its_spawner(self):
        daemon = self.start(HANDLERS=exec_route("cat"), WORKERS=1)
        spawner = children_of(daemon.pid)[0]
        for tool in (["pidof", "hcsd"], ["pgrep", "-x", "hcsd"]):
            if shutil.which(tool[0]) is None:
                continue
            # Elsewhere: in the folder of the executable, pidof compares files.
            named = subprocess.run(tool, cwd=self.folder.name, capture_output=True,
                                   text=True).stdout.split()
            self.assertIn(str(daemon.pid), named, tool)
            self.assertNotIn(str(spawner), named, tool)

    def test_spawner_says_what_it_is_for(self):
        daemon = self.start(HANDLERS=exec_route("cat"), WORKERS=1)
        spawner = children_of(daemon.pid)[0]
        with open("/proc/%d/comm" % spawner) as comm:
            self.assertEqual(comm.read(), "hcsd-spawner\n")
        with open("/proc/%d/cmdline" % spawner) as line:
            # A title as long as the command line was gets a blank at its end.
            self.assertEqual(line.read().rstrip("\0 "), "hcsd: spawner of programs")


class Ends(ExecTest):
    def test_stop_ends_the_children(self):
        daemon = self.start_player(WORKERS=3)
        spawner = children_of(daemon.pid)[0]
        children = children_of(spawner)
        self.assertEqual(len(children), 3)
        self.assertEqual(daemon.stop(), 0)
        self.assertTrue(all(is_gone(pid) for pid in [spawner, *children]))

    def test_children_that_ignore_their_end_are_killed(self):
        daemon = self.start_player()
        pid = self.do(daemon, "ignore")
        self.assertEqual(daemon.stop(), 0)
        self.assertTrue(is_gone(pid))

    def test_many_that_ignore_their_end_take_no_longer_than_one(self):
        count = 100
        daemon = self.start(HANDLERS=exec_route("sleep", "1000"), WORKERS=count)
        self.eventually(lambda: daemon.get("/readyz").status == 200, "all of them")
        begin = time.monotonic()
        self.assertEqual(daemon.stop(), 0)
        # A second for all; one after the other they would take one each.
        self.assertLess(time.monotonic() - begin, count / 2)

    def test_drain_waits_for_the_child(self):
        daemon = self.start_player()
        client = self.client(daemon)
        client.send(post_bytes(json.dumps(
            {"do": "hang", "file": self.file("pids"), "session": True, "seconds": 1})))
        child, grandchild = self.read_pids("pids")
        daemon.signal()
        self.assertEqual(client.read_reply().json(), child)
        client.close()
        self.assertEqual(daemon.wait(), 0)
        self.gone(child)
        self.gone(grandchild)

    def test_second_signal_does_not_wait(self):
        daemon = self.start_player()
        client = self.client(daemon)
        client.send(post_bytes(json.dumps(
            {"do": "hang", "file": self.file("pids"), "session": True})))
        child, grandchild = self.read_pids("pids")
        daemon.signal()
        self.eventually(lambda: "stopping" in daemon.output(), "the first signal")
        daemon.signal()
        self.assertEqual(daemon.wait(), 0)
        self.gone(child)
        self.gone(grandchild)

    def test_killed_daemon_leaves_nobody(self):
        daemon = self.start_player(WORKERS=2)
        spawner = children_of(daemon.pid)[0]
        client = self.client(daemon)
        client.send(post_bytes(json.dumps(
            {"do": "hang", "file": self.file("pids"), "session": True})))
        pids = self.read_pids("pids") + children_of(spawner) + [spawner]
        daemon.process.kill()
        daemon.process.wait()
        daemon.status = -signal.SIGKILL  # as it should
        for pid in pids:
            self.gone(pid)

    def test_killed_spawner_is_said_once(self):
        daemon = self.start_player(WORKERS=2)
        spawner = children_of(daemon.pid)[0]
        children = children_of(spawner)
        os.kill(spawner, signal.SIGKILL)
        for pid in children:
            self.gone(pid)

        def refused():
            reply = daemon.post('{"do": "pid"}')
            self.assertIn(reply.status, (502, 503), reply)
            return "gone" in reply.json()["detail"]

        self.eventually(refused, "word of the spawner")
        for _ in range(10):
            self.assertEqual(daemon.post('{"do": "pid"}').status, 503)
        self.assertEqual(daemon.get("/health").status, 200)
        self.logged(daemon, "hcsd starts no programs until it is restarted")
        self.assertEqual(daemon.output().count("hcsd starts no programs until it is restarted"), 1)
        self.assertEqual(daemon.stop(), 0)

    def test_signals_to_all_are_for_the_daemon(self):
        # As a service manager's KillMode=control-group, or a terminal's Ctrl-C.
        daemon = self.start_player()
        client = self.client(daemon)
        client.send(post_bytes(json.dumps(
            {"do": "hang", "file": self.file("pids"), "seconds": 0.5})))
        child, _ = self.read_pids("pids")
        os.kill(children_of(daemon.pid)[0], signal.SIGTERM)
        daemon.signal()
        self.assertEqual(client.read_reply().json(), child)
        client.close()
        self.assertEqual(daemon.wait(), 0)


if __name__ == "__main__":
    harness.main()
