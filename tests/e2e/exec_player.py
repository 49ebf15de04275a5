"""A program for exec that does what the job's body asks for: {"do": ...}."""

import json
import os
import signal
import subprocess
import sys
import time

jobs = 0


def say(line, end="\n"):
    sys.stdout.write(line + end)
    sys.stdout.flush()


def answer(job, body=None, **members):
    say(json.dumps({"id": job["id"], "body": body, **members}))


def pid(job):
    answer(job, os.getpid())


def line(job):
    answer(job, {"line": job})


def count(job):
    answer(job, jobs)


def raw(job):
    """Writes texts as they are, but for ID; a number is a pause. Makes a file
    when all is said."""
    for part in job["body"]["parts"]:
        if isinstance(part, str):
            say(part.replace("ID", job["id"]), end="")
        else:
            time.sleep(part)
    if "file" in job["body"]:
        with open(job["body"]["file"], "w"):
            pass


def leave(job):
    sys.stderr.write(job["body"].get("words", ""))
    sys.stderr.flush()
    if "orphan" in job["body"]:  # which keeps the pipes
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
    os._exit(job["body"]["status"])


def die(job):
    os.kill(os.getpid(), job["body"]["signal"])


def close(job):
    os.close(1)
    time.sleep(1000)


def hang(job):
    """Tells of itself and of a child of its own in a file."""
    child = subprocess.Popen(["sleep", "1000"],
                             start_new_session=job["body"].get("session", False))
    with open(job["body"]["file"] + ".new", "w") as out:
        json.dump([os.getpid(), child.pid], out)
    os.rename(job["body"]["file"] + ".new", job["body"]["file"])
    if "until" in job["body"]:
        while not os.path.exists(job["body"]["until"]):
            time.sleep(0.01)
    else:
        time.sleep(job["body"].get("seconds", 1000))
    answer(job, os.getpid())


def flood(job):
    while True:
        os.write(1, b"x" * 65536)


def words(job):
    """To standard error."""
    data = (job["body"]["text"] * job["body"].get("times", 1)).encode()
    while data:
        data = data[os.write(2, data):]
    answer(job, os.getpid())


def files(job):
    with os.scandir("/proc/self/fd") as entries:
        answer(job, {e.name: os.readlink(e.path) for e in entries
                     if os.path.islink(e.path)})


def surroundings(job):
    import resource
    answer(job, {
        "uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(),
        "directory": os.getcwd(), "arguments": sys.argv[1:], "sid": os.getsid(0),
        "pid": os.getpid(), "environment": dict(os.environ),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "cpu": resource.getrlimit(resource.RLIMIT_CPU),
        "memory": resource.getrlimit(resource.RLIMIT_AS)})


def allocate(job):
    try:
        answer(job, len(bytearray(job["body"]["bytes"])))
    except MemoryError:
        answer(job, "no memory")


def burn(job):
    end = time.process_time() + job["body"]["seconds"]
    while time.process_time() < end:
        pass
    answer(job, os.getpid())


def ignore(job):
    """The end of its input, from now on."""
    answer(job, os.getpid())
    time.sleep(1000)


def main():
    global jobs
    for text in sys.stdin.buffer:
        job = json.loads(text)
        jobs += 1
        globals()[job["body"]["do"] if job["body"] else "line"](job)


if __name__ == "__main__":
    main()
