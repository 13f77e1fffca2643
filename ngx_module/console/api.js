
/*
 * Copyright (C) nginx-llm contributors
 *
 * Calls to this origin.  The key is in this module's scope, nowhere else in
 * the page, and in sessionStorage only when that was asked for.
 */


import { button, dialog, el, field, form } from './ui.js';


const STORED = 'nginx-llm-key';
const API = '/v1/';
const ADMIN = '/admin/';

let key = null;
let ended = () => {};


export class ApiError extends Error {
    constructor(status, o) {
        super(o.message);
        this.status = status;
        this.code = o.code;
        this.param = o.param;
        this.request = o.request;
        this.retry = o.retry;
        this.absent = o.absent;
        this.cancelled = o.cancelled;
    }
}


export function cancelled() {
    return new ApiError(0, { message: 'Cancelled.', cancelled: true });
}


export function setKey(text, keep) {
    key = text;

    if (keep) {
        sessionStorage.setItem(STORED, text);

    } else {
        sessionStorage.removeItem(STORED);
    }
}


/* a rotated key: kept as the one before was */

export function replaceKey(text) {
    setKey(text, sessionStorage.getItem(STORED) !== null);
}


export function wipeKey() {
    key = null;
    sessionStorage.removeItem(STORED);
}


export function storedKey() {
    return sessionStorage.getItem(STORED);
}


/* f is called when the key was good and is so no longer */

export function onEnded(f) {
    ended = f;
}


/* the response of a call that succeeded, its body not read yet */

async function call(url, o) {
    const headers = { Authorization: `Bearer ${key}`, ...o.headers };
    let r;

    if (o.body !== undefined) {
        headers['Content-Type'] = 'application/json';
    }

    try {
        r = await fetch(url, {
            method: o.method || 'GET', headers, signal: o.signal,
            body: o.body === undefined ? undefined : JSON.stringify(o.body),
            credentials: 'omit', cache: 'no-store', redirect: 'error',
            referrerPolicy: 'no-referrer'
        });

    } catch (e) {
        if (e.name === 'AbortError') {
            throw cancelled();
        }

        throw new ApiError(0, { message: 'The server can\u2019t be reached.' });
    }

    if (r.ok) {
        return r;
    }

    throw await failure(r);
}


async function failure(r) {
    const retry = Number(r.headers.get('Retry-After')) || undefined;
    const request = r.headers.get('X-Request-Id') || undefined;
    const text = (v) => typeof v === 'string' ? v : undefined;
    let error;

    try {
        error = (await r.json()).error;
    } catch {
        error = undefined;
    }

    if (!error || typeof error.message !== 'string') {
        return new ApiError(r.status, {
            message: `The server answered ${r.status}`
                     + `${r.statusText ? ' ' + r.statusText : ''}.`,
            request, retry, absent: r.status === 404 || r.status === 405
        });
    }

    return new ApiError(r.status, {
        message: error.message, code: text(error.code),
        param: text(error.param), request: text(error.request_id) || request,
        retry
    });
}


/* the body of a response that succeeded */

export async function json(r) {
    try {
        return await r.json();

    } catch {
        throw new ApiError(0, {
            message: 'The answer is not what it should be.',
            request: r.headers.get('X-Request-Id') || undefined });
    }
}


/* a key that ended while the page is open; a code that is asked for is also
 * a 401 */

function judge(e, o) {
    if (e.status === 401 && !o.first && e.code && !e.code.startsWith('totp_'))
    {
        ended(e);
    }

    return e;
}


export async function api(path, o) {
    try {
        return await call(API + path, o || {});

    } catch (e) {
        throw judge(e, o || {});
    }
}


/*
 * A call of the administration API, as JSON.  Where a code of the second
 * factor is needed, it is asked for, and the same call made again.
 */

export async function admin(method, path, body, o) {
    let totp, why;

    for ( ;; ) {

        try {
            const headers = totp ? { 'X-LLM-TOTP': totp } : {};
            const r = await call(ADMIN + path,
                                 { method, body, headers, ...o });

            return await json(r);

        } catch (e) {

            if (e.code !== 'totp_invalid'
                && (e.code !== 'totp_required' || e.status !== 401))
            {
                throw judge(e, o || {});
            }

            /* confirming an enrolment has its code in the body */

            if (path === 'totp/confirm') {
                throw e;
            }

            why = e.code === 'totp_invalid' ? e.message : undefined;
        }

        totp = await askCode(why);

        if (!totp) {
            throw cancelled();
        }
    }
}


function askCode(why) {
    return dialog('Second factor', (close) => {
        const input = el('input', {
            name: 'code', inputmode: 'text', autocomplete: 'one-time-code',
            spellcheck: 'false', autocapitalize: 'off', maxlength: 32,
            autofocus: true, required: true
        });

        return form(() => {
            const code = input.value.trim();

            if (!/^[\w -]+$/.test(code)) {
                throw new Error('Six digits, or a recovery code.');
            }

            input.value = '';
            close(code);
        },
        el('p', null, 'This change needs a code of your key\u2019s second ' +
                      'factor: six digits of the app, or a recovery code.'),
        why && el('p', { class: 'error', role: 'alert' }, why),
        field('Code', input),
        el('div', { class: 'row end' },
           button('Cancel', () => close()),
           el('button', { type: 'submit', class: 'main' }, 'Go on')));
    }, 'small');
}


export function query(o) {
    const q = new URLSearchParams();

    for (const [name, value] of Object.entries(o)) {
        if (value !== undefined && value !== null && value !== '') {
            q.set(name, value);
        }
    }

    const text = q.toString();

    return text ? '?' + text : '';
}
