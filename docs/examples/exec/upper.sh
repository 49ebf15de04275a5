#!/bin/sh
# HANDLERS='/upper=exec:./upper.sh': {"text": "abc"} becomes {"text": "ABC"}.
# Needs jq.
while IFS= read -r line; do
    printf '%s\n' "$line" | jq --compact-output '
        if (.body | type) == "object" and (.body.text | type) == "string"
        then {id, body: {text: (.body.text | ascii_upcase)}}
        else {id, error: "text must be a string"}
        end'
done
