#!/usr/bin/env node
// HANDLERS='/upper=exec:./upper.js': {"text": "abc"} becomes {"text": "ABC"}.
'use strict';

function upper(body) {
    if (typeof body?.text !== 'string') {
        throw new TypeError('text must be a string');
    }
    return { text: body.text.toUpperCase() };
}

function answer(line) {
    const job = JSON.parse(line);
    let reply;
    try {
        reply = { id: job.id, body: upper(job.body) };
    } catch (error) {
        reply = { id: job.id, error: error.message };
    }
    process.stdout.write(JSON.stringify(reply) + '\n');
}

// Not the module readline: it ends lines at U+2028 too, which JSON texts may
// hold.
let rest = '';
process.stdin.setEncoding('utf8');
process.stdin.on('data', (chunk) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop();
    lines.forEach(answer);
});
