#!/usr/bin/env python3
"""HANDLERS='/upper=exec:./upper.py': {"text": "abc"} becomes {"text": "ABC"}."""

import json
import sys


def upper(body):
    if not isinstance(body, dict) or not isinstance(body.get("text"), str):
        raise ValueError("text must be a string")
    return {"text": body["text"].upper()}


# Bytes: what the terminal's encoding is does not matter here.
for line in sys.stdin.buffer:
    job = json.loads(line)
    try:
        reply = {"id": job["id"], "body": upper(job["body"])}
    except ValueError as error:
        reply = {"id": job["id"], "error": str(error)}
    # Without the flush the line stays here until there are some thousand more.
    print(json.dumps(reply), flush=True)
