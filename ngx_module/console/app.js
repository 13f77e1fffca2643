
/*
 * Copyright (C) nginx-llm contributors
 *
 * The page: signing in and out, which views a key's role has, going from one
 * to another, the theme.
 */


import { admin, api, onEnded, setKey, storedKey, wipeKey } from './api.js';
import { byId, el, say, set, svg, toast } from './ui.js';
import { accountView, keysView } from './keys.js';
import { auditView } from './audit.js';
import { chatView, newChat } from './chat.js';
import { paramsView } from './params.js';
import { statusView } from './status.js';


const ROLES = ['none', 'user', 'operator', 'admin'];

/* name, title, least role, needs the administration, icon, view */

const VIEWS = [
    ['chat', 'Chat', 'user', false,
     'M4 5h16v11H9l-5 4z', chatView],
    ['status', 'Status', 'user', true,
     'M3 12h4l3-7 4 14 3-7h4', statusView],
    ['params', 'Params', 'operator', true,
     'M4 7h9m4 0h3M4 17h3m4 0h9M13 4.5v5M7 14.5v5', paramsView],
    ['keys', 'Keys', 'admin', true,
     'M8 19a4 4 0 1 1 0-8 4 4 0 0 1 0 8zm3-7 8-8m-4 4 3 3', keysView],
    ['audit', 'Audit', 'admin', true,
     'M6 3h9l4 4v14H6zM9 12h7M9 16h7M14 3v5h5', auditView],
    ['account', 'My key', 'user', true,
     'M12 11a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4 21c1-5 4-6 8-6s7 1 8 6',
     accountView]
];

const THEMES = { auto: 'Theme: automatic', light: 'Theme: light',
                 dark: 'Theme: dark' };

let ctx = null;             /* of who is signed in */
let leave = null;           /* what the view that is shown wants at its end */


function start() {
    theme(localStorage.getItem('nginx-llm-theme') || 'auto');

    byId('theme').addEventListener('click', () => {
        const names = Object.keys(THEMES);
        const now = document.documentElement.dataset.theme || 'auto';

        theme(names[(names.indexOf(now) + 1) % names.length]);
    });

    byId('in-form').addEventListener('submit', (ev) => {
        ev.preventDefault();
        signIn(byId('in-key').value.trim(), byId('in-keep').checked);
    });

    document.querySelector('.skip').addEventListener('click', (ev) => {
        ev.preventDefault();
        byId('main').focus();
    });

    byId('out').addEventListener('click', () => signOut('Signed out.'));
    window.addEventListener('hashchange', () => ctx && show());
    onEnded((e) => signOut(e.message));

    const stored = storedKey();

    if (stored) {
        byId('in-keep').checked = true;
        signIn(stored, true);

    } else {
        byId('in-key').focus();
    }
}


function theme(name) {
    const root = document.documentElement;

    if (name === 'light' || name === 'dark') {
        root.dataset.theme = name;
        localStorage.setItem('nginx-llm-theme', name);

    } else {
        name = 'auto';
        delete root.dataset.theme;
        localStorage.removeItem('nginx-llm-theme');
    }

    const icons = {
        auto: 'M12 4a8 8 0 1 0 0 16zm0 0a8 8 0 0 1 0 16',
        light: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 3v2m0 14v2M3 12h2m14 0h2'
               + 'M5.6 5.6 7 7m10 10 1.4 1.4M5.6 18.4 7 17M17 7l1.4-1.4',
        dark: 'M20 14.5A8 8 0 0 1 9.5 4a8 8 0 1 0 10.5 10.5z'
    };

    set(byId('theme'), icon(icons[name]));
    byId('theme').setAttribute('aria-label', THEMES[name]);
    byId('theme').title = THEMES[name];
}


function icon(path) {
    return svg('svg', { viewBox: '0 0 24 24', 'aria-hidden': 'true',
                        width: 20, height: 20 },
               svg('path', { d: path }));
}


