"""PID_FILE: the number of the process in a file, and one daemon for each file."""

import os
import signal
import tempfile

import harness


class PidFile(harness.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "hcsd.pid")

    def number(self):
        with open(self.path) as file:
            return int(file.read())

    def start_refused(self, status, *words, **settings):
        daemon = harness.Daemon(PID_FILE=self.path, **settings)
        self.assertEqual(daemon.wait(), status, daemon.output())
        for word in words:
            self.assertIn(word, daemon.output())
        daemon.close_log()

    def test_it_holds_the_number_and_goes_with_the_daemon(self):
        daemon = self.start(PID_FILE=self.path)
        self.assertEqual(self.number(), daemon.pid)
        self.assertEqual(daemon.stop(), 0)
        self.assertFalse(os.path.exists(self.path))

    def test_a_second_daemon_with_the_file_does_not_start(self):
        daemon = self.start(PID_FILE=self.path)
        self.start_refused(69, "PID_FILE=" + self.path, "process %d " % daemon.pid)
        self.assertEqual(self.number(), daemon.pid)
        self.assertEqual(daemon.get("/health").status, 200)

    def test_a_file_that_was_left_behind_does_not_matter(self):
        # The spawner of exec outlives a daemon that is killed, for a moment. It
        # must not have the lock.
        daemon = self.start(PID_FILE=self.path, HANDLERS="/=exec:/bin/cat")
        daemon.kill()
        daemon.status = -signal.SIGKILL
        again = self.start(PID_FILE=self.path)
        self.assertEqual(self.number(), again.pid)

    def test_a_file_that_cannot_be_made_stops_the_start(self):
        self.path = os.path.join(self.path, "deeper")
        self.start_refused(73, "PID_FILE=" + self.path, "No such file or directory")

    def test_a_start_that_fails_leaves_no_file(self):
        self.start_refused(78, "HANDLERS", HANDLERS="/=module:/nonexistent.so")
        self.assertFalse(os.path.exists(self.path))


if __name__ == "__main__":
    harness.main()
