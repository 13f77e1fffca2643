
/*
 * Copyright (C) nginx-llm contributors
 *
 * Keys: the list, one key with all that can be done to it, and the caller's
 * own.  A new secret is shown once, in a dialog that is not closed by mistake.
 */


import { admin, query, replaceKey } from './api.js';
import { badge, button, confirmDialog, copyButton, day, dialog, el,
         errorBox, facts, field, form, number, select, set, toast,
         when } from './ui.js';
import { factorPanel } from './totp.js';
import { leakDialog } from './leak.js';


const PAGE = 25;
const SEARCH = 1000;            /* of a call, while a search reads them all */
const SEARCHED = 10000;

const STATES = { active: 'good', revoked: 'bad', expired: 'warn',
                 too_old: 'warn' };

const NUMBERS = [
    ['requests_per_minute', 'Requests a minute'],
    ['tokens_per_minute', 'Tokens a minute'],
    ['concurrent', 'Requests at a time'],
    ['tokens_per_day', 'Tokens a day'],
    ['tokens_per_month', 'Tokens a month']
];


export function keysView(root, ctx) {
    const rows = el('ul', { class: 'rows', id: 'keys' });
    const note = el('div', { role: 'status' });
    const pager = el('div', { class: 'row end' });
    const words = el('input', { type: 'search', placeholder:
                                'Client or key_…' });
    const role = select([['', 'Any'], ['user', 'User'],
                         ['operator', 'Operator'], ['admin', 'Admin']], '');
    const status = select([['', 'Any'], ['active', 'Active'],
                           ['expired', 'Expired'], ['revoked', 'Revoked'],
                           ['too_old', 'Too old']], '');
    let before = [];            /* where the pages before this one begin */
    let here = '';
    let found = null;           /* of a search */

    const show = (list, next) => {
        set(rows, list.map((k) => keyRow(k, open)));
        set(note, list.length ? null
                  : el('p', { class: 'box' }, 'No key is like that.'));
        set(pager,
            before.length > 0 && button('Previous page', () => {
                here = before.pop();
                turned();
            }, '', { id: 'previous' }),
            next && button('Next page', () => {
                before.push(here);
                here = next;
                turned();
            }, '', { id: 'next' }));
    };

    /* its button is gone, the focus goes on at the page's begin */

    const turned = async () => {
        await load();
        rows.querySelector('button')?.focus();
    };

    const load = async () => {
        try {
            if (found) {
                const at = Number(here) || 0;

                show(found.slice(at, at + PAGE),
                     at + PAGE < found.length ? String(at + PAGE) : null);
                return;
            }

            const o = await admin('GET', 'keys' + query({
                limit: PAGE, after: here, role: role.value,
                status: status.value }));

            show(o.data, o.has_more ? o.next : null);

        } catch (e) {
            set(note, errorBox(e));
        }
    };

    const open = async (id) => {
        await keyDialog(id, ctx);

        if (root.isConnected) {
            if (found) {
                await search();

            } else {
                await load();
            }

            rows.querySelector(`[data-key="${CSS.escape(id)}"]`)?.focus();
        }
    };

    const search = async () => {
        const text = words.value.trim().toLowerCase();

        found = null;

        if (text !== '') {
            found = await searched(text, role.value, status.value);
        }
    };

    const filter = form(async () => {
        before = [];
        here = '';
        await search();
        await load();
    },
    el('div', { class: 'row bottom' },
       el('div', { class: 'grow' }, field('Search', words)),
       field('Role', role), field('Status', status),
       el('button', { type: 'submit' }, 'Search')));

    const create = button('New key', async () => {
        const made = await createDialog();

        if (made) {
            await shownOnce('The new key', made,
                            `For ${made.client}, role ${made.role}.`);
            await load();
        }
    }, 'main', { id: 'create' });

    set(root, el('div', { class: 'head' },
                 el('h1', { tabindex: '-1' }, 'Keys'), create),
        filter, note, rows, pager);
    load();
}


/* Clients by a part of their name: the server knows whole ones, so all keys
 * are read, a thousand at a time */

async function searched(text, role, status) {
    const list = [];
    let after;

    for (let n = 0; n < SEARCHED; n += SEARCH) {
        const o = await admin('GET', 'keys' + query({ limit: SEARCH, after,
                                                      role, status }));

        list.push(...o.data.filter((k) =>
            k.client.toLowerCase().includes(text) || k.id.includes(text)));

        if (!o.has_more) {
            return list;
        }

        after = o.next;
    }

    toast(`Only the first ${number(SEARCHED)} keys were searched.`);

    return list;
}


