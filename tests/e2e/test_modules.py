# ctest: timeout=240 builds=release,asan slow
"""Modules, as their authors meet them: what docs/handlers.md says is done as it stands
there, with hcsd installed and moved; and what the daemon does with modules that are
slow, wrong, or ask for all that the header offers (modules/*.c)."""

import json
import os
import random
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse

import harness
from harness import PATIENCE, get_bytes, post_bytes
from test_systemd import Manager

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
HCSD = os.path.abspath(harness.HCSD) # which is run in other folders
BUILD_FOLDER = os.path.dirname(HCSD)
EX_CONFIG = 78


def cached(name):
    """A variable of the build."""
    with open(os.path.join(BUILD_FOLDER, "CMakeCache.txt")) as cache:
        return re.search(r"(?m)^%s:\w+=(.*)$" % name, cache.read()).group(1)


def environment(**more):
    """Ours without hcsd's settings, and more."""
    env = {name: value for name, value in os.environ.items()
           if name not in harness.SETTING_NAMES or name == "PRIVATE_FD_TABLES"}
    env.update(more)
    return env


class Installed:
    """hcsd in a prefix that it was moved to after it was installed, and modules that
    were built with what is there. Made when first asked for; one for all tests."""

    _one = None

    @classmethod
    def get(cls):
        if cls._one is None:
            cls._one = cls()
        return cls._one

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()
        self.tmp = self._folder.name
        self.prefix = os.path.join(self.tmp, "moved")
        first = os.path.join(self.tmp, "first")
        subprocess.run([cached("CMAKE_COMMAND"), "--install", BUILD_FOLDER, "--prefix", first],
                       check=True, stdout=subprocess.DEVNULL)
        os.rename(first, self.prefix)
        self.libraries = os.path.join(self.prefix, cached("CMAKE_INSTALL_LIBDIR"))
        self.env = environment(
            PATH=os.path.join(self.prefix, "bin") + ":" + os.environ["PATH"],
            PKG_CONFIG_PATH=os.path.join(self.libraries, "pkgconfig"))
        self._built = {}

    def pkg_config(self, *words):
        return subprocess.run(["pkg-config", *words, "hcsd"], env=self.env, check=True,
                              stdout=subprocess.PIPE, text=True).stdout.split()

    def module(self, source, *options, name=None):
        """The file of the module, built by hand from modules/SOURCE."""
        out = os.path.join(self.tmp, (name or "-".join((source, *options))) + ".so")
        if out not in self._built:
            compiler = ["c++", "-std=c++11"] if source.endswith(".cc") else ["cc"]
            subprocess.run(
                [*compiler, "-shared", "-fPIC", "-pthread", "-Wall", "-Wextra", "-Wpedantic",
                 "-Wshadow", "-Wconversion", "-Werror", *options, "-o", out,
                 os.path.join(HERE, "modules", source),
                 *self.pkg_config("--cflags", "--libs")], check=True)
            self._built[out] = True
        return out

    def probe(self):
        return self.module("probe.c")


def sections(page):
    """Each section's title, with its blocks of code in order: (language, text)."""
    found = {}
    title = None
    for part in re.split(r"(?m)^(#+ .*|```\w*\n(?:.*\n)*?```)$", page):
        if part.startswith("#"):
            title = part.lstrip("# ")
        elif part.startswith("```"):
            language, text = part[3:-3].split("\n", 1)
            found.setdefault(title, []).append((language, text))
    return found


class TestCase(harness.TestCase):
    def setUp(self):
        self.installed = Installed.get()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def launch(self, handlers, **settings):
        """A daemon that listens, but whose handlers need not be open yet."""
        daemon = harness.Daemon(HANDLERS=handlers, **settings)
        self.addCleanup(daemon.kill)

        def port():
            self.assertIsNone(daemon.process.poll(), daemon.output())
            return re.search(r'"address":"[^"]*:(\d+)"', daemon.output())

        daemon.port = int(self.eventually(port, "listening").group(1))
        return daemon

    def start_probe(self, query="", **settings):
        daemon = self.start(HANDLERS="/=module:%s%s" % (self.installed.probe(), query), **settings)
        self.eventually(lambda: daemon.get("/readyz").status == 200, "readiness")
        return daemon

    def path(self, name):
        return os.path.join(self.folder, name)

    def make(self, name, text=""):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)


# --- The page.

def free_port():
    """Below those that the kernel gives to clients, so that none of them takes it
    between now and the daemon's start."""
    for port in random.sample(range(20000, 30000), 100):
        with socket.socket(socket.AF_INET6) as sock:
            try:
                sock.bind(("::", port))
                return port
            except OSError:
                continue
    raise AssertionError("no free port")


