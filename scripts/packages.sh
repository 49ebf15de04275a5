#!/bin/sh
#
# Which Debian packages hcsd needs, and for what. Every script that installs
# packages calls this one.
#
#   scripts/packages.sh [--check] GROUP...
#
#   build   to build and run hcsd
#   tests   to build and run the tests
#   sql     the libraries of databases; hcsd lacks those handlers without
#   servers servers of databases, for the tests of those handlers
#   lint    clang, its fuzzer and the checkers that scripts/test.sh runs
#   cross   to build for 64-bit Arm and run its unit tests under qemu
#   bench   what the benchmarks compare with and measure by
#   cover   what scripts/coverage.sh counts with
#
# Installs what is missing, as root or with a sudo that asks no password, on
# Debian and its descendants. Elsewhere, and always with --check, it names what
# is missing and exits with status 1. Does nothing when nothing is missing,
# whatever the distribution and wherever the things came from.
set -eu

# One line a package: group, package, how to see that it is there.
# PACKAGE|PACKAGE: the first that this release of the distribution has.
table() {
    cat << 'END'
build  gcc                       command cc
build  libc6-dev                 file    /usr/include/stdio.h
build  make                      command make
build  cmake                     command cmake
build  pkg-config                command pkg-config
build  libcjson-dev              library libcjson
build  libbsd-dev                library libbsd
build  libllhttp-dev|node-llhttp llhttp  -
tests  libcmocka-dev             library cmocka
tests  python3                   command python3
tests  g++                       command c++
tests  curl                      command curl
tests  jq                        command jq
tests  apache2-utils             command ab
tests  wrk                       command wrk
tests  nginx                     command nginx
tests  haproxy                   command haproxy
tests  spin                      command spin
tests  libjansson-dev            library jansson
sql    libsqlite3-dev            library sqlite3
sql    libpq-dev                 library libpq
servers postgresql               postgresql initdb
lint   clang                     command clang
lint   libclang-rt-dev           fuzzer  -
lint   clang-format              command clang-format
lint   clang-tidy                command clang-tidy
lint   shellcheck                command shellcheck
cross  gcc-aarch64-linux-gnu     command aarch64-linux-gnu-gcc
cross  libc6-dev-arm64-cross     file    /usr/aarch64-linux-gnu/include/stdio.h
cross  qemu-user                 command qemu-aarch64
cross  libcjson-dev:arm64        file    /usr/lib/aarch64-linux-gnu/pkgconfig/libcjson.pc
cross  libbsd-dev:arm64          file    /usr/lib/aarch64-linux-gnu/pkgconfig/libbsd.pc
cross  libcmocka-dev:arm64       file    /usr/lib/aarch64-linux-gnu/pkgconfig/cmocka.pc
bench  wrk                       command wrk
bench  apache2-utils             command ab
bench  nginx                     command nginx
bench  haproxy                   command haproxy
bench  golang-go                 command go
bench  golang-github-valyala-fasthttp-dev file /usr/share/gocode/src/github.com/valyala/fasthttp/server.go
bench  libck-dev                 library ck
bench  gnuplot-nox               command gnuplot
bench  strace                    command strace
bench  valgrind                  command valgrind
bench  python3                   command python3
cover  gcovr                     command gcovr
END
}

# Servers are in sbin, which the PATH of an ordinary user may lack.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export DEBIAN_FRONTEND=noninteractive

usage() {
    sed -n '3,/^set /s/^# \{0,1\}//p' "$0"
}

