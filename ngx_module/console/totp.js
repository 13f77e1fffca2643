
/*
 * Copyright (C) nginx-llm contributors
 *
 * The second factor of a key: the caller's own, or another's for admins.  What
 * is shown once is in a dialog, and gone with it.
 */


import { admin } from './api.js';
import { badge, button, confirmDialog, copyButton, dialog, el, errorBox,
         facts, field, form, set, svg, toast, when } from './ui.js';


/* id: null is the caller's own */

export function factorPanel(id) {
    const node = el('div', { class: 'factor view' });
    const path = id ? 'totp/' + encodeURIComponent(id) : 'totp';
    const body = id ? { id } : {};

    const load = async () => {
        try {
            show(await admin('GET', path));

        } catch (e) {
            set(node, errorBox(e));
        }
    };

    const act = (f) => async () => {
        try {
            await f();
            await load();
            node.querySelector('button')?.focus();

        } catch (e) {
            if (!e.cancelled) {
                set(node, errorBox(e, button('Back', load)));
            }
        }
    };

    const enrol = act(async () => {
        const o = await admin('POST', 'totp', body);
        await enrolDialog(o, body);
    });

    const again = act(async () => {
        const o = await admin('POST', 'totp/recovery', body);
        await codesDialog(o.recovery_codes);
    });

    const remove = act(async () => {
        const yes = await confirmDialog('Remove the second factor',
            'Whoever has the key needs no code then.', 'Remove', 'bad main');

        if (yes) {
            await admin('DELETE', path);
            toast('The second factor is removed.');
        }
    });

    const show = (o) => {
        const kinds = { on: ['on', 'good'], pending: ['not confirmed',
                                                      'warn'] };
        const [text, kind] = kinds[o.state] || ['none', ''];

        set(node,
            el('div', { class: 'head' },
               el('h2', null, 'Second factor'), badge(text, kind)),
            o.state === 'on' && facts([
                ['Since', when(o.since)],
                ['Recovery codes', `${o.recovery_codes_left} left`],
                ['Locked until', o.locked_until && when(o.locked_until)]
            ]),
            o.state === 'none' && el('p', { class: 'muted' },
                'With one, changes of keys need a code of an app as well. '
                + 'Calling models never does.'),
            el('div', { class: 'row' },
               o.state !== 'on' && button(o.state === 'pending'
                                          ? 'Begin again' : 'Set up', enrol,
                                          'main', { class: 'main enrol' }),
               o.state === 'on' && button('New recovery codes', again),
               o.state !== 'none' && button('Remove', remove, 'bad')));
    };

    load();

    return node;
}


function enrolDialog(o, body) {
    return dialog('Set up the second factor', (close) => {
        const code = el('input', {
            name: 'code', inputmode: 'numeric', maxlength: 7, required: true,
            autocomplete: 'one-time-code'
        });

        return [
            el('p', null, '1. Read this with an authenticator app, or type '
                          + 'the secret there.'),
            qr(o.qr),
            el('div', { class: 'secret' },
               el('div', { class: 'row' }, el('h3', null, 'Secret'),
                  copyButton(o.secret, 'secret')),
               el('output', { class: 'totp-secret' },
                  o.secret.replace(/(.{4})(?=.)/g, '$1 '))),
            el('p', null, '2. Keep these recovery codes: each works once in '
                          + 'place of a code. They are not shown again.'),
            codes(o.recovery_codes),
            el('p', null, '3. Enter the code that the app shows.'),
            form(async () => {
                await admin('POST', 'totp/confirm',
                            { ...body, code: code.value.trim() });
                toast('The second factor is on.');
                close(true);
            },
            field('Code of the app', code),
            el('div', { class: 'row end' },
               button('Later', () => close(false)),
               el('button', { type: 'submit', class: 'main' }, 'Confirm')))
        ];
    }, 'guarded');
}


function codesDialog(list) {
    return dialog('Recovery codes', (close) => [
        el('p', null, 'Each works once in place of a code. Those before are '
                      + 'gone; these are not shown again.'),
        codes(list),
        el('div', { class: 'row end' },
           button('I have kept them', () => close(true), 'main'))
    ], 'small guarded');
}


function codes(list) {
    return el('div', { class: 'secret' },
              el('ul', { class: 'codes' }, list.map((c) => el('li', null,
                                                              c))),
              el('div', { class: 'row' },
                 copyButton(list.join('\n'), 'recovery codes')));
}


/* rows of "1" and "0" */

function qr(rows) {
    if (!Array.isArray(rows) || rows.length === 0) {
        return null;
    }

    const n = rows.length;
    let d = '';

    rows.forEach((row, y) => {
        for (const run of row.matchAll(/1+/g)) {
            d += `M${run.index} ${y}h${run[0].length}v1h-${run[0].length}z`;
        }
    });

    return svg('svg', { class: 'qr', viewBox: `-2 -2 ${n + 4} ${n + 4}`,
                        role: 'img', 'shape-rendering': 'crispEdges',
                        'aria-label': 'QR code of the secret below' },
               svg('path', { d }));
}
