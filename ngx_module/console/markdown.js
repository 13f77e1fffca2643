
/*
 * Copyright (C) nginx-llm contributors
 *
 * What a model says, as elements: paragraphs, headings, lists, quotes, code,
 * bold, italic.  Nothing else: no link (a model can be talked into one that
 * carries the conversation away), no image, no markup of the text's own.
 */


import { copyButton, el, put } from './ui.js';


/* A text that grows is rendered again and again: blocks that are the same as
 * before keep their nodes, and the reader's selection with them. */

export function render(node, text) {
    const list = blocks(text);

    list.forEach((block, i) => {
        const old = node.childNodes[i];

        if (old && old.source === block.source) {
            return;
        }

        const made = element(block);
        made.source = block.source;

        if (old) {
            old.replaceWith(made);

        } else {
            node.append(made);
        }
    });

    while (node.childNodes.length > list.length) {
        node.lastChild.remove();
    }
}


/* [{ kind, source, lines, info }]; kind: code, or text */

function blocks(text) {
    const list = [];
    let at = null;

    const end = () => {
        if (at && at.lines.length) {
            at.source = at.kind + at.info + '\n' + at.lines.join('\n');
            list.push(at);
        }

        at = null;
    };

    for (const line of text.split('\n')) {
        const fence = /^ {0,3}(```+|~~~+)\s*([\w+#.-]*)/.exec(line);

        if (at && at.kind === 'code') {

            if (fence && line.trim().startsWith(at.fence)
                && fence[2] === '')
            {
                if (at.lines.length === 0) {
                    at.lines.push('');
                }

                end();

            } else {
                at.lines.push(line);
            }

            continue;
        }

        if (fence) {
            end();
            at = { kind: 'code', info: fence[2], fence: fence[1], lines: [] };
            continue;
        }

        if (line.trim() === '') {
            end();
            continue;
        }

        const kind = kindOf(line);

        if (at && at.kind !== kind && (kind !== 'text' || at.kind === 'head'))
        {
            end();
        }

        at = at || { kind, info: '', lines: [] };
        at.lines.push(line);

        if (kind === 'head' || kind === 'rule') {
            end();
        }
    }

    if (at && at.kind === 'code' && at.lines.length === 0) {
        at.lines.push('');
    }

    end();

    return list;
}


function kindOf(line) {
    if (/^#{1,6} /.test(line)) {
        return 'head';
    }

    if (/^ {0,3}([-*_])( *\1){2,} *$/.test(line)) {
        return 'rule';
    }

    if (/^\s*[-*+] /.test(line)) {
        return 'ul';
    }

    if (/^\s*\d{1,9}[.)] /.test(line)) {
        return 'ol';
    }

    return /^ {0,3}> ?/.test(line) ? 'quote' : 'text';
}


function element(block) {
    const lines = block.lines;

    switch (block.kind) {

    case 'code':
        return code(block);

    case 'head':
        return el('p', { class: 'head' },
                  inline(lines[0].replace(/^#+ /, '')));

    case 'rule':
        return el('hr');

    case 'ul':
    case 'ol':
        return items(block);

    case 'quote':
        return el('blockquote', null,
                  inline(lines.map((l) => l.replace(/^ {0,3}> ?/, ''))
                              .join('\n')));

    default:
        return el('p', null, inline(lines.join('\n')));
    }
}


function code(block) {
    const text = block.lines.join('\n');

    return el('div', { class: 'code' },
              el('div', { class: 'bar' },
                 el('span', null, block.info || 'code'),
                 copyButton(text, 'code')),
              el('pre', { tabindex: '0' }, el('code', null, visible(text))));
}


/* characters that would show code in another order than it has */

function visible(text) {
    return text.split(/([\u200e\u200f\u202a-\u202e\u2066-\u2069])/)
               .map((s, i) => i % 2 === 0 ? s
                    : el('span', { class: 'badge warn' }, 'U+'
                         + s.codePointAt(0).toString(16).toUpperCase()));
}


/* one level: what is deeper is indented */

function items(block) {
    const list = el(block.kind);
    let item = null;

    if (block.kind === 'ol') {
        const first = parseInt(block.lines[0].trim(), 10);

        if (first !== 1) {
            list.setAttribute('start', first);
        }
    }

    for (const line of block.lines) {
        const m = /^(\s*)(?:[-*+]|\d{1,9}[.)]) (.*)$/.exec(line);

        if (m) {
            item = el('li', { class: m[1].length >= 2 ? 'deep' : null },
                      inline(m[2]));
            list.append(item);

        } else if (item) {
            put(item, '\n', inline(line.trim()));
        }
    }

    return list;
}


/* code, bold, italic.  The lengths are bounded: so is the time that a text of
 * openings without ends takes.  What is longer than MARKED is no prose */

const MARKED = 20000;

const TOKEN = new RegExp(
    '(`{1,8})([^`]|[^`][\\s\\S]{0,500}?[^`])\\1(?!`)'
    + '|\\*\\*(\\S(?:[\\s\\S]{0,500}?\\S)?)\\*\\*'
    + '|(?<![\\w*])\\*(\\S(?:[^*]{0,500}?\\S)?)\\*(?![\\w*])', 'g');


function inline(text) {
    const out = [];
    let last = 0;

    if (text.length > MARKED) {
        return text;
    }

    for (const m of text.matchAll(TOKEN)) {
        out.push(text.slice(last, m.index));
        last = m.index + m[0].length;

        if (m[1]) {
            out.push(el('code', null, m[2]));

        } else if (m[3]) {
            out.push(el('strong', null, inline(m[3])));

        } else {
            out.push(el('em', null, m[4]));
        }
    }

    out.push(text.slice(last));

    return out;
}