async function signIn(key, keep) {
    const error = byId('in-error');
    const go = byId('in-go');

    error.textContent = '';

    if (!/^[\x21-\x7e]+$/.test(key)) {
        error.textContent = 'Paste an API key: it begins with sk-.';
        byId('in-key').focus();
        return;
    }

    go.disabled = true;
    setKey(key, keep);

    try {
        const me = await whoIs();

        ctx = { me, chat: newChat(), go: (view) => { location.hash = '#/'
                                                                     + view; },
                signOut };
        byId('in-key').value = '';
        enter();

    } catch (e) {
        wipeKey();
        error.textContent = e.message
            + (e.retry ? ` Try again in ${e.retry} s.` : '');
        byId('in-key').focus();

    } finally {
        go.disabled = false;
    }
}


/* who the key is, by the administration; where that is not there, or not for
 * this key, the models say at least whether it is good */

async function whoIs() {
    const first = { first: true };

    try {
        return await admin('GET', 'self', undefined, first);

    } catch (e) {

        if (!e.absent && e.status !== 403) {
            throw e;
        }

        try {
            await api('models', first);

        } catch (e2) {
            throw e2.absent && e.absent
                ? new Error('Neither /admin/ nor /v1/ of this server is '
                            + 'configured: there is nothing to sign in to.')
                : e2;
        }

        return { role: 'user', client: '', limited: e.absent ? 'absent'
                                                             : 'refused' };
    }
}


function views() {
    return VIEWS.filter(([, , role, administration]) =>
        ROLES.indexOf(ctx.me.role) >= ROLES.indexOf(role)
        && !(administration && ctx.me.limited));
}


function enter() {
    const nav = byId('nav');

    document.body.classList.remove('out');
    byId('in').hidden = true;
    byId('view').hidden = false;
    byId('out').hidden = false;
    nav.hidden = false;

    set(nav, el('ul', null, views().map(([name, title, , , path]) =>
        el('li', null, el('a', { href: '#/' + name, onclick: again },
                          icon(path), el('span', null, title))))));

    set(byId('who'), ctx.me.client, ' ',
        el('span', { class: 'badge' }, ctx.me.role));
    byId('who').hidden = !ctx.me.client;

    if (ctx.me.limited) {
        toast(ctx.me.limited === 'absent'
              ? 'The administration is not configured here (llm_admin at '
                + '/admin/): there is the chat only.'
              : 'This key may not use the administration: there is the chat '
                + 'only.');
    }

    show();
}


/* the link of what is shown shows it anew */

function again(ev) {
    if (location.hash === ev.currentTarget.getAttribute('href')) {
        show();
    }
}


function show() {
    const name = location.hash.slice(2).split('?')[0];
    const list = views();
    const view = list.find(([n]) => n === name) || list[0];
    const root = el('div', { class: 'view', id: 'view-' + view[0] });

    leave?.();
    leave = null;

    for (const a of byId('nav').querySelectorAll('a')) {
        const is = a.getAttribute('href') === '#/' + view[0];

        if (is) {
            a.setAttribute('aria-current', 'page');

        } else {
            a.removeAttribute('aria-current');
        }
    }

    document.title = `${view[1]} – nginx-llm`;
    set(byId('view'), root);
    leave = view[5](root, ctx) || null;

    const ask = root.querySelector('#ask');

    (ask || root.querySelector('h1'))?.focus({ preventScroll: true });
    window.scrollTo({ top: 0 });
}


/* nothing of the one who was signed in stays in the page */

function signOut(why) {
    if (!ctx) {
        return;
    }

    leave?.();
    leave = null;
    ctx = null;
    wipeKey();

    for (const box of document.querySelectorAll('dialog')) {
        box.close();
        box.remove();
    }

    set(byId('view'));
    set(byId('nav'));
    set(byId('who'));
    set(byId('toasts'));
    document.body.classList.add('out');
    byId('view').hidden = true;
    byId('nav').hidden = true;
    byId('out').hidden = true;
    byId('who').hidden = true;
    byId('in').hidden = false;
    byId('in-keep').checked = false;
    history.replaceState(null, '', location.pathname);
    document.title = 'nginx-llm';
    byId('in-key').value = '';
    byId('in-key').focus();
    byId('in-error').textContent = why || '';
    say(why || '');
}


start();
