# ctest: timeout=120 builds=release,asan,tsan
"""The command line, the settings, and the start."""

import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import time

import harness
from harness import HCSD, PATIENCE, get_bytes


def run(*args, env=None, **kwargs):
    """One that ends by itself, with nothing but these variables."""
    environment = {"PATH": os.environ.get("PATH", "")}
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"):
        if name in os.environ:
            environment[name] = os.environ[name]
    environment.update(env or {})
    return subprocess.run([HCSD, *args], env=environment, capture_output=True, text=True,
                          timeout=PATIENCE, **kwargs)


# Every setting that an operator may set, with a value that is not its default.
OTHERS = {
    "PORT": "8081", "ADDRESS": "127.0.0.1", "LOOPS": "3", "WORKERS": "7", "QUEUE_SIZE": "9",
    "MAX_CONNECTIONS": "77", "READ_TIMEOUT": "3s", "MIN_UPLOAD_RATE": "1KiB", "WRITE_TIMEOUT": "4s", "IDLE_TIMEOUT": "5s",
    "SHUTDOWN_TIMEOUT": "6s", "MAX_HEADER_SIZE": "8KiB", "MAX_BODY_SIZE": "2MiB",
    "MEMORY_BUDGET": "128MiB", "QUEUE_TIMEOUT": "7s", "JOB_TIMEOUT": "8s", "HALF_CLOSE": "serve",
    "HANDLERS": "/=sleep:100ms /b=echo", "LOG_LEVEL": "warn", "LOG_FORMAT": "logfmt",
    "PRIVATE_FD_TABLES": "off", "DRAIN_DELAY": "2s", "DRAIN_IDLE": "3s", "PID_FILE": "/run/x.pid",
}

DEFAULTS = {
    "PORT": "8080", "ADDRESS": "", "QUEUE_SIZE": "10000", "MAX_CONNECTIONS": "100000",
    "READ_TIMEOUT": "15s", "MIN_UPLOAD_RATE": "240B", "WRITE_TIMEOUT": "15s", "IDLE_TIMEOUT": "60s",
    "SHUTDOWN_TIMEOUT": "30s", "MAX_HEADER_SIZE": "16KiB", "MAX_BODY_SIZE": "1MiB",
    "QUEUE_TIMEOUT": "30s", "JOB_TIMEOUT": "off", "HANDLERS": "/=echo", "HALF_CLOSE": "cancel",
    "PRIVATE_FD_TABLES": "on", "DRAIN_IDLE": "1s", "DRAIN_DELAY": "0s", "LOG_LEVEL": "info",
}


def printed(env=None):
    """What --print-config says, as NAME: (value, source)."""
    result = run("--print-config", env=env)
    assert result.returncode == 0, result
    return {match.group(1): (match.group(2), match.group(3))
            for match in re.finditer(r"^([A-Z_]+)=(.*)\t# (\S+)$", result.stdout, re.M)}