function keyRow(k, open) {
    return el('li', null, el('button', { type: 'button', 'data-key': k.id,
                                         onclick: () => open(k.id) },
        el('strong', null, k.client),
        el('span', { class: 'row' }, badge(k.role),
           badge(k.status.replace('_', ' '), STATES[k.status])),
        el('span', { class: 'sub' }, el('span', { class: 'mono' }, k.id),
           k.status === 'active' && [' · ends ', day(k.ends)],
           k.usage?.last_used && [' · used ', day(k.usage.last_used)])));
}


/* ends the dialog when the key was made; null when it was cancelled */

function createDialog() {
    return dialog('New key', (close) => {
        const f = fields({ role: 'user', scopes: {} }, true);

        return form(async () => {
            close(await admin('POST', 'keys', f.body()));
        },
        f.nodes,
        el('div', { class: 'row end' }, button('Cancel', () => close()),
           el('button', { type: 'submit', class: 'main' }, 'Create')));
    });
}


/* what a key has and may: body() has what differs from k */

function fields(k, create) {
    const s = k.scopes;
    const text = (list) => (list || []).join(', ');
    const client = el('input', { name: 'client', value: k.client || '',
                                 autocomplete: 'off', autofocus: create,
                                 spellcheck: 'false', maxlength: 64 });
    const role = select([['user', 'User: calls models'],
                         ['operator', 'Operator: also parameters'],
                         ['admin', 'Admin: also keys and audit']], k.role);
    const expires = el('input', { name: 'expires', autocomplete: 'off',
                                  placeholder: create ? 'as late as it can be'
                                                      : 'as it is' });
    const models = el('input', { name: 'models', placeholder: 'all',
                                 value: text(s.models) });
    const addresses = el('input', { name: 'addresses', value:
                                    text(s.addresses),
                                    placeholder: 'from anywhere' });
    const numbers = NUMBERS.map(([name, label]) => {
        const input = el('input', { type: 'number', min: 1, step: 1, name,
                                    inputmode: 'numeric',
                                    placeholder: 'no limit',
                                    value: s[name] ?? '' });

        return { name, label, input };
    });

    role.name = 'role';

    const list = (input) => {
        const items = input.value.split(/[\s,]+/).filter((x) => x !== '');

        return items.length ? items : null;
    };

    const body = () => {
        const o = {};
        const put = (name, value, old) => {
            if (JSON.stringify(value) !== JSON.stringify(old ?? null)) {
                o[name] = value;
            }
        };

        put('client', client.value.trim(), k.client);
        put('role', role.value, create ? null : k.role);
        put('models', list(models), s.models);
        put('addresses', list(addresses), s.addresses);

        for (const { name, input } of numbers) {
            if (input.validity.badInput) {
                throw Object.assign(new Error('That is no number.'),
                                    { param: name });
            }

            put(name, input.value === '' ? null : input.valueAsNumber,
                s[name]);
        }

        if (expires.value.trim() !== '') {
            o.expires = expires.value.trim();
        }

        return o;
    };

    const nodes = [
        el('div', { class: 'grid wide' },
           field('Client', client, 'whose key it is'),
           field('Role', role),
           field('Expires', expires, '90d, 12h, or 2027-01-31'),
           field('Models', models, 'names, with commas between'),
           field('Addresses', addresses, '10.0.0.0/8, ::1')),
        el('div', { class: 'grid' },
           numbers.map((n) => field(n.label, n.input)))
    ];

    return { nodes, body };
}


/* a secret that is shown this once */

export function shownOnce(title, o, ...more) {
    return dialog(title, (close) => [
        el('p', null, more),
        el('div', { class: 'secret' },
           el('output', { class: 'key' }, o.key),
           el('div', { class: 'row' }, copyButton(o.key, 'key', 'main'))),
        el('p', { class: 'muted' }, 'It is shown this once: the server does '
                                    + 'not keep it.'),
        el('div', { class: 'row end' },
           button('I have kept it', () => close(true), '', { id: 'kept' }))
    ], 'guarded');
}


/* one key, and what can be done to it.  It is read again after each change */

async function keyDialog(id, ctx) {
    let k;

    try {
        k = await admin('GET', 'keys/' + encodeURIComponent(id));

    } catch (e) {
        await dialog('Key', () => errorBox(e));
        return;
    }

    await dialog(k.client, (close, inner) => {

        const error = el('div', { role: 'alert' });

        const act = (f) => async () => {
            set(error);

            try {
                if (await f()) {
                    k = await admin('GET', 'keys/' + encodeURIComponent(id));
                    set(inner, body());
                    (inner.querySelector('button')
                     || inner.parentNode.querySelector('.close')).focus();
                }

            } catch (e) {
                if (!e.cancelled) {
                    set(error, errorBox(e));
                }
            }
        };

        const body = () => [
            el('div', { class: 'row' }, badge(k.role),
               badge(k.status.replace('_', ' '), STATES[k.status])),
            keyFacts(k),
            error,
            k.status !== 'revoked' && el('div', { class: 'row' },
                button('Change', act(() => change(k))),
                button('Rotate', act(() => rotate(k, ctx))),
                button('Leaked…', act(() => leakDialog(k, ctx)), 'bad'),
                button('Revoke', act(() => revoke(k, ctx)), 'bad')),
            k.status !== 'revoked' && factorPanel(id)
        ];

        return body();
    });
}


