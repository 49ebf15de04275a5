#!/bin/sh
#
# Checks what the compiler does not: that includes go only down the layers,
# that foo.c includes foo.h first, that every source is in the build, and that
# no file of the project holds bytes that cannot be seen.
#
#   base <- {sync, event, http} <- {guard, observe} <- job <- shard <- app <- main
#   handlers are known to app alone
set -eu

cd "$(dirname "$0")/.."

failures=$(mktemp)
files=$(mktemp)
trap 'rm -f "$failures" "$files"' EXIT

complain() {
    printf '%s\n' "$*" | tee -a "$failures"
}

# The folders that a file of this folder may include from.
allowed() {
    case $1 in
    include) echo "hcs" ;;
    base) echo "base hcs" ;;
    sync) echo "sync base" ;;
    event) echo "event base" ;;
    http) echo "http base hcs" ;;
    guard) echo "guard http base hcs" ;;
    observe) echo "observe http base hcs" ;;
    job) echo "job guard observe http sync base hcs" ;;
    shard) echo "shard job observe guard http sync event base hcs" ;;
    # Handlers know the public header alone, the built-in ones too: what they
    # would need from elsewhere, other authors' handlers need as well.
    handlers) echo "handlers hcs" ;;
    app | main) echo "app shard job observe guard handlers http sync event base hcs" ;;
    *) echo "" ;;
    esac
}

check_includes() { # FILE
    file=$1
    case $file in
    src/*/*) layer=${file#src/} layer=${layer%%/*} ;;
    src/*) layer=main ;;
    include/*) layer=include ;;
    esac
    may=$(allowed "$layer")
    if [ -z "$may" ]; then
        complain "$file: no layer is called $layer"
        return
    fi

    # LINE "name" or LINE <name>
    sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*\([<"][^>"]*[>"]\).*/\1/
        t found
        b
        :found
        =
        p' "$file" | paste - - | while read -r line name; do
        bare=${name#?} bare=${bare%?}
        folder=${bare%%/*}
        case $name in
        \"*/*) ;;
        \"*)
            complain "$file:$line: write $name relative to src"
            continue
            ;;
        *)  # a system's header, unless the folder is one of ours
            [ "$folder" = hcs ] || [ -d "src/$folder" ] || continue
            ;;
        esac
        case " $may " in
        *" $folder "*) ;;
        *) complain "$file:$line: $layer may not include $name" \
            "(only from: $may)" ;;
        esac
    done

    # A header that is read first proves that it needs nothing before it.
    own=${file%.c}.h
    if [ "$own" != "$file" ] && [ -e "$own" ]; then
        first=$(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*//p' \
            "$file" | head -n 1)
        if [ "$first" != "\"${own#src/}\"" ]; then
            complain "$file: includes $first before its own \"${own#src/}\""
        fi
    fi
}

find src include -name '*.[ch]' | LC_ALL=C sort > "$files"
while read -r file; do
    check_includes "$file"
    case $file in
    *.c)
        if ! grep -qE "(^|[[:space:](])${file#src/}([[:space:])]|\$)" \
            src/CMakeLists.txt; then
            complain "$file: not in src/CMakeLists.txt"
        fi
        ;;
    esac
done < "$files"

# --- Bytes: text is UTF-8 without control characters, and without those that
# hide or reorder what stands beside them.

unseen=$(printf '\342\200[\213-\217\252-\256]|\342\201[\240-\257]|\357\273\277')
{
    if git rev-parse --is-inside-work-tree > /dev/null 2>&1; then
        git ls-files -co --exclude-standard
    else
        find . -name 'build*' -prune -o -type f -print
    fi
} > "$files"
while read -r file; do
    case $file in
    *.png | *.svg | *.gz) continue ;;
    esac
    [ -f "$file" ] || continue
    if ! iconv -f UTF-8 -t UTF-8 "$file" > /dev/null 2>&1; then
        complain "$file: not UTF-8"
    elif [ "$(tr -d '\t\n\040-\176\200-\377' < "$file" | wc -c)" -ne 0 ]; then
        complain "$file: has control characters"
    elif LC_ALL=C grep -nE "$unseen" "$file"; then
        complain "$file: has characters that cannot be seen"
    fi
done < "$files"

if [ -s "$failures" ]; then
    echo "check-layers: $(wc -l < "$failures") complaints"
    exit 1
fi
echo "check-layers: includes go down only, and all text can be seen"