class Page(TestCase):
    """docs/handlers.md: what it says is what is run. Only the port differs, since 8080
    may be somebody's."""

    with open(os.path.join(TOP, "docs/handlers.md")) as file:
        TEXT = file.read()
    SECTIONS = sections(TEXT)

    def setUp(self):
        super().setUp()
        if shutil.which("curl") is None:
            self.skipTest("no curl, which the page uses")

    def blocks(self, title, *languages):
        blocks = self.SECTIONS[title]
        self.assertEqual([language for language, _ in blocks], list(languages))
        return [text for _, text in blocks]

    def run_script(self, script, expected):
        """Runs it, ends the daemon that it left in the background, and compares what it
        printed last."""
        port = free_port()
        self.assertEqual(script.count("localhost:8080"), 1)
        script = ("set -eu\n" + script.replace("localhost:8080", "localhost:%d" % port) +
                  "\necho; kill $!; wait $!\n")
        result = subprocess.run(
            ["sh", "-c", script], cwd=self.folder, timeout=4 * PATIENCE,
            env=dict(self.installed.env, PORT=str(port)),
            stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result)
        self.assertEqual(result.stdout.rstrip("\n").rsplit("\n", 1)[-1], expected.strip(), result)
        self.assertNotIn("Sanitizer", result.stderr)
        return result

    def test_quick_start(self):
        script, reply = self.blocks("Quick start", "sh", "json")
        self.assertLessEqual(len(script.splitlines()), 30)
        self.assertEqual(os.listdir(self.folder), [])
        result = self.run_script(script, reply)
        self.assertEqual(result.stdout.strip(), reply.strip())
        self.assertEqual(sorted(os.listdir(self.folder)), ["score.c", "score.so"])

    def test_with_cmake(self):
        source = self.blocks("Quick start", "sh", "json")[0].split("cc -shared")[0]
        script, reply = self.blocks("With CMake", "sh", "json")
        self.addCleanup(shutil.rmtree, os.path.join(self.installed.libraries, "hcsd"),
                        ignore_errors=True)
        self.run_script(source + script, reply)
        module_dir = self.installed.pkg_config("--variable=moduledir")[0]
        self.assertTrue(os.path.exists(os.path.join(module_dir, "score.so")))

    def test_answering_later(self):
        source, script, reply = self.blocks("Answering later", "c", "sh", "json")
        self.make("later.c", source)
        self.run_script(script, reply)

    def test_the_lines_of_a_bad_start(self):
        """As the page shows them, one by one."""
        source, _ = self.blocks("Quick start", "sh", "json")
        script = source.split("HANDLERS=")[0]
        subprocess.run(["sh", "-c", script], cwd=self.folder, env=self.installed.env, check=True)
        os.rename(self.path("score.so"), self.path("good.so"))
        old = self.installed.module("refused.c", "-DOLD")
        for line, query, module in zip(
                self.blocks("The start", "")[0].splitlines(),
                ("", "?threshold=2", "?treshold=0.5", ""),
                (None, self.path("good.so"), self.path("good.so"), old)):
            with self.subTest(line=line):
                if os.path.lexists(self.path("score.so")):
                    os.remove(self.path("score.so"))
                if module:
                    os.symlink(module, self.path("score.so"))
                result = subprocess.run(
                    ["hcsd", "--check"], cwd=self.folder, capture_output=True, text=True,
                    env=dict(self.installed.env, HANDLERS="/score=module:./score.so" + query))
                self.assertEqual((result.returncode, result.stderr), (EX_CONFIG, line + "\n"))

    def test_nothing_of_the_header_is_left_out(self):
        with open(os.path.join(TOP, "include/hcs/handler.h")) as file:
            header = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
        promised = set(re.findall(r"\b(hcs_\w+)\(", header)) | set(re.findall(r"HCS_\w+", header))
        promised -= {"HCS_HANDLER_H", "HCS_ERROR", "HCS_INFO", "HCS_DEBUG"}
        self.assertGreater(len(promised), 40)
        said = set(re.findall(r"\w+", self.TEXT))
        self.assertEqual(promised - said, set())