class CommandLine(harness.TestCase):
    def test_help_shows_options_and_every_setting(self):
        result = run("--help")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for word in ("--help", "--version", "--check", "--print-config", *OTHERS):
            self.assertRegex(result.stdout, r"(?m)^ *%s\b" % re.escape(word))
        for name, value in DEFAULTS.items():
            if value:
                self.assertRegex(result.stdout, r"(?m)^%s +%s " % (name, re.escape(value)))
        self.assertLessEqual(max(map(len, result.stdout.splitlines())), 80)
        self.assertEqual(run("-h").stdout, result.stdout)

    def test_version(self):
        for option in ("--version", "-V"):
            result = run(option)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            self.assertRegex(result.stdout, r"^hcsd \d+\.\d+\.\d+\n$")

    def test_the_manual_has_an_item_for_every_setting(self):
        result = run("--help=man")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(re.findall(r"(?m)^\.It Ev (\w+)$", result.stdout), list(printed()))

    def test_what_looks_only_looks(self):
        """Neither help nor version minds bad settings; check does not listen."""
        for option in ("--help", "--version"):
            self.assertEqual(run(option, env={"PORT": "x"}).returncode, 0)
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            env = {"PORT": str(sock.getsockname()[1]), "ADDRESS": "127.0.0.1"}
            self.assertEqual(run("--check", env=env).returncode, 0)

    def test_check(self):
        result = run("--check", env=OTHERS)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(len(result.stdout.splitlines()), 1)

    def test_print_config_of_defaults(self):
        config = printed()
        for name, value in DEFAULTS.items():
            self.assertEqual(config[name], (value, "default"), name)
        for name in ("LOOPS", "WORKERS", "MEMORY_BUDGET", "LOG_FORMAT"):
            self.assertEqual(config[name][1], "auto")
        cores = len(os.sched_getaffinity(0))
        self.assertLessEqual(int(config["LOOPS"][0]), cores)
        self.assertEqual(int(config["WORKERS"][0]), 2 * int(config["LOOPS"][0]))

    def test_print_config_of_the_environment(self):
        config = printed(OTHERS)
        for name, value in OTHERS.items():
            self.assertEqual(config[name], (value, "environment"), name)
        # What it prints is what it reads: the same again.
        again = printed({name: value for name, (value, _) in config.items() if value})
        self.assertEqual({name: value for name, (value, _) in again.items()},
                         {name: value for name, (value, _) in config.items()})

    def test_empty_means_the_default(self):
        self.assertEqual(printed({name: "" for name in OTHERS}), printed())

    def test_auto_honours_the_affinity(self):
        one = {min(os.sched_getaffinity(0))}
        result = run("--print-config", preexec_fn=lambda: os.sched_setaffinity(0, one))
        self.assertIn("LOOPS=1\t# auto", result.stdout)
        self.assertIn("WORKERS=2\t# auto", result.stdout)

    def test_unknown_arguments(self):
        for args in (("--nonsense",), ("serve",), ("",), ("--check", "--help"),
                     ("--port=80",), ("-x",)):
            result = run(*args, env={"PORT": "0"})
            self.assertEqual(result.returncode, 64, args)
            self.assertEqual(result.stdout, "")
            self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
            self.assertIn("argument", result.stderr)
            self.assertIn("--help", result.stderr)

    def test_output_that_cannot_be_written_is_an_error(self):
        with open("/dev/full", "w") as full:
            for option in ("--help", "--version", "--print-config", "--check"):
                status = subprocess.run([HCSD, option], stdout=full,
                                        stderr=subprocess.DEVNULL).returncode
                self.assertNotEqual(status, 0, option)


