#!/bin/sh
#
# Proves that no verdict on a header section hangs on the version of llhttp: the
# tests of the head (tests/unit/test_head*.c), built and run with each version
# that Debian's releases have.
#
#   scripts/llhttp-versions.sh [--all] [FOLDER...]
#
#   --all    the versions inside Debian's Node.js too: older ones, 70 MB
#   FOLDER   one that holds llhttp.h and llhttp.c, or libllhttp.a, somewhere;
#            nothing is fetched then
#
# Fetched by apt-get, from the mirror that this machine uses, into a folder that
# is removed at the end; nothing is installed, and apt's own lists stay as they
# are. Exit status: 0 proven, 1 a test failed, 77 skipped: nothing to be had.
set -eu

suites="bookworm trixie sid"
node_suites="bullseye bookworm trixie"
packages="node-llhttp libllhttp-source libllhttp-dev"
cc=${CC:-cc}

skip() {
    echo "skipped: $1" >&2
    exit 77
}

usage() {
    sed -n 's/^# \{0,1\}//; 2,$p' "$0" | sed '/^set -eu/,$d'
    exit "$1"
}

# apt with lists, cache and sources of its own.
apt() {
    tool=$1
    shift
    timeout 600 "$tool" -q -q -o Dir::Etc::SourceList="$work/sources.list" \
        -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$work/lists" \
        -o Dir::Cache="$work/cache" -o Acquire::Languages=none \
        -o APT::Sandbox::User=root "$@"
}

list_sources() { # KIND SUITE...
    kind=$1
    shift
    for suite in "$@"; do
        echo "$kind [signed-by=$keyring] $mirror $suite main"
    done
}

# Prints the folders that hold what was fetched, one a line.
fetch() {
    for tool in apt-get apt-cache dpkg-deb; do
        command -v "$tool" > /dev/null ||
            skip "this is no Debian, and no FOLDER was named"
    done
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -r "$keyring" ] || skip "Debian's keyring is not here"
    # shellcheck disable=SC2016 # apt-get expands them
    mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' \
        'Created-By: Packages' 2> /dev/null |
        sed -n 's/^Debian //p' | head -n 1)
    [ -n "$mirror" ] || skip "no mirror of Debian's is known here (apt-get update)"

    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/fetched"
    # shellcheck disable=SC2086 # several words
    list_sources deb $suites > "$work/sources.list"
    if [ "$all" = yes ]; then
        # shellcheck disable=SC2086
        list_sources deb-src $node_suites >> "$work/sources.list"
    fi
    apt apt-get update > "$work/log" 2>&1 || skip "Debian's mirror is out of reach"

    cd "$work/fetched"
    for package in $packages; do
        for version in $(apt apt-cache madison "$package" |
            awk -F ' *[|] *' '!/Sources/ {print $2}' | sort -u); do
            mkdir deb
            if (cd deb && apt apt-get download "$package=$version") \
                >> "$work/log" 2>&1; then
                dpkg-deb -x deb/*.deb "$package-$version"
            fi
            rm -rf deb
        done
    done
    if [ "$all" = yes ]; then
        for suite in $node_suites; do
            mkdir source
            (cd source && apt apt-get source --download-only "nodejs/$suite") \
                >> "$work/log" 2>&1 || :
            for archive in source/nodejs_*.orig.tar.*; do
                [ -f "$archive" ] || continue
                mkdir "nodejs-$suite"
                tar -xf "$archive" -C "nodejs-$suite" --wildcards '*/deps/llhttp/*' || :
            done
            rm -rf source
        done
    fi
    cd "$root"
    find "$work/fetched" -mindepth 1 -maxdepth 1 -type d | sort
}

version_of() {
    awk '/^#define LLHTTP_VERSION_(MAJOR|MINOR|PATCH)/ {v = v dot $3; dot = "."}
        END {print v}' "$1"
}

compile() {
    # shellcheck disable=SC2086 # several words
    "$cc" -std=gnu11 -O1 -w -D_GNU_SOURCE "-DLLHTTP_STRICT_MODE=$mode" \
        -I "$root/src" -I "$root/include" -I "$(dirname "$header")" \
        $cmocka_flags "$@" \
        > "$work/out" 2>&1
}

# Builds and runs the tests in one mode; silent when they pass.
run_tests() {
    mode=$1
    objects=
    # All of them: the linker takes what the tests need.
    rm -rf "$work/http" "$work/http.a"
    mkdir "$work/http"
    for file in "$root"/src/http/*.c "$root"/src/base/*.c; do
        compile -c -o "$work/http/$(basename "$file" .c).o" "$file" || return 1
    done
    ar rc "$work/http.a" "$work"/http/*.o
    for file in $code; do
        case $file in
        *.a) objects="$objects $file" ;;
        *)
            object=$work/$(basename "$file" .c).o
            compile -c -o "$object" "$file" || return 1
            objects="$objects $object"
            ;;
        esac
    done
    for test in "$root"/tests/unit/test_head*.c; do
        wraps=$(grep -o '__wrap_[a-z_]*' "$test" | sort -u |
            sed 's/__wrap_/-Wl,--wrap=/')
        # shellcheck disable=SC2086 # several words
        compile -o "$work/test" "$test" "$work/http.a" \
            $objects $wraps $cmocka_libraries || return 1
        timeout 300 "$work/test" > "$work/out" 2>&1 || return 1
        grep -q '^\[  PASSED  \] [1-9]' "$work/out" || return 1
    done
}

# Before version 9 strictness was chosen when it was compiled: both are tried.
prove() {
    modes=1
    case ${version%%.*}:$code in
    [1-8]:*.c) modes="1 0" ;;
    esac
    for mode in $modes; do
        if ! run_tests "$mode"; then
            cat "$work/out"
            return 1
        fi
    done
}

all=no
for argument in "$@"; do
    case $argument in
    --all) all=yes ;;
    -h | --help) usage 0 ;;
    -*) usage 2 >&2 ;;
    esac
done
[ "${1-}" != --all ] || shift

root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

for tool in "$cc" ar; do
    command -v "$tool" > /dev/null || skip "there is no compiler"
done
pkg-config --exists cmocka 2> /dev/null || skip "there is no cmocka"
cmocka_flags=$(pkg-config --cflags cmocka)
cmocka_libraries=$(pkg-config --libs cmocka)

if [ $# -gt 0 ]; then
    for folder in "$@"; do
        (cd "$folder" && pwd)
    done > "$work/folders"
else
    # No pipe: skip would leave only its subshell.
    fetch > "$work/folders"
fi

proven=
failed=
while read -r folder; do
    header=$(find "$folder" -name llhttp.h | head -n 1)
    code=$(find "$folder" -name api.c -o -name http.c -o -name llhttp.c -o \
        -name libllhttp.a)
    case $header:$code in
    :* | *:) continue ;; # the generator only
    esac
    version=$(version_of "$header")
    case " $proven $failed " in
    *" $version "*) continue ;;
    esac
    if prove; then
        echo "llhttp $version: proven"
        proven="$proven $version"
    else
        echo "llhttp $version: FAILED"
        failed="$failed $version"
    fi
done < "$work/folders"

[ -z "$failed" ] || exit 1
[ -n "$proven" ] || skip "no llhttp could be fetched"
echo "proven with llhttp:$proven"
