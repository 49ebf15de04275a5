"""A PostgreSQL server of a test's own: in a temporary folder, on a port of its
own, as a user without privileges, and gone with the test."""

import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time

import harness


def find_programs():
    """The folder of initdb and postgres; None where there is none."""
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"),
                     key=lambda path: float(path.split("/")[4]))
    on_path = shutil.which("initdb")
    if on_path:
        folders.append(os.path.dirname(os.path.realpath(on_path)))
    found = [folder for folder in folders
             if all(os.path.exists(os.path.join(folder, name))
                    for name in ("initdb", "postgres", "psql"))]
    return found[-1] if found else None


PROGRAMS = find_programs()
MISSING = "no PostgreSQL server here (scripts/packages.sh tests)"


def unprivileged():
    """Whom the server, which refuses to run as root, runs as; None: us."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    raise AssertionError("neither postgres nor nobody is a user here")


class Server:
    def __init__(self):
        self.user = unprivileged()
        self.folder = tempfile.mkdtemp(prefix="hcsd-postgres-", dir="/tmp")
        self.data = os.path.join(self.folder, "data")
        self.port = harness.free_port()
        self.process = None
        if self.user:
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        self._run("initdb", "-D", self.data, "-U", "app", "--auth=trust", "--no-sync",
                  "-E", "UTF8", "--locale=C")
        with open(os.path.join(self.data, "pg_hba.conf"), "w") as hba:
            hba.write("host all locked 127.0.0.1/32 scram-sha-256\n"
                      "host all stranger 127.0.0.1/32 reject\n"
                      "host all all 127.0.0.1/32 trust\n"
                      "local all all trust\n")

    def _become(self):
        os.setsid()
        if self.user:
            os.setgroups([])
            os.setgid(self.user.pw_gid)
            os.setuid(self.user.pw_uid)

    def _command(self, name, *args):
        return [os.path.join(PROGRAMS, name), *args]

    def _run(self, name, *args):
        done = subprocess.run(
            self._command(name, *args), preexec_fn=self._become, cwd=self.folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            universal_newlines=True, env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"})
        assert done.returncode == 0, done.stdout
        return done.stdout

    def conninfo(self, **more):
        """As hcsd takes it, percent-encoded for HANDLERS."""
        options = {"host": "127.0.0.1", "port": self.port, "user": "app", "dbname": "postgres"}
        options.update(more)
        return "%20".join("%s=%s" % item for item in options.items())

    def spawn(self):
        with open(os.path.join(self.folder, "log"), "a") as log:
            self.process = subprocess.Popen(
                self._command("postgres", "-D", self.data, "-p", str(self.port),
                              "-k", self.folder, "-c", "listen_addresses=127.0.0.1",
                              "-c", "fsync=off", "-c", "max_connections=50"),
                preexec_fn=self._become, cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"})

    def start(self, patience=60):
        """Until it answers. What a killed one left behind may be in the way for a
        moment."""
        end = time.monotonic() + patience
        while True:
            if self.process is None or self.process.poll() is not None:
                self.spawn()
            if self._answers():
                return self
            assert time.monotonic() < end, self.log()
            time.sleep(0.05)

    def _answers(self):
        return subprocess.run(
            self._command("psql", "-X", "-h", self.folder, "-p", str(self.port), "-U", "app",
                          "-d", "postgres", "-c", "SELECT 1"),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def log(self):
        with open(os.path.join(self.folder, "log")) as log:
            return log.read()[-4000:]

    def sql(self, text):
        """Runs it; gives what comes back, without decoration."""
        done = subprocess.run(
            self._command("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
                          "-h", self.folder, "-p", str(self.port), "-U", "app",
                          "-d", "postgres"),
            input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            universal_newlines=True)
        assert done.returncode == 0, done.stdout
        return done.stdout.strip()

    def stop(self, number=signal.SIGINT):
        """SIGINT: it ends all sessions in order; SIGQUIT: at once."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(60)
            self.process = None

    def _send_all(self, number, children):
        """To the server and its children, each of which has a session of its
        own."""
        self.process.send_signal(number)
        for child in children:
            try:
                os.kill(child, number)
            except ProcessLookupError:
                pass

    def _children(self):
        found = []
        for name in os.listdir("/proc"):
            try:
                with open("/proc/%s/stat" % name) as stat:
                    parent = int(stat.read().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue  # none, or gone by now
            if parent == self.process.pid:
                found.append(int(name))
        return found

    def kill(self):
        """As if the machine had stopped: it and all its children, at once."""
        self.process.send_signal(signal.SIGSTOP)  # so that there are no more
        self._send_all(signal.SIGKILL, self._children())
        self.process.wait(60)
        self.process = None

    def freeze(self, frozen):
        self.process.send_signal(signal.SIGSTOP)
        self._send_all(signal.SIGSTOP if frozen else signal.SIGCONT, self._children())

    def close(self):
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
