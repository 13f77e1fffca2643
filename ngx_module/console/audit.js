
/*
 * Copyright (C) nginx-llm contributors
 *
 * The audit trail: calls by who, when, what; one call in full; and whether a
 * text ever passed, by its fingerprint.
 */


import { admin, query } from './api.js';
import { badge, button, copyButton, dialog, el, errorBox, facts, field, form,
         number, select, set, span, when } from './ui.js';


const PAGE = 50;

const RANGES = [['', 'Any time'], ['1h', 'Last hour'], ['24h', 'Last day'],
                ['7d', 'Last week'], ['30d', 'Last 30 days'],
                ['range', 'From … to']];


export function auditView(root) {
    const calls = callList();
    const text = (name, placeholder) => el('input', {
        name, placeholder, autocomplete: 'off', spellcheck: 'false' });
    const inputs = {
        client: text('client', 'any'),
        key: text('key', 'key_…'),
        address: text('address', '10.0.0.0/8'),
        model: text('model', 'any'),
        status: text('status', '200, 4xx'),
        request: text('request', 'id, or its beginning')
    };
    const range = select(RANGES, '');
    const since = el('input', { type: 'datetime-local' });
    const until = el('input', { type: 'datetime-local' });
    const times = el('div', { class: 'grid', hidden: true },
                     field('From', since), field('To', until));
    const actions = el('input', { type: 'checkbox', id: 'audit-actions' });

    range.addEventListener('change', () => {
        times.hidden = range.value !== 'range';
    });

    const filter = () => {
        const q = {};

        for (const [name, input] of Object.entries(inputs)) {
            q[name] = input.value.trim();
        }

        if (range.value === 'range') {
            q.since = utc(since.value);
            q.until = utc(until.value);

        } else {
            q.since = range.value;
        }

        q.actions = actions.checked ? 'true' : undefined;

        return q;
    };

    const search = form(() => {
        const q = filter();

        return calls.start((before) =>
            admin('GET', 'audit' + query({ ...q, before, limit: PAGE })));
    },
    el('div', { class: 'grid' },
       field('Client', inputs.client), field('Status', inputs.status),
       field('Time', range)),
    times,
    el('details', null,
       el('summary', null, 'More'),
       el('div', { class: 'grid' },
          field('Key', inputs.key), field('Address', inputs.address),
          field('Model', inputs.model), field('Request', inputs.request)),
       el('label', { class: 'check', for: 'audit-actions' }, actions,
          el('span', null, 'Only changes by administration'))),
    el('div', { class: 'row end' },
       button('Clear', () => { search.reset(); times.hidden = true; }),
       el('button', { type: 'submit', class: 'main' }, 'Search')));

    search.id = 'audit-search';

    set(root, el('h1', { tabindex: '-1' }, 'Audit'),
        lookup(calls),
        el('section', { class: 'card', 'aria-label': 'Search' }, search),
        calls.node);

    search.requestSubmit();
}


/* a local time of the form as the server takes it */

function utc(text) {
    const date = new Date(text);

    return text === '' || isNaN(date) ? undefined
           : date.toISOString().replace(/\.\d+Z$/, 'Z');
}


/* the text goes in the body: an address would be in logs */

function lookup(calls) {
    const text = el('textarea', { rows: 3, id: 'audit-text' });

    return el('details', { class: 'settings' },
        el('summary', null, 'Did this text ever pass?'),
        form(() => {
            const words = text.value;

            if (words === '') {
                throw new Error('Paste the text.');
            }

            return calls.start((before) =>
                admin('POST', 'audit/lookup',
                      { text: words, limit: PAGE,
                        ...(before ? { before } : {}) }),
                'This text is in no call of the trail, neither asked nor '
                + 'answered.', 'This text passed in:');
        },
        field('Text, exactly as it was', text,
              'A whole message or answer. The trail has only its '
              + 'fingerprint.'),
        el('div', { class: 'row end' },
           el('button', { type: 'submit' }, 'Look it up'))));
}


/* A list with pages.  fetch(before) answers { calls, next }; a page may be
 * empty and not the last, when the server looked at enough for once. */

