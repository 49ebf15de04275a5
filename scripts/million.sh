#!/bin/sh
#
# Holds a million keep-alive connections with one hcsd on this machine, client
# included, and says what each costs. Says what it needs, checks that first,
# and puts back what it changed. --help lists the options.
set -eu

python=/usr/bin/python3
if [ ! -x "$python" ]; then
    echo "$python is not here: apt-get install python3" >&2
    exit 1
fi
exec "$python" -B "$(dirname "$0")/../bench/million.py" "$@"