export function keyFacts(k) {
    const u = k.usage;
    const s = k.scopes;
    const left = { requests_per_minute: u?.requests_left,
                   tokens_per_minute: u?.tokens_left,
                   tokens_per_day: u?.day_left,
                   tokens_per_month: u?.month_left };

    return facts([
        ['Key', el('span', { class: 'mono' }, k.id)],
        ['Client', k.client],
        ['Made', when(k.created)],
        ['Secret issued', when(k.issued)],
        ['Ends', when(k.ends)],
        ['Revoked', k.revoked && when(k.revoked)],
        ['Models', s.models ? s.models.join(', ') : 'all'],
        ['Addresses', s.addresses ? s.addresses.join(', ') : 'from anywhere'],
        ...NUMBERS.map(([name, label]) => [label,
            s[name] === null ? null
            : typeof left[name] === 'number'
              ? `${number(s[name])}, ${number(left[name])} left`
              : number(s[name])]),
        ['Last used', u ? when(u.last_used) : 'never'],
        ['Calls', u && number(u.calls)],
        ['Tokens', u && `${number(u.prompt_tokens)} read, `
                        + `${number(u.completion_tokens)} written`],
        ['Running now', u && u.running !== null ? number(u.running) : null]
    ]);
}


function change(k) {
    return dialog(`Change ${k.client}`, (close) => {
        const f = fields(k, false);

        return form(async () => {
            const body = f.body();

            if (Object.keys(body).length) {
                await admin('PATCH', 'keys/' + k.id, body);
                toast('Changed.');
            }

            close(true);
        },
        el('p', { class: 'muted' }, 'It counts at once, for all secrets of '
                                    + 'the key.'),
        f.nodes,
        el('div', { class: 'row end' }, button('Cancel', () => close()),
           el('button', { type: 'submit', class: 'main' }, 'Save')));
    });
}


async function rotate(k, ctx) {
    const own = k.id === ctx.me.id;
    const made = await dialog(`Rotate ${k.client}`, (close) => {
        const grace = select([['0', 'ends at once'], ['1h', 'for an hour'],
                              ['24h', 'for a day'], ['7d', 'for a week']],
                             '24h');

        return form(async () => {
            close(await admin('POST', `keys/${k.id}/rotate`,
                              { grace: grace.value }));
        },
        el('p', null, 'The key gets a new secret, and keeps its id, limits '
                      + 'and usage.'),
        field('The secret that it has now goes on', grace),
        own && el('p', { class: 'box notice' },
                  'This is the key that you are signed in with: the page goes '
                  + 'on with the new secret.'),
        el('div', { class: 'row end' }, button('Cancel', () => close()),
           el('button', { type: 'submit', class: 'main' }, 'Rotate')));
    }, 'small');

    if (!made) {
        return false;
    }

    if (own) {
        replaceKey(made.key);
    }

    await shownOnce('The new secret', made,
                    made.grace_until
                    ? ['The one before goes on until ',
                       when(made.grace_until), '.']
                    : 'The one before has ended.');

    return true;
}


async function revoke(k, ctx) {
    const yes = await confirmDialog(`Revoke ${k.client}`,
        'No worker admits the key from then on, and what it has running ends. '
        + 'This can\u2019t be taken back.'
        + (k.id === ctx.me.id ? ' It is the key that you are signed in with.'
                              : ''),
        'Revoke', 'bad main');

    if (!yes) {
        return false;
    }

    await admin('POST', `keys/${k.id}/revoke`);
    toast('Revoked.');

    if (k.id === ctx.me.id) {
        ctx.signOut('The key is revoked.');
        return false;
    }

    return true;
}


/* the caller's own key, for everybody */

export function accountView(root, ctx) {
    const node = el('section', { class: 'card', 'aria-label': 'Key' });

    set(root, el('h1', { tabindex: '-1' }, 'My key'), node,
        el('section', { class: 'card', 'aria-label': 'Second factor' },
           factorPanel(null)));

    const load = async () => {
        try {
            const k = await admin('GET', 'self');

            set(node, el('div', { class: 'row' }, badge(k.role),
                         badge(k.status.replace('_', ' '),
                               STATES[k.status])),
                keyFacts(k));

        } catch (e) {
            set(node, errorBox(e));
        }
    };

    load();
}