class BadSettings(harness.TestCase):
    BAD = (
        ("PORT", "65536", "65535"), ("PORT", "http", "65535"), ("PORT", "-1", "65535"),
        ("PORT", "80 ", "65535"), ("PORT", "99999999999999999999", "65535"),
        ("ADDRESS", "localhost", "IPv4"), ("ADDRESS", "256.1.1.1", "IPv4"),
        ("ADDRESS", "[::1]", "IPv6"),
        ("LOOPS", "0", "1024"), ("LOOPS", "1025", "1024"), ("LOOPS", "many", "auto"),
        ("WORKERS", "0", "65535"), ("WORKERS", "65536", "65535"),
        ("QUEUE_SIZE", "0", "16777216"), ("QUEUE_SIZE", "16777217", "16777216"),
        ("MAX_CONNECTIONS", "0", "100000000"), ("MAX_CONNECTIONS", "100000001", "100000000"),
        ("MAX_CONNECTIONS", "1.5", "100000000"),
        ("READ_TIMEOUT", "0", "24h"), ("READ_TIMEOUT", "15", "24h"), ("READ_TIMEOUT", "1500m", "24h"),
        ("MIN_UPLOAD_RATE", "2GiB", "1GiB"), ("MIN_UPLOAD_RATE", "240 B", "1GiB"),
        ("WRITE_TIMEOUT", "0s", "24h"), ("WRITE_TIMEOUT", "-1s", "24h"),
        ("IDLE_TIMEOUT", "25h", "24h"), ("IDLE_TIMEOUT", "1.5s", "24h"),
        ("IDLE_TIMEOUT", "1 s", "24h"), ("SHUTDOWN_TIMEOUT", "soon", "24h"),
        ("SHUTDOWN_TIMEOUT", "10d", "24h"),
        ("MAX_HEADER_SIZE", "255", "256B"), ("MAX_HEADER_SIZE", "1025KiB", "1MiB"),
        ("MAX_HEADER_SIZE", "16KB", "KiB"), ("MAX_BODY_SIZE", "1025MiB", "1GiB"),
        ("MAX_BODY_SIZE", "big", "1GiB"), ("MEMORY_BUDGET", "15MiB", "16MiB"),
        ("MEMORY_BUDGET", "0", "16MiB"), ("QUEUE_TIMEOUT", "25h", "24h"),
        ("JOB_TIMEOUT", "5", "24h"), ("HALF_CLOSE", "maybe", "serve"),
        ("HALF_CLOSE", "Cancel", "cancel"), ("LOG_LEVEL", "loud", "debug"),
        ("LOG_LEVEL", "INFO", "info"), ("LOG_FORMAT", "xml", "logfmt"),
        ("PRIVATE_FD_TABLES", "yes", "on"), ("HANDLERS", "nonsense", "PATH"),
    )

    def test_one_line_names_variable_value_and_what_is_allowed(self):
        for args in ((), ("--check",), ("--print-config",)):
            for name, value, allowed in self.BAD if args else self.BAD[::4]:
                with self.subTest(args=args, name=name, value=value):
                    result = run(*args, env={name: value})
                    self.assertEqual(result.returncode, 78)
                    self.assertEqual(result.stdout, "")
                    lines = result.stderr.splitlines()
                    self.assertEqual(len(lines), 1, lines)
                    self.assertTrue(lines[0].startswith("hcsd: %s=" % name),
                                    lines[0])
                    self.assertIn(value.strip(), lines[0])
                    self.assertIn("allowed", lines[0])
                    self.assertIn(allowed, lines[0])

    def test_bounds_are_allowed(self):
        for name, values in {
                "PORT": ("0", "65535"), "ADDRESS": ("::", "0.0.0.0", "::1"),
                "LOOPS": ("1", "1024", "auto"), "WORKERS": ("1", "65535", "auto"),
                "QUEUE_SIZE": ("1", "3", "16777216"), "MAX_CONNECTIONS": ("1", "100000000"),
                "READ_TIMEOUT": ("1ms", "24h"), "IDLE_TIMEOUT": ("1ms", "1440m"),
                "MAX_HEADER_SIZE": ("256", "256B", "1MiB"), "MAX_BODY_SIZE": ("0", "1GiB"),
                "MEMORY_BUDGET": ("16MiB", "1TiB", "auto"),
                "QUEUE_TIMEOUT": ("0", "off", "1ms", "24h"),
                "JOB_TIMEOUT": ("0", "off", "1ms", "24h")}.items():
            for value in values:
                result = run("--check", env={name: value})
                self.assertEqual(result.returncode, 0, (name, value, result.stderr))

    def test_a_hostile_value_stays_one_short_line(self):
        for value in ("\n\n", "x" * 100000, "\x1b[31mred", "%s%n%s"):
            result = run("--check", env={"WORKERS": value})
            self.assertEqual(result.returncode, 78)
            self.assertEqual(len(result.stderr.splitlines()), 1)
            self.assertLess(len(result.stderr), 600)
            self.assertNotIn("\x1b", result.stderr)


class Environment(harness.TestCase):
    def test_many_other_variables_are_ignored(self):
        others = {"VARIABLE_%d" % i: "v" * 50 for i in range(5000)}
        others.update({"PORTS": "x", "XPORT": "x", "port": "x", "WORKER": "x", "HCSD_PORT": "x",
                       "LOOPS_": "x", "OTEL_SDK_DISABLED": "maybe"})
        daemon = self.start(env=others)
        self.assertEqual(daemon.get("/health").status, 200)

    def test_the_handlers_may_come_from_a_file(self):
        import tempfile
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write("# two\n/one=echo\n\n/two=sleep:1ms  # and a comment\n")
            file.flush()
            daemon = self.start(HANDLERS_FILE=file.name)
            self.assertEqual(daemon.get("/one").status, 200)
            self.assertEqual(daemon.get("/two").status, 200)
            self.assertEqual(daemon.get("/").status, 404)
        for name in ("/nowhere/handlers", "/dev/null", "/"):
            result = run("--check", env={"HANDLERS_FILE": name})
            self.assertEqual(result.returncode, 78, name)
            self.assertEqual(len(result.stderr.splitlines()), 1)
            self.assertIn("HANDLERS_FILE=" + name, result.stderr)