class Package(TestCase):
    def test_pkg_config(self):
        flags = self.installed.pkg_config("--cflags")
        includes = [flag[2:] for flag in flags if flag.startswith("-I")]
        for header in ("handler.h", "json.h"):
            self.assertTrue(any(os.path.exists(os.path.join(folder, "hcs", header))
                                for folder in includes), flags)
        self.assertIn("-lcjson", self.installed.pkg_config("--libs"))
        version = subprocess.run([HCSD, "--version"], capture_output=True, text=True).stdout
        self.assertEqual(self.installed.pkg_config("--modversion")[0], version.split()[1])
        with open(os.path.join(TOP, "include/hcs/handler.h")) as file:
            abi = re.search(r"HCS_HANDLER_ABI = (\d+)", file.read()).group(1)
        self.assertEqual(self.installed.pkg_config("--variable=handler_abi"), [abi])

    def test_nothing_names_the_folder_of_the_build(self):
        """Or it would be found there, and only until that is gone."""
        files = [os.path.join(self.installed.libraries, "pkgconfig/hcsd.pc")]
        folder = os.path.join(self.installed.libraries, "cmake/hcsd")
        files += [os.path.join(folder, name) for name in os.listdir(folder)]
        self.assertEqual(len(files), 4)
        for name in files:
            with open(name) as file:
                text = file.read()
            for place in (TOP, BUILD_FOLDER, os.path.join(self.installed.tmp, "first")):
                self.assertNotIn(place + "/", text, name)

    def test_cmake_refuses_another_version(self):
        self.make("CMakeLists.txt", "cmake_minimum_required(VERSION 3.16)\n"
                  "project(p LANGUAGES C)\n"
                  "find_package(hcsd 99.1 QUIET)\nif(hcsd_FOUND)\n"
                  "  message(FATAL_ERROR \"found 99.1\")\nendif()\n"
                  "find_package(hcsd REQUIRED)\n"
                  "message(STATUS \"abi=${hcsd_HANDLER_ABI} bin=${hcsd_EXECUTABLE}\")\n")
        result = subprocess.run(
            [cached("CMAKE_COMMAND"), "-S", self.folder, "-B", self.path("build"),
             "-DCMAKE_PREFIX_PATH=" + self.installed.prefix],
            env=environment(), capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertRegex(result.stdout, r"abi=\d+ bin=%s/bin/hcsd\b" % self.installed.prefix)


# --- What is not let in.

class Refused(TestCase):
    def refused(self, handlers, *words, run=True, program=HCSD, **settings):
        """Both the check and the start say it, in one line with all the words, and end
        with EX_CONFIG. A start on a slow machine may have begun to listen by then, so
        there may be lines of the log."""
        if handlers:
            settings["HANDLERS"] = handlers
        env = environment(PORT="0", ADDRESS="127.0.0.1", LOG_FORMAT="json", **settings)
        for args in ([], ["--check"]) if run else (["--check"],):
            with self.subTest(handlers=handlers, args=args):
                result = subprocess.run([program, *args], env=env, cwd=self.folder,
                                        capture_output=True, text=True, timeout=PATIENCE)
                lines = result.stderr.splitlines()
                said = [line for line in lines if not line.startswith("{")]
                self.assertEqual((result.returncode, len(said)), (EX_CONFIG, 1), result)
                if args:
                    self.assertEqual(lines, said)
                self.assertEqual(result.stdout, "")
                for word in ("hcsd: HANDLERS", *words):
                    self.assertIn(word, said[0])

    def test_files(self):
        self.make("text.so", "not an object\n" * 100)
        os.mkdir(self.path("folder.so"))
        self.refused("/a=module:./none.so", "/a=module", "./none.so", "No such file")
        self.refused("/a=module:none.so", "/a=module", "./none.so", "No such file")
        self.refused("/a=module:text.so", "/a=module", "./text.so", "invalid ELF header")
        self.refused("/a=module:folder.so", "/a=module", "./folder.so")
        self.refused("/a=module", "/a=module", "needs a file")
        self.refused("/a=module:", "/a=module", "needs a file")
        self.refused("/a=module:/" + "x" * 5000, "/a=module", "File name too long")

    def test_modules(self):
        for option, words in (
                ("-DOLD", ("built for version 2 of the handler ABI", "this hcsd has 3")),
                ("-DSIZELESS", ("wrong size; set .size = sizeof(struct hcs_handler)",)),
                ("-DLOST", ("no symbol hcs_module",)),
                ("-DNAMELESS", ("lacks a name or run",)),
                ("-DIDLE", ("lacks a name or run",)),
                ("-DOPEN_END", ("undefined symbol", "function_that_is_nowhere"))):
            module = self.installed.module("refused.c", option)
            self.refused("/ok=echo /a=module:" + module, "/a=module", module, *words)

    def test_kinds_and_paths(self):
        self.refused("/a=nonsense", "/a=nonsense", "no such handler", "echo", "module")
        self.refused("/a=echo /b=echo /a=sleep:1s", "/a=sleep", "second handler on one path")
        self.refused("/a=echo /%61=echo", "second handler on one path")
        self.refused("/health=echo", "/health")

    def test_settings(self):
        probe = "/a=module:%s" % self.installed.probe()
        for query, words in (
                ("countt=1", ("probe has no setting countt", "allowed:", "count", "timeout")),
                ("count=101", ("count=101: too large; allowed: -5 to 100",)),
                ("count=1.5", ("count=1.5", "whole number")),
                ("count=+1", ("count=+1", "whole number")),
                ("count=1&count=2", ("count is set twice",)),
                ("share=1.01", ("share=1.01: too large; allowed: 0 to 1",)),
                ("share=nan", ("share=nan: not a number",)),
                ("pause=0", ("pause=0: too small; allowed: 1ms to 60m",)),
                ("pause=5", ("pause=5: no unit; write 5s or 5ms",)),
                ("room=1", ("room=1: too small; allowed: 1KiB to 1MiB",)),
                ("room=2MiB", ("room=2MiB: too large; allowed: 1KiB to 1MiB",)),
                ("text=", ("text is empty",)),
                ("text", ("name=value",)),
                ("=1", ("name=value",)),
                ("count=%0A", ("count=", "whole number")),
                ("text=%00", ("NUL",)),
                ("timeout=x", ("timeout=x", "duration")),
                ("timeout=25h", ("timeout=25h", "24h")),
                ("diary=/none/diary", ("diary=/none/diary",))):
            self.refused(probe + "?" + query, "/a=module: ", *words)
        self.refused("/a=echo:x", "/a=echo", "echo takes no argument")
        self.refused("/a=echo?x=1", "/a=echo", "no setting x", "timeout")

    def test_open_that_fails(self):
        probe = "/a=module:%s" % self.installed.probe()
        self.refused(probe + "?then=fail", "/a=module: the probe fails, as it was told")
        self.refused(probe + "?then=mute", "/a=module: probe does not open")
        self.refused(probe + "?then=figure", "/a=module: metric Level: a name has at most")
        self.refused(probe + "?then=help", "/a=module: metric level: its help must be one line")

    def test_what_was_open_is_closed(self):
        probe = self.installed.probe()
        self.refused("/a=module:%s?diary=one /b=module:%s?then=fail" % (probe, probe),
                     "/b=module: the probe fails", run=False)
        with open(self.path("one")) as file:
            self.assertEqual([line.split()[0] for line in file], ["open", "close"])

    def test_the_file_of_handlers_is_named(self):
        name = self.make("handlers", "/ok=echo\n/a=module:./none.so # not there\n")
        self.refused(None, "HANDLERS_FILE=%s: /a=module: ./none.so" % name, HANDLERS_FILE=name)

    def test_worker_that_fails(self):
        """After the handlers are open, when the workers start."""
        daemon = harness.Daemon(
            WORKERS=3, HANDLERS="/a=module:%s?worker=1&diary=%s" % (
                self.installed.probe(), self.path("diary")))
        self.addCleanup(daemon.kill)
        self.assertEqual(daemon.wait(), EX_CONFIG)
        said = [line for line in daemon.output().splitlines() if not line.startswith("{")]
        self.assertEqual(said, ["hcsd: HANDLERS: /a=module: worker 1 fails as it was told"])
        with open(self.path("diary")) as file:
            lines = file.read().splitlines()
        self.assertEqual((lines[0], lines[-1]), ("open 3", "close 0"))
        self.assertEqual(sorted(lines[1:-1]), ["close_worker 0", "close_worker 2",
                                               "open_worker 0", "open_worker 2"])


# --- The start.

class SlowStart(TestCase):
    def waiting(self, query="", **settings):
        """A daemon whose handler opens once the file "go" is there; beside it one that is
        open at once."""
        return self.launch("/quick=echo /=module:%s?await=%s%s" % (
            self.installed.probe(), self.path("go"), query), **settings)

    def send_jobs(self, daemon, *requests, queued=None):
        """Each on a connection of its own; returns once all wait in the queue."""
        clients = [self.client(daemon) for _ in requests]
        for client, request in zip(clients, requests):
            client.send(request)
        self.eventually(
            lambda: daemon.metrics()["queue_depth"] == (queued or len(requests)), "queued jobs")
        return clients

    def test_alive_and_not_ready_until_all_are_open(self):
        daemon = self.waiting()
        with daemon.client() as client:
            for _ in range(3):
                reply = client.ask(get_bytes("/health"))
                self.assertEqual((reply.status, reply.json()), (200, {"status": "starting"}))
                self.assertEqual(client.ask(get_bytes("/livez")).status, 200)
                reply = client.ask(get_bytes("/readyz"))
                self.assertEqual((reply.status, reply.problem()), (503, "starting"))
                self.assertTrue(1 <= int(reply.headers["retry-after"]) <= 30, reply)
                self.assertFalse(reply.closes())
            self.assertIs(client.ask(get_bytes("/metrics")).json()["starting"], True)
            text = client.ask(get_bytes("/metrics?format=prometheus")).body.decode()
            self.assertRegex(text, r"(?m)^hcsd_starting 1$")
            self.assertEqual(client.ask(get_bytes("/problems/starting")).status, 200)
            self.assertNotIn('"msg":"ready"', daemon.output())

            self.make("go")
            self.eventually(lambda: client.ask(get_bytes("/readyz")).status == 200, "readiness")
            self.assertEqual(client.ask(get_bytes("/")).json(), {"probe": True})
            self.assertEqual(client.ask(get_bytes("/quick")).status, 200)
            self.assertEqual(client.ask(get_bytes("/health")).json(), {"status": "ok"})
            metrics = client.ask(get_bytes("/metrics")).json()
            self.assertIs(metrics["starting"], False)
            # Those above, and the looks for readiness.
            self.assertEqual(set(metrics["requests_rejected"]), {"starting"})
            self.assertGreaterEqual(metrics["requests_rejected"]["starting"], 3)
        self.assertIn('"msg":"ready"', daemon.output())
        self.assertEqual(daemon.stop(), 0, daemon.output())

    def test_jobs_wait_until_all_are_open(self):
        """All of the queue, and no job more: idle workers are room, as they are later."""
        daemon = self.waiting(WORKERS=2, QUEUE_SIZE=3)
        clients = self.send_jobs(
            daemon, get_bytes("/"), get_bytes("/quick"), post_bytes('{"data":1}', "/quick"),
            post_bytes('{"data":[2]}', "/quick"), post_bytes("[1"))
        self.assertEqual(daemon.get("/quick").problem(), "queue-full")
        self.assertEqual(daemon.metrics()["workers_busy"], 0)
        self.assertEqual(daemon.get("/health").json(), {"status": "starting"})
        self.assertFalse(any(client.readable() for client in clients))
        self.make("go")
        replies = [client.read_reply() for client in clients]
        self.assertEqual([reply.status for reply in replies], [200, 200, 200, 200, 400])
        self.assertEqual(replies[0].json(), {"probe": True})
        self.assertEqual([reply.json()["data"] for reply in replies[1:4]], [None, 1, [2]])
        self.eventually(lambda: daemon.get("/readyz").status == 200, "readiness")
        self.assertEqual(daemon.metrics()["queue_depth"], 0)
        self.assertEqual(daemon.stop(), 0, daemon.output())

    def test_no_job_runs_before_the_last_worker_is_open(self):
        """It may fail the start yet."""
        daemon = self.launch(
            "/quick=echo /=module:%s?await_worker=%s&worker=1" % (
                self.installed.probe(), self.path("go")), WORKERS=3)
        clients = self.send_jobs(daemon, get_bytes("/quick"), get_bytes("/"))
        self.make("go")
        for client in clients:
            self.assertEqual(client.read_reply().problem(), "draining")
        self.assertEqual(daemon.wait(), EX_CONFIG, daemon.output())
        self.assertIn("worker 1 fails as it was told", daemon.output())

    def test_queue_timeout_runs_while_handlers_open(self):
        daemon = self.waiting(QUEUE_TIMEOUT="300ms")
        started = time.monotonic()
        self.assertEqual(daemon.get("/").problem(), "queue-timeout")
        self.assertGreaterEqual(time.monotonic() - started, 0.29)
        self.assertEqual(daemon.metrics()["queue_depth"], 0)
        self.make("go")
        self.eventually(lambda: daemon.get("/readyz").status == 200, "readiness")
        self.assertEqual(daemon.get("/").status, 200)
        self.assertEqual(daemon.stop(), 0, daemon.output())

    def test_the_time_to_run_begins_when_the_job_runs(self):
        """Of the path's own timeout too, which is known before the handler is open."""
        daemon = self.waiting("&timeout=200ms", QUEUE_TIMEOUT=0, JOB_TIMEOUT="10m")
        waiting, late = self.send_jobs(daemon, get_bytes("/"), get_bytes("/?meet=9"))
        time.sleep(0.5)
        self.assertFalse(waiting.readable() or late.readable())
        self.make("go")
        self.assertEqual(waiting.read_reply().status, 200)
        self.assertEqual(late.read_reply().problem(), "deadline-exceeded")
        self.assertEqual(daemon.stop(), 0, daemon.output())

    def test_a_client_that_leaves_while_handlers_open_frees_its_place(self):
        daemon = self.waiting(WORKERS=1, QUEUE_SIZE=1)
        for _ in range(30): # more than the ring has cells
            first, second = self.send_jobs(daemon, get_bytes("/"), get_bytes("/quick"))
            self.assertEqual(daemon.get("/").problem(), "queue-full")
            first.close()
            second.close()
            self.eventually(lambda: daemon.metrics()["queue_depth"] == 0, "free places")
        last, = self.send_jobs(daemon, get_bytes("/"))
        self.make("go")
        self.assertEqual(last.read_reply().status, 200)
        self.assertEqual(daemon.metrics()["cancelled_requests"], 60)
        self.assertEqual(daemon.stop(), 0, daemon.output())

    def test_the_service_manager_waits(self):
        """It is told what goes on, asked for more time, and told once it is over."""
        manager = Manager(self.path("notify"), self.path("notify"))
        self.addCleanup(manager.close)
        daemon = self.waiting(env={"NOTIFY_SOCKET": manager.name})
        told = {}
        while (told.get("STATUS") != "Opening the handlers" or
               "EXTEND_TIMEOUT_USEC" not in told):
            told.update(manager.read())
        self.assertNotIn("READY", told)
        self.make("go")
        message = manager.read()
        while "READY" not in message:
            message = manager.read()
        self.assertEqual(message["STATUS"], "Serving on 127.0.0.1:%d" % daemon.port)
        self.assertEqual(daemon.get("/").json(), {"probe": True})
        self.assertEqual(daemon.stop(), 0, daemon.output())

    def test_a_stop_does_not_wait_for_what_opens(self):
        daemon = self.waiting(SHUTDOWN_TIMEOUT="10m")
        self.assertEqual(daemon.get("/health").json(), {"status": "starting"})
        daemon.signal()
        self.assertEqual(daemon.wait(), 0, daemon.output())
        self.assertNotIn('"msg":"ready"', daemon.output())
        self.assertIn("a handler did not return in time", daemon.output())

    def test_a_stop_ends_the_wait_of_jobs_for_what_opens(self):
        """Within SHUTDOWN_TIMEOUT, or at the second signal."""
        for timeout, signals in (("300ms", 1), ("10m", 2)):
            with self.subTest(timeout=timeout):
                daemon = self.waiting(SHUTDOWN_TIMEOUT=timeout)
                clients = self.send_jobs(daemon, get_bytes("/"), get_bytes("/quick"))
                for words in ("stopping", "second signal")[:signals]:
                    daemon.signal()
                    self.eventually(lambda: words in daemon.output(), words)
                for client in clients:
                    reply = client.read_reply()
                    self.assertEqual((reply.status, reply.problem()), (503, "draining"))
                    self.assertTrue(client.at_end())
                self.assertEqual(daemon.wait(), 0, daemon.output())

    def test_a_stop_lets_jobs_wait_for_what_opens(self):
        daemon = self.waiting(SHUTDOWN_TIMEOUT="10m")
        clients = self.send_jobs(daemon, get_bytes("/"), get_bytes("/quick"))
        daemon.signal()
        self.eventually(lambda: "stopping" in daemon.output(), "drain")
        self.make("go")
        for client in clients:
            self.assertEqual(client.read_reply().status, 200)
        self.assertEqual(daemon.wait(), 0, daemon.output())

    def test_a_stop_at_the_start_leaves_nothing_behind(self):
        """At whatever moment: every thread that was started is joined."""
        for i in range(12):
            with self.subTest(i=i):
                daemon = self.launch(
                    "/quick=echo /=module:%s?diary=%s" % (
                        self.installed.probe(), self.path("diary%d" % i)), WORKERS=100)
                time.sleep(i * 0.01)
                daemon.signal()
                self.assertEqual(daemon.wait(), 0, daemon.output())
                self.assertNotIn("did not return", daemon.output())
                self.assertNotIn("Sanitizer", daemon.output())
                with open(self.path("diary%d" % i)) as file:
                    lines = [line.split()[0] for line in file]
                self.assertEqual(lines.count("open_worker"), lines.count("close_worker"))
                self.assertEqual(lines.count("open"), lines.count("close"))

    def test_workers_that_open_are_called_off(self):
        """Those that are in open_worker are waited for, and no other one begins."""
        diary = self.path("diary")
        daemon = self.launch("/=module:%s?await_worker=%s&diary=%s" % (
            self.installed.probe(), self.path("go"), diary), WORKERS=4)
        daemon.signal()
        self.eventually(lambda: "stopping" in daemon.output(), "drain")
        self.make("go")
        self.assertEqual(daemon.wait(), 0, daemon.output())
        self.assertNotIn("did not return", daemon.output())
        with open(diary) as file:
            lines = [line.split()[0] for line in file]
        self.assertEqual(lines.count("open_worker"), lines.count("close_worker"))
        self.assertEqual(lines[-1], "close")

    def test_what_opens_while_the_daemon_ends_serves_its_last_jobs(self):
        daemon = self.waiting(DRAIN_DELAY="10m")
        with daemon.client() as client:
            daemon.signal()
            self.eventually(
                lambda: client.ask(get_bytes("/health")).json() == {"status": "draining"}, "drain")
            self.make("go")
            self.eventually(lambda: client.ask(get_bytes("/")).status == 200, "jobs")
            self.assertEqual(client.ask(get_bytes("/readyz")).problem(), "draining")
        self.assertNotIn('"msg":"ready"', daemon.output())
        daemon.signal()
        self.assertEqual(daemon.wait(), 0, daemon.output())

    def test_open_that_fails_late_ends_the_daemon(self):
        daemon = self.waiting("&then=fail", SHUTDOWN_TIMEOUT="10m")
        client = self.client(daemon)
        client.send(get_bytes("/"))
        self.eventually(lambda: daemon.metrics()["queue_depth"] == 1, "a queued job")
        self.make("go")
        self.assertEqual(client.read_reply().problem(), "draining")
        self.assertEqual(daemon.wait(), EX_CONFIG, daemon.output())
        said = [line for line in daemon.output().splitlines() if not line.startswith("{")]
        self.assertEqual(said, ["hcsd: HANDLERS: /=module: the probe fails, as it was told"])
        self.assertTrue(client.at_end())


# --- What a module gets, and what it makes of it.

class Served(TestCase):
    def test_settings_are_those_of_the_path(self):
        probe = self.installed.probe()
        daemon = self.start(HANDLERS=(
            '/a=module:%s "/b=module:%s?text=two words%%26more&count=-5&share=2.5e-1'
            '&pause=1500us&room=64KiB&label=x&label=%%C3%%A4&timeout=1h"' % (probe, probe)))
        self.eventually(lambda: daemon.get("/readyz").status == 200, "readiness")
        self.assertEqual(daemon.get("/a?settings").json(), {
            "text": "none", "count": 0, "share": 0.5, "pause_ns": 0, "room_bytes": 0,
            "labels": []})
        self.assertEqual(daemon.get("/b?settings").json(), {
            "text": "two words&more", "count": -5, "share": 0.25, "pause_ns": 1500000,
            "room_bytes": 65536, "labels": ["x", "\u00e4"]})
        self.assertEqual(daemon.get("/a?request").json()["deadline"], False)
        self.assertEqual(daemon.get("/b?request").json()["deadline"], True)

    def test_each_worker_has_a_state_of_its_own(self):
        daemon = self.start_probe("?diary=" + self.path("diary"), WORKERS=3)
        clients = [self.client(daemon) for _ in range(3)]
        for client in clients:
            client.send(get_bytes("/?meet=3"))
        replies = [client.read_reply().json() for client in clients]
        self.assertEqual({reply["worker"] for reply in replies}, {0, 1, 2})
        self.assertEqual({(reply["jobs"], reply["same"]) for reply in replies}, {(1, True)})
        for _ in range(3): # none of them has to meet anybody
            self.assertIs(clients[0].ask(get_bytes("/?meet=1")).json()["same"], True)
        self.assertEqual(daemon.stop(), 0, daemon.output())
        with open(self.path("diary")) as file:
            lines = file.read().splitlines()
        self.assertEqual((lines[0], lines[-1], len(lines)), ("open 3", "close 0", 8))
        self.assertEqual(sorted(lines[1:4]), ["open_worker 0", "open_worker 1", "open_worker 2"])
        self.assertEqual(sorted(lines[4:7]),
                         ["close_worker 0", "close_worker 1", "close_worker 2"])

    def test_all_of_a_request(self):
        daemon = self.start_probe("?timeout=1h")
        body = ' {"n": 9007199254740993.0, "s": "\\u00e4"} '
        reply = daemon.post(body, "/?request&x=%41", "X-Request-ID: an-id\r\nx-COLOUR: red\r\n"
                            "X-Colour: blue\r\n")
        self.assertEqual(reply.json(), {
            "cancelled": False, "deadline": True, "body": body, "path": "/",
            "query": "request&x=%41", "request_id": "an-id", "colour": "red", "method": "POST",
            "n": "9007199254740993.0"})
        reply = daemon.get("/?request")
        self.assertEqual(reply.json(), {
            "cancelled": False, "deadline": True, "body": None, "path": "/", "query": "request",
            "request_id": reply.headers["x-request-id"], "colour": None, "method": "GET"})

    def test_a_tree(self):
        daemon = self.start_probe()
        for count in (0, 1, 20000):
            with self.subTest(count=count):
                reply = daemon.post(json.dumps(list(range(count))), "/?sum")
                self.assertEqual(reply.json(), {"sum": count * (count - 1) // 2})
        self.assertEqual(daemon.post('{"a":1}', "/?sum").problem(), "invalid-job")
        self.assertEqual(daemon.get("/?sum").problem(), "invalid-job")

    def test_fields_and_statuses(self):
        daemon = self.start_probe()
        reply = daemon.get("/?redirect=/there")
        self.assertEqual((reply.status, reply.body), (303, b""))
        self.assertEqual((reply.headers["location"], reply.headers["x-one"]), ("/there", "1, 2"))
        self.assertNotIn("x-evil", reply.headers)
        for status in (200, 201, 204, 418, 503):
            with self.subTest(status=status):
                reply = daemon.get("/?status=%d" % status)
                self.assertEqual((reply.status, reply.body),
                                 (status, b"" if status == 204 else b"{}"))
        for status in (100, 206, 301, 401, 600):
            with self.subTest(status=status):
                self.assertEqual(daemon.get("/?status=%d" % status).problem(), "handler-failed")

    def test_bytes_of_any_type(self):
        daemon = self.start_probe()
        for count in (1, 300, 200000):
            reply = daemon.get("/?bytes=%d" % count)
            self.assertEqual((reply.status, reply.headers["content-type"]),
                             (200, "application/octet-stream"))
            self.assertEqual(reply.body, bytes(i % 256 for i in range(count)))

    def test_more_than_there_is(self):
        daemon = self.start_probe(MEMORY_BUDGET="64MiB")
        reply = daemon.get("/?bytes=1000000000")
        self.assertEqual((reply.status, reply.problem()), (503, "memory-pressure"))
        self.assertEqual(daemon.get("/").status, 200)

    def test_outcomes(self):
        daemon = self.start_probe()
        for number, status, problem in (
                (1, 422, "invalid-job"), (2, 500, "handler-failed"), (3, 503, "memory-pressure"),
                (4, 503, "handler-unavailable"), (5, 502, "handler-died"),
                (6, 504, "deadline-exceeded"), (7, 500, "handler-failed"),
                (99, 500, "handler-failed"), (-1, 500, "handler-failed")):
            with self.subTest(outcome=number):
                reply = daemon.get("/?outcome=%d" % number)
                self.assertEqual((reply.status, reply.problem()), (status, problem))
                self.assertEqual(reply.json()["detail"], 'as it was "told"')
                self.assertNotIn("x-unseen", reply.headers)
                self.assertEqual("retry-after" in reply.headers, status == 503, reply)
                self.assertEqual(daemon.get("/problems/" + problem).status, 200)

    def test_log(self):
        daemon = self.start_probe(LOG_LEVEL="info")
        self.assertEqual(daemon.get("/?log=one").status, 200)

        def lines():
            return [line for line in map(json.loads, daemon.output().splitlines())
                    if line["msg"] == "one\nand 2"]

        line = self.eventually(lines, "a line")[0]
        self.assertEqual((line["level"], line["route"]), ("warn", "/"))
        self.assertIn('"msg":"the probe of / is open"', daemon.output())
        self.assertNotIn("hardly ever seen", daemon.output())

    def test_a_second_path_has_a_self_of_its_own(self):
        probe = self.installed.probe()
        daemon = self.start(HANDLERS="/a=module:%s?text=A /b=module:%s?text=B" % (probe, probe))
        self.eventually(lambda: daemon.get("/readyz").status == 200, "readiness")
        for path in "ab":
            self.assertEqual(daemon.get("/%s?settings" % path).json()["text"], path.upper())


class Figures(TestCase):
    def setUp(self):
        super().setUp()
        probe = self.installed.probe()
        self.daemon = self.start(HANDLERS="/a=module:%s /b=module:%s /c=echo" % (probe, probe))
        self.eventually(lambda: self.daemon.get("/readyz").status == 200, "readiness")
        for query in ("a?level=-3", "a?level=-7", "b?level=12"):
            self.assertEqual(self.daemon.get("/" + query).status, 200)

    def test_json(self):
        handlers = {handler["path"]: handler for handler in self.daemon.metrics()["handlers"]}
        self.assertEqual(handlers["/a"]["figures"], {"runs_total": 2, "level": -7})
        self.assertEqual(handlers["/b"]["figures"], {"runs_total": 1, "level": 12})
        self.assertNotIn("figures", handlers["/c"])

    def assert_page(self, text, runs):
        """The lines of each figure stand together, once."""
        for name, head, values, sample in (
                (runs, "counter", (2, 1), "hcsd_handler_runs_total"),
                ("hcsd_handler_level", "gauge", (-7, 12), "hcsd_handler_level")):
            help_text = "Runs." if head == "counter" else "As it was set."
            expected = ["# HELP %s %s" % (name, help_text), "# TYPE %s %s" % (name, head)]
            expected += ['%s{handler="probe",path="/%s"} %d' % (sample, path, value)
                         for path, value in zip("ab", values)]
            self.assertEqual(text.count("\n".join(expected) + "\n"), 1, text)
            self.assertEqual(len(re.findall(r"(?m)^# TYPE %s " % name, text)), 1)

    def test_prometheus(self):
        reply = self.daemon.get("/metrics?format=prometheus")
        self.assert_page(reply.body.decode(), "hcsd_handler_runs_total")

    def test_openmetrics(self):
        reply = self.daemon.get(
            "/metrics", "Accept: application/openmetrics-text;version=1.0.0\r\n")
        text = reply.body.decode()
        self.assert_page(text, "hcsd_handler_runs")
        self.assertTrue(text.endswith("# EOF\n"))


class OtherWays(TestCase):
    def test_a_module_in_the_folder_is_a_kind(self):
        """"modules" beside the executable, as in a build tree; an installed one is found
        by the page's example with CMake."""
        program = shutil.copy(HCSD, self.folder)
        os.mkdir(self.path("modules"))
        shutil.copy(self.installed.module("plain.c"), self.path("modules/my-plain.so"))
        daemon = self.start(program=program, HANDLERS="/=my-plain")
        self.assertEqual(daemon.get("/").json(), {"plain": True})
        for handlers, word in (("/=my-plain:x", "plain takes no argument"),
                               ("/=plain", "no such handler")):
            result = subprocess.run([program, "--check"], env=environment(HANDLERS=handlers),
                                    capture_output=True, text=True)
            self.assertEqual(result.returncode, EX_CONFIG)
            self.assertIn(word, result.stderr)

    def test_a_folder_that_is_found_from_anywhere(self):
        """A module without a slash in its name is in the working directory, and nowhere
        else."""
        shutil.copy(self.installed.module("plain.c"), self.path("here.so"))
        for folder, status in ((self.folder, 0), ("/", EX_CONFIG)):
            result = subprocess.run(
                [HCSD, "--check"], cwd=folder, capture_output=True, text=True,
                env=environment(HANDLERS="/=module:here.so", LD_LIBRARY_PATH=self.folder))
            self.assertEqual(result.returncode, status, result)

    def test_what_hides_its_symbols_is_found(self):
        module = self.installed.module("plain.c", "-fvisibility=hidden")
        daemon = self.start(HANDLERS="/=module:" + module)
        self.assertEqual(daemon.get("/").json(), {"plain": True})

    def test_cplusplus(self):
        if shutil.which("c++") is None:
            self.skipTest("no c++")
        module = self.installed.module("typed.cc")
        daemon = self.start(HANDLERS="/=module:%s /b=module:%s?greeting=%s" % (
            module, module, urllib.parse.quote('"hi"')))
        self.assertEqual(daemon.get("/").json(), "hello from C++")
        self.assertEqual(daemon.get("/b").json(), '"hi" from C++')

    def test_a_path_with_blanks(self):
        shutil.copy(self.installed.module("plain.c"), self.path("a module?.so"))
        daemon = self.start(HANDLERS="/=module:" + urllib.parse.quote(self.path("a module?.so")))
        self.assertEqual(daemon.get("/").json(), {"plain": True})


if __name__ == "__main__":
    harness.main()
