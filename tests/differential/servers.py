"""The servers of the differential test: each private to it, in a folder of its
own, on Unix sockets there, and ended by the test that started it.

A front is what other people's proxy makes of a stream. Alone it forwards to
itself and tells, for each request that it forwarded, what it took it for; in
front of hcsd it forwards to an hcsd of its own.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time

from harness import PATIENCE

SBIN = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def find(program):
    return shutil.which(program, path=SBIN)


# One process without a master, so that its id is all there is to end. The body
# that was taken off the wire comes back in place of @BODY@.
NGINX = """
daemon off; master_process off; worker_processes 1;
pid {folder}/nginx.pid; error_log {folder}/nginx.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off; default_type application/octet-stream; server_tokens off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    client_body_buffer_size 64k; client_body_in_single_buffer on;
    keepalive_requests 100000000; merge_slashes off; lingering_close always;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
    proxy_ignore_client_abort on; proxy_next_upstream off;
    add_header X-Seen "$http_x_request_id" always;
    add_header X-Line "$request_method $request_uri" always;
    add_header X-Status "$upstream_status" always;
    upstream inner {{ server unix:{folder}/nginx-inner.sock; keepalive 256;
                      keepalive_requests 100000000; }}
    upstream hcsd {{ server 127.0.0.1:{port}; keepalive 256; keepalive_requests 100000000; }}
    server {{
        listen unix:{folder}/nginx-inner.sock backlog=4096;
        location / {{ return 200 "@BODY@"; }}
    }}
    server {{
        listen unix:{folder}/nginx.sock backlog=4096; server_name x;
        location / {{
            proxy_pass http://inner; sub_filter_types *; sub_filter "@BODY@" "$request_body";
        }}
    }}
    server {{
        listen unix:{folder}/nginx-hcsd.sock backlog=4096; server_name x;
        proxy_request_buffering off;
        location / {{ proxy_pass http://hcsd; }}
    }}
}}
"""

HAPROXY = """
global
    nbthread 1
    maxconn 4096
    tune.bufsize 65536
    tune.maxrewrite 32768
defaults
    mode http
    timeout client {patience}s
    timeout server {patience}s
    timeout connect {patience}s
    timeout http-request {patience}s
    timeout http-keep-alive {patience}s
    http-reuse always
listen inner
    bind unix@{folder}/haproxy-inner.sock backlog 4096
    http-request return status 405 if METH_CONNECT
    http-request return status 200
listen alone
    bind unix@{folder}/haproxy.sock backlog 4096
    option http-buffer-request
    http-request wait-for-body time {patience}s
    http-request set-var(txn.seen) req.fhdr(x-request-id,1)
    http-request set-var(txn.method) method
    http-request set-var(txn.url) url
    http-request set-var(txn.body) req.body,hex
    http-response set-header X-Status %[status]
    http-response set-header X-Line "%[var(txn.method)] %[var(txn.url)]"
    http-response set-header X-Body "%[var(txn.body)]"
    http-after-response set-header X-Seen "%[var(txn.seen)]"
    server inner unix@{folder}/haproxy-inner.sock
listen pair
    bind unix@{folder}/haproxy-hcsd.sock backlog 4096
    http-request set-var(txn.seen) req.fhdr(x-request-id,1)
    http-response set-header X-Status %[status]
    http-after-response set-header X-Seen "%[var(txn.seen)]"
    server hcsd 127.0.0.1:{port}
"""


class Folder:
    """A temporary folder with a short name: that of a socket must fit into 108
    bytes (unix(7))."""

    def __init__(self):
        base = tempfile.gettempdir()
        self.path = tempfile.mkdtemp(prefix="hcsd", dir=base if len(base) < 60 else "/tmp")

    def write(self, name, text):
        path = os.path.join(self.path, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Server:
    """A process that listens on sockets in the folder."""

    def __init__(self, folder, name, command, sockets):
        self.name = name
        self.output = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, cwd=folder.path, stdin=subprocess.DEVNULL,
                                        stdout=self.output, stderr=self.output)
        end = time.monotonic() + PATIENCE
        for path in sockets:
            while not self._listens(os.path.join(folder.path, path)):
                if self.process.poll() is not None or time.monotonic() > end:
                    self.stop()
                    raise AssertionError("%s did not start: %s" % (name, self.said()))
                time.sleep(0.01)

    @staticmethod
    def _listens(path):
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.connect_ex(path) == 0

    def said(self):
        return os.pread(self.output.fileno(), 1 << 16, 0).decode(errors="replace")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()


def nginx(folder, hcsd_port):
    path = folder.write("nginx.conf", NGINX.format(folder=folder.path, port=hcsd_port))
    return Server(folder, "nginx", [find("nginx"), "-p", folder.path, "-e", "stderr", "-c", path],
                  ["nginx.sock", "nginx-hcsd.sock", "nginx-inner.sock"])


def haproxy(folder, hcsd_port):
    path = folder.write("haproxy.cfg", HAPROXY.format(
        folder=folder.path, port=hcsd_port, patience=int(PATIENCE)))
    return Server(folder, "haproxy", [find("haproxy"), "-db", "-f", path],
                  ["haproxy.sock", "haproxy-hcsd.sock", "haproxy-inner.sock"])


def node(folder):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "node_server.js")
    path = os.path.join(folder.path, "node.sock")
    return Server(folder, "node", [find("node"), script, path], ["node.sock"])
