import harness


class Smoke(harness.TestCase):
    def test_a_job_is_answered_and_counted(self):
        daemon = self.start()
        reply = daemon.post('{"data": 9007199254740993 }', headers="X-Request-ID: test-123\r\n")
        self.assertEqual(reply.status, 200)
        self.assertEqual(reply.body,
                         b'{"status":"ok","request_id":"test-123","data":9007199254740993}')
        self.assertEqual(reply.headers["content-type"], "application/json")
        metrics = daemon.metrics()
        self.assertEqual(metrics["handlers"][0]["ok"], 1)
        self.assertEqual(metrics["error_count"], 0)


if __name__ == "__main__":
    harness.main()
