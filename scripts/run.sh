#!/bin/sh
#
# From a fresh clone to a running hcsd: installs what the build needs, builds
# it, says what to try, and runs it in the foreground. Settings come from the
# environment, for example PORT=8081 WORKERS=4 scripts/run.sh
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
build=$top/build

"$top/scripts/packages.sh" build
# Two more kinds of handlers, where their libraries can be installed.
"$top/scripts/packages.sh" sql || echo "going on without them"

cmake -S "$top" -B "$build" -DCMAKE_BUILD_TYPE=Release -DHCS_WERROR=OFF
cmake --build "$build" --parallel "$(nproc)"

port=${PORT:-8080}
case ${ADDRESS:-} in
'' | 0.0.0.0 | ::) host=127.0.0.1 ;;
*:*) host="[$ADDRESS]" ;;
*) host=$ADDRESS ;;
esac
at=http://$host:$port
if [ "$port" = 0 ]; then
    at=http://$host:PORT
    echo
    echo "PORT=0: hcsd picks a port and logs it; put it where PORT stands."
fi

cat << END

hcsd starts now; Ctrl-C stops it. From another terminal:

  curl -H 'Content-Type: application/json' -d '{"data":{"n":42}}' $at/
  curl $at/health
  curl $at/metrics
  wrk -t2 -c64 -d10s $at/

END
exec "$build/hcsd"