function callList() {
    const title = el('p', { class: 'muted', role: 'status' });
    const rows = el('ul', { class: 'rows', id: 'calls' });
    const more = el('div', { class: 'row end' });
    const node = el('div', { class: 'view' }, title, rows, more);
    let turn = 0;

    const start = async (fetch, none, some) => {
        const mine = ++turn;
        let shown = 0;

        const page = async (before) => {
            const o = await fetch(before);

            if (mine !== turn) {
                return;
            }

            if (!before) {
                set(rows);
            }

            rows.append(...o.calls.map(callRow));
            shown += o.calls.length;

            const next = o.next;

            if (next && shown === 0) {
                set(title, 'Looking further back …');
                await page(next);
                return;
            }

            set(title, shown === 0 ? none || 'No call is like that.'
                       : some || `${number(shown)} calls, the newest first`
                         + (next ? '; there are more' : ''));
            set(more, next && button('Older calls', async (ev) => {
                const at = rows.children.length;

                ev.target.disabled = true;

                try {
                    await page(next);
                    rows.children[at]?.firstChild.focus();

                } catch (e) {
                    set(more, errorBox(e));
                }
            }, '', { id: 'older' }));
        };

        set(more);
        set(title, 'Looking …');

        try {
            await page(undefined);

        } catch (e) {
            set(rows);
            set(title);

            if (e.code === 'unknown_url') {
                throw new Error('This server has no audit trail.');
            }

            throw e;
        }
    };

    return { node, start };
}


function statusBadge(c) {
    if (c.unfinished) {
        return badge('not ended', 'warn');
    }

    if (c.status === 0) {
        return badge('client went', 'warn');
    }

    return badge(String(c.status), c.status < 400 ? 'good'
                                   : c.status < 500 ? 'warn' : 'bad');
}


function callRow(c) {
    const tokens = c.completion_tokens !== null
                   && c.prompt_tokens + c.completion_tokens > 0
                   ? ` · ${number(c.prompt_tokens)} + `
                     + `${number(c.completion_tokens)} tokens` : '';

    return el('li', null, el('button', { type: 'button', onclick: () =>
                                         callDialog(c) },
        el('span', null, el('strong', null, c.client || 'nobody'), ' ',
           el('span', { class: 'muted' }, `${c.method || ''} `
                                          + `${c.path || ''}`)),
        statusBadge(c),
        el('span', { class: 'sub' }, when(c.time),
           c.address && ` · ${c.address}`, c.model && ` · ${c.model}`, tokens,
           c.action && [' · ', badge('action')])));
}


function ms(n) {
    return typeof n !== 'number' ? null
           : n < 1000 ? `${number(n, 1)} ms`
           : n < 100000 ? `${number(n / 1000, 2)} s` : span(n / 1000);
}


function callDialog(c) {
    const mono = (text) => text && el('span', { class: 'mono' }, text);

    return dialog('Call ' + number(c.number), () => [
        el('div', { class: 'row' }, statusBadge(c),
           c.action && badge('action'),
           c.error_code && badge(c.error_code, 'warn')),
        facts([
            ['Request', el('span', null, mono(c.request), ' ',
                           copyButton(c.request, 'request id'))],
            ['Began', exact(c.time)],
            ['Ended', c.end && exact(c.end)],
            ['Client', c.client],
            ['Key', mono(c.key)],
            ['Role', c.role],
            ['Address', c.address],
            ['Asked for', `${c.method || ''} ${c.path || ''}`],
            ['Program', c.user_agent],
            ['Model', c.model],
            ['Tokens', c.prompt_tokens === null ? null
                : `${number(c.prompt_tokens)} read `
                  + `(${number(c.cached_tokens)} from the cache), `
                  + `${number(c.completion_tokens)} written`],
            ['Finished by', c.finish_reason],
            ['Waited', ms(c.queue_ms)],
            ['First token', ms(c.ttft_ms)],
            ['Generating', ms(c.inference_ms)],
            ['In all', ms(c.total_ms)],
            ['Bytes sent', c.bytes_sent === null ? null
                                                 : number(c.bytes_sent)],
            ['Seed', mono(c.seed)],
            ['Parameters', c.parameters && Object.entries(c.parameters)
                .map(([name, value]) => `${name} ${value}`).join(', ')],
            ['Build', mono(c.build)],
            ['Records', `${number(c.number)}`
                        + (c.close ? ` and ${number(c.close)}` : '')]
        ]),
        prints('Fingerprints of what was asked', c.input),
        prints('Fingerprints of what was answered', c.output)
    ]);
}


function exact(text) {
    return text ? el('time', { datetime: text }, text) : null;
}


function prints(title, list) {
    if (!list || list.length === 0) {
        return null;
    }

    return el('details', null, el('summary', null, title),
              el('ul', { class: 'prints mono' },
                 list.map((p) => el('li', null, p))));
}
