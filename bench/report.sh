#!/bin/sh
# Measures everything for docs/benchmarks.md and draws it; --help says how.
python=/usr/bin/python3

if [ ! -x "$python" ]; then
    echo "$python is not here: apt-get install python3" >&2
    exit 1
fi
exec "$python" -B "$(dirname "$0")/report.py" "$@"