class Start(harness.TestCase):
    def test_the_line_says_where_and_with_what_limits(self):
        daemon = self.start(LOOPS=3, WORKERS=7, QUEUE_SIZE=9, MAX_CONNECTIONS=77,
                            MAX_HEADER_SIZE="8KiB", MAX_BODY_SIZE="2MiB", MEMORY_BUDGET="128MiB")
        line = daemon.start_line()
        self.assertEqual(line["level"], "info")
        self.assertEqual(line["address"], "127.0.0.1:%d" % daemon.port)
        self.assertEqual(
            {name: line[name] for name in (
                "loops", "workers", "queue_size", "max_connections", "max_header_bytes",
                "max_body_bytes", "memory_budget_bytes")},
            {"loops": 3, "workers": 7, "queue_size": 9, "max_connections": 77,
             "max_header_bytes": 8192, "max_body_bytes": 2 << 20,
             "memory_budget_bytes": 128 << 20})
        self.assertRegex(line["version"], r"^\d+\.\d+\.\d+")
        self.assertIn(line["fd_tables"], ("private", "shared"))

    def test_it_is_said_once_it_serves(self):
        for _ in range(5):
            daemon = self.start(LOOPS=5)
            self.assertEqual(daemon.get("/health").status, 200)

    def test_connections_that_cannot_be_reached_are_a_warning(self):
        daemon = self.start(max_fds=100, MAX_CONNECTIONS=100000, LOOPS=2)
        self.assertIn("MAX_CONNECTIONS=100000 cannot be reached", daemon.output())
        daemon = self.start(max_fds=1000, MAX_CONNECTIONS=500, LOOPS=2)
        self.assertNotIn("cannot be reached", daemon.output())

    def test_the_soft_limit_on_descriptors_is_raised_to_the_hard_one(self):
        import resource
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        daemon = harness.Daemon(max_fds=None)
        daemon.wait_ready()
        self.addCleanup(self._end, daemon)
        self.assertEqual(resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE), (hard, hard))
        self.assertEqual(daemon.start_line()["max_fds"], hard)


class StandardError(harness.TestCase):
    """The log is not a reason to stop."""

    def launch(self, **kwargs):
        port = harness.free_port()
        environment = dict(os.environ, PORT=str(port), ADDRESS="127.0.0.1", LOG_LEVEL="debug",
                           LOOPS="2", WORKERS="2")
        process = subprocess.Popen([HCSD], env=environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, **kwargs)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                return process, harness.Client(
                    socket.create_connection(("127.0.0.1", port), PATIENCE))
            self.assertIsNone(process.poll())
            time.sleep(0.02)
        self.fail("did not start")

    def assert_serves(self, client, times=2000):
        for _ in range(times):
            self.assertEqual(client.ask(get_bytes()).status, 200)
        self.assertEqual(client.post(b'{"data": 1}').status, 200)

    def assert_ends(self, process, client):
        client.close()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(PATIENCE), 0)

    def test_a_pipe_that_nobody_reads(self):
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        process, client = self.launch(stderr=writer)
        os.close(writer)
        self.assert_serves(client)
        dropped = client.ask(get_bytes("/metrics")).json()["log_lines_dropped"]
        self.assertGreater(dropped, 0)
        self.assert_ends(process, client)
        os.close(reader)

    def test_a_pipe_whose_reader_left(self):
        reader, writer = os.pipe()
        process, client = self.launch(stderr=writer)
        os.close(writer)
        os.close(reader)
        self.assert_serves(client, 200)
        self.assert_ends(process, client)

    def test_a_full_disk(self):
        with open("/dev/full", "w") as full:
            process, client = self.launch(stderr=full)
            self.assert_serves(client, 200)
            self.assert_ends(process, client)

    def test_closed_from_the_beginning(self):
        """No descriptor of the daemon's gets such a number, and log lines."""
        for numbers in ((2,), (0, 2), (1, 2), (0, 1, 2), (0,)):
            def close_some():
                for number in numbers:
                    os.close(number)

            with self.subTest(closed=numbers):
                process, client = self.launch(preexec_fn=close_some)
                self.assert_serves(client, 200)
                for number in numbers:
                    self.assertEqual(os.readlink("/proc/%d/fd/%d" % (process.pid, number)),
                                     "/dev/null")
                self.assert_ends(process, client)


if __name__ == "__main__":
    harness.main()
