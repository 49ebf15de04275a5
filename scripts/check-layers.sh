#!/bin/sh
# Checks layers, circles, sizes and bytes of the sources; see --help.
python=/usr/bin/python3

if [ ! -x "$python" ]; then
    echo "$python is not here: apt-get install python3" >&2
    exit 1
fi
exec "$python" -B "$(dirname "$0")/check_layers.py" "$@"
