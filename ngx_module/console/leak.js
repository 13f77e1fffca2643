
/*
 * Copyright (C) nginx-llm contributors
 *
 * The leak drill: a key that others may have is revoked, replaced, and what it
 * did is reported.
 */


import { admin, replaceKey } from './api.js';
import { badge, button, copyButton, dialog, el, facts, field, form, number,
         when } from './ui.js';


export async function leakDialog(k, ctx) {
    const own = k.id === ctx.me.id;
    const done = await dialog(`${k.client}: leaked`, (close) => {
        const reason = el('input', { name: 'reason', maxlength: 256,
                                     autofocus: true });

        return form(async () => {
            close(await admin('POST', `keys/${k.id}/leak`,
                              reason.value.trim() === ''
                              ? {} : { reason: reason.value.trim() }));
        },
        el('p', null, 'The key is revoked at once, a successor with the same '
                      + 'limits is made, and you see who used it from where.'),
        field('Reason, for the log', reason),
        el('div', { class: 'row end' }, button('Cancel', () => close()),
           el('button', { type: 'submit', class: 'bad main' },
              'Revoke and replace')));
    }, 'small');

    if (!done) {
        return false;
    }

    if (own && done.successor?.key) {
        replaceKey(done.successor.key);
        ctx.me = { ...ctx.me, id: done.successor.id };
    }

    await dialog('The key is revoked', (close) => [
        done.successor?.key && el('div', { class: 'secret' },
            el('h3', null, 'Its successor'),
            el('output', { class: 'key' }, done.successor.key),
            el('div', { class: 'row' }, copyButton(done.successor.key, 'key',
                                                   'main')),
            el('p', { class: 'small' }, 'It is shown this once.')),
        done.note && el('p', { class: 'box' }, done.note),
        report(done),
        el('div', { class: 'row end' },
           button('Done', () => close(true), '', { id: 'kept' }))
    ], 'guarded');

    if (own && !done.successor?.key) {
        ctx.signOut('The key is revoked.');
        return false;
    }

    return true;
}


function report(done) {
    const r = done.report;

    if (!r) {
        return null;
    }

    return [
        el('h3', null, 'What it did'),
        facts([
            ['Calls', `${number(r.calls)}, ${number(r.failed)} failed`],
            ['Tokens', number(r.tokens)],
            ['First, last', r.first_seen
                            ? [when(r.first_seen), ' – ', when(r.last_seen)]
                            : 'never used']
        ]),
        table('Addresses', r.addresses, r.more?.addresses),
        table('Programs', r.user_agents, r.more?.user_agents),
        table('Models', r.models, r.more?.models),
        table('Paths', r.paths, r.more?.paths),
        done.integrations?.length > 0 && [
            el('h3', null, 'Who needs the new key'),
            el('ul', null, done.integrations.map((x) => el('li', null, x)))
        ]
    ];
}


function table(title, list, more) {
    if (!list || list.length === 0) {
        return null;
    }

    return el('div', { class: 'scroll' }, el('table', null,
        el('thead', null, el('tr', null, el('th', { scope: 'col' }, title),
                             el('th', { scope: 'col' }, 'Calls'),
                             el('th', { scope: 'col' }, 'Last'))),
        el('tbody', null, list.map((x) => el('tr', null,
            el('td', null, x.name, ' ', x.unusual && badge('unusual',
                                                           'warn')),
            el('td', null, number(x.calls)),
            el('td', null, when(x.last_seen)))),
            more > 0 && el('tr', null, el('td', { colspan: 3 },
                                          `and ${number(more)} more`)))));
}