is_there() { # KIND NAME
    case $1 in
    command) command -v "$2" > /dev/null 2>&1 ;;
    file) [ -e "$2" ] ;;
    library)
        command -v pkg-config > /dev/null 2>&1 && pkg-config --exists "$2"
        ;;
    postgresql) # its programs are in a folder for each version
        for program in /usr/lib/postgresql/*/bin/"$2"; do
            [ -e "$program" ] && return 0
        done
        is_there command "$2"
        ;;
    fuzzer) # lies in a folder with clang's version in its name
        command -v clang > /dev/null 2>&1 && [ -e "$(clang \
            -print-file-name="libclang_rt.fuzzer-$(uname -m).a")" ]
        ;;
    llhttp) # as scripts/cmake/FindLlhttp.cmake looks for it
        is_there library libllhttp ||
            [ -e /usr/include/llhttp.h ] || [ -e /usr/local/include/llhttp.h ] ||
            [ -e /usr/share/llhttp/llhttp.c ] ||
            [ -e /usr/local/share/llhttp/llhttp.c ]
        ;;
    esac
}

# Sets missing to the packages of the groups that are not there.
look() {
    missing=
    while read -r group package kind name; do
        case " $groups " in
        *" $group "*) ;;
        *) continue ;;
        esac
        case " $missing " in
        *" $package "*) continue ;;
        esac
        if ! is_there "$kind" "$name"; then
            missing="${missing:+$missing }$package"
        fi
    done << END
$(table)
END
}

# As a person would read it: "a b c-or-d".
readable() {
    printf '%s\n' "$missing" | sed 's/|/-or-/g'
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -n env DEBIAN_FRONTEND=noninteractive "$@"
    fi
}

may_install() {
    command -v apt-get > /dev/null 2>&1 &&
        command -v dpkg > /dev/null 2>&1 || return 1
    [ "$(id -u)" -eq 0 ] && return 0
    command -v sudo > /dev/null 2>&1 && sudo -n true 2> /dev/null
}

apt() {
    as_root apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"
}

# The names to give to apt-get, once it has its lists.
chosen() {
    for package in $missing; do
        for one in $(printf '%s\n' "$package" | tr '|' ' '); do
            if [ -n "$(apt-cache madison "$one" 2> /dev/null)" ]; then
                break
            fi
        done
        printf '%s ' "$one" # the last, when nothing is known of any
    done
}

# Packages for another architecture can be had once dpkg knows it. Only Debian
# serves all architectures from one place: elsewhere the new one would make
# every later "apt-get update" fail.
foreign_added=
add_foreign() {
    case $missing in
    *:arm64*) ;;
    *) return 0 ;;
    esac
    if [ "$(dpkg --print-architecture)" = arm64 ] ||
        dpkg --print-foreign-architectures | grep -qx arm64; then
        return 0
    fi
    # shellcheck source=/dev/null
    if [ "$(. /etc/os-release && echo "${ID:-}")" != debian ]; then
        return 0
    fi
    echo "packages.sh: adding the architecture arm64 to dpkg's"
    as_root dpkg --add-architecture arm64
    foreign_added=yes
}

drop_foreign() {
    if [ -n "$foreign_added" ]; then
        as_root dpkg --remove-architecture arm64 || true
    fi
}

check_only=
groups=
for argument in "$@"; do
    case $argument in
    --check) check_only=yes ;;
    -h | --help)
        usage
        exit 0
        ;;
    build | tests | sql | servers | lint | cross | bench | cover) groups="$groups $argument" ;;
    *)
        echo "packages.sh: unknown group '$argument'" >&2
        usage >&2
        exit 2
        ;;
    esac
done
if [ -z "$groups" ]; then
    usage >&2
    exit 2
fi

look
if [ -z "$missing" ]; then
    exit 0
fi

if [ -z "$check_only" ] && may_install; then
    echo "packages.sh: installing $(readable)"
    add_foreign
    # Old lists may do, so that this alone is no reason to give up.
    apt update || echo "packages.sh: apt-get update failed" >&2
    # shellcheck disable=SC2046 # one word a package
    apt install -y --no-install-recommends $(chosen) ||
        echo "packages.sh: apt-get install failed" >&2
    look
    if [ -z "$missing" ]; then
        exit 0
    fi
    drop_foreign
fi

{
    echo "hcsd needs packages that are not there (Debian's names):"
    echo
    readable | tr ' ' '\n' | sed 's/^/    /; s/-or-/ or /'
    echo
    echo "Install them and try again. On Debian, as root:"
    echo
    case $missing in
    *:arm64*) echo "    dpkg --add-architecture arm64" ;;
    esac
    echo "    apt-get update"
    echo "    apt-get install $(chosen)"
} >&2
exit 1
