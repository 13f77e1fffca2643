
/*
 * Copyright (C) nginx-llm contributors
 *
 * Small things that all views use: elements, dialogs, messages, times.  Text
 * goes into the page as text nodes only; there is no way here for a string to
 * become markup.
 */


const SVG = 'http://www.w3.org/2000/svg';


/* el('p', { class: 'x', onclick: f }, 'text', child, [children]) */

export function el(name, attrs, ...children) {
    return fill(document.createElement(name), attrs, children);
}


export function svg(name, attrs, ...children) {
    return fill(document.createElementNS(SVG, name), attrs, children);
}


function fill(node, attrs, children) {
    for (const [key, value] of Object.entries(attrs || {})) {

        if (value === false || value === null || value === undefined) {
            continue;
        }

        if (key.startsWith('on')) {
            node.addEventListener(key.slice(2), value);

        } else if (key === 'value') {
            node.value = value;

        } else {
            node.setAttribute(key, value === true ? '' : value);
        }
    }

    put(node, children);

    return node;
}


export function put(node, ...children) {
    for (const child of children.flat(Infinity)) {
        if (child !== null && child !== undefined && child !== false) {
            node.append(child);
        }
    }
}


export function set(node, ...children) {
    node.replaceChildren();
    put(node, children);
}


export function byId(id) {
    return document.getElementById(id);
}


let ids = 0;

export function newId(prefix) {
    return `${prefix}-${++ids}`;
}


/* a label with its control, and what is wrong with it */

export function field(text, control, hint) {
    const id = control.id || newId('f');

    control.id = id;

    if (hint) {
        control.setAttribute('aria-describedby', id + '-hint');
    }

    return el('div', { class: 'field' },
              el('label', { for: id }, text),
              control,
              hint && el('small', { id: id + '-hint', class: 'muted' }, hint));
}


export function select(options, value) {
    return el('select', { value: undefined },
              options.map(([v, text]) =>
                  el('option', { value: v, selected: v === value }, text)));
}


export function button(text, onclick, kind, more) {
    return el('button', { type: 'button', class: kind, onclick, ...more },
              text);
}


/* for screen readers */

export function say(text) {
    const said = byId('said');

    /* the same text again would be no change */
    said.textContent = said.textContent === text ? text + '\u00a0' : text;
}


export function toast(text) {
    const node = el('p', { class: 'toast' }, text);

    toastsTo([...document.querySelectorAll('dialog[open]')].at(-1));
    byId('toasts').append(node);
    setTimeout(() => node.remove(), 5000);
}


/* what is outside a modal dialog can't be seen, nor heard, over it */

function toastsTo(box) {
    const at = box || document.body;

    if (byId('toasts').parentNode !== at) {
        at.append(byId('toasts'));
    }
}


export async function copy(text, what) {
    try {
        await navigator.clipboard.writeText(text);

    } catch {
        /* without TLS there is no clipboard but this one */

        const area = el('textarea', { class: 'unseen', 'aria-hidden': 'true' });
        const focused = document.activeElement;
        const top = focused?.closest('dialog') || document.body;

        area.value = text;
        top.append(area);
        area.select();
        const done = document.execCommand('copy');
        area.value = '';
        area.remove();
        focused?.focus();

        if (!done) {
            toast('The browser did not let it be copied.');
            return;
        }
    }

    toast(`${what} copied`);
}


export function copyButton(text, what, kind) {
    return button('Copy', () => copy(typeof text === 'function' ? text()
                                                                : text, what),
                  kind || 'quiet', { 'aria-label': `Copy ${what}` });
}


/*
 * A modal dialog; Esc closes it, and the focus goes back to where it was.  One
 * that is "guarded" shows what is not shown again: Esc closes it the second
 * time.  body(close, inner) makes what is in it; resolves to what close() was
 * called with.
 */

export function dialog(title, body, kind) {
    return new Promise((resolve) => {
        const id = newId('d');
        const before = document.activeElement;
        const box = el('dialog', { class: kind, 'aria-labelledby': id });
        let result;

        const finish = () => {
            if (box.contains(byId('toasts'))) {
                toastsTo(before?.closest('dialog'));
            }

            box.remove();

            if (before && before.isConnected) {
                before.focus();
            }

            resolve(result);
        };

        /* at once: the event of its end comes later, and what it shows may be
         * a secret */

        const close = (value) => {
            result = value;
            box.removeEventListener('close', finish);
            box.close();
            finish();
        };

        let warned = !/\bguarded\b/.test(kind || '');

        box.addEventListener('cancel', (ev) => {
            if (!warned && ev.target === box) {
                warned = true;
                ev.preventDefault();
                toast('It is not shown again. Esc once more closes it.');
            }
        });

        box.addEventListener('close', finish);

        const inner = el('div', { class: 'inner' });

        put(box,
            el('header', null,
               el('h2', { id }, title),
               button('×', () => close(), 'quiet close',
                      { 'aria-label': 'Close' })),
            inner);

        document.body.append(box);
        put(inner, body(close, inner));
        box.showModal();

        const first = inner.querySelector('[autofocus]');
        first?.focus();
    });
}


export function confirmDialog(title, text, yes, kind) {
    return dialog(title, (close) => [
        el('p', null, text),
        el('div', { class: 'row end' },
           button('Cancel', () => close(false)),
           button(yes, () => close(true), kind || 'main'))
    ], 'small');
}


/* a form whose submit stays in the page; errors are shown in it */

export function form(onsubmit, ...children) {
    const error = el('div', { role: 'alert' });
    const node = el('form', { novalidate: true }, children, error);
    let busy = false;

    node.addEventListener('submit', async (ev) => {
        ev.preventDefault();

        if (busy) {
            return;
        }

        busy = true;
        node.setAttribute('aria-busy', 'true');
        set(error);
        mark(node, {});

        try {
            await onsubmit(node);

        } catch (e) {
            showError(error, e);
            mark(node, e);

        } finally {
            busy = false;
            node.removeAttribute('aria-busy');
        }
    });

    return node;
}


/* the control that the error is about */

function mark(node, e) {
    const name = e.param?.split('.').at(-1);

    for (const control of node.elements) {
        const is = name !== undefined && control.name === name;

        if (is) {
            const folded = control.closest('details');

            if (folded) {
                folded.open = true;
            }

            control.setAttribute('aria-invalid', 'true');
            control.focus();

        } else {
            control.removeAttribute('aria-invalid');
        }
    }
}


/* an error of api.js as something to read; nothing for what was cancelled */

export function showError(node, e) {
    set(node, e?.cancelled ? null : errorBox(e));
}


export function errorBox(e, ...more) {
    const small = [];

    if (e.retry) {
        small.push(`Try again in ${span(e.retry)}.`);
    }

    if (e.code) {
        small.push(`Code: ${e.code}${e.status ? ` (${e.status})` : ''}.`);
    }

    if (e.request) {
        small.push(`Request: ${e.request}`);
    }

    return el('div', { class: 'error box' },
              el('p', null, e.message || String(e)),
              small.length > 0 && el('p', { class: 'small' },
                                     small.join(' ')),
              more);
}


/* times and numbers */

export function span(seconds) {
    const s = Math.round(seconds);

    if (s < 100) {
        return `${s} s`;
    }

    if (s < 7200) {
        return `${Math.round(s / 60)} min`;
    }

    return s < 172800 ? `${Math.round(s / 3600)} h`
                      : `${Math.round(s / 86400)} days`;
}


export function when(text, o) {
    if (!text) {
        return '—';
    }

    const date = new Date(text);

    if (isNaN(date)) {
        return String(text);
    }

    return el('time', { datetime: date.toISOString(),
                        title: date.toISOString() },
              date.toLocaleString(undefined, o || { dateStyle: 'medium',
                                                    timeStyle: 'short' }));
}


export function day(text) {
    return when(text, { dateStyle: 'medium' });
}


export function number(n, digits) {
    if (n === null || n === undefined || typeof n !== 'number') {
        return '—';
    }

    return n.toLocaleString(undefined, {
        maximumFractionDigits: digits ?? 0 });
}


export function bytes(n) {
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    let i = 0;

    while (n >= 1024 && i < units.length - 1) {
        n /= 1024;
        i++;
    }

    return `${number(n, i && n < 10 ? 1 : 0)} ${units[i]}`;
}


/* [[name, value], ...] as a list; values that are null are left out */

export function facts(list, kind) {
    return el('dl', { class: `facts ${kind || ''}` },
              list.filter(([, value]) => value !== null
                                         && value !== undefined)
                  .map(([name, value]) => el('div', null,
                                             el('dt', null, name),
                                             el('dd', null, value))));
}


/* state is told by text; the colour only repeats it */

export function badge(text, kind) {
    return el('span', { class: `badge ${kind || ''}` }, text);
}
