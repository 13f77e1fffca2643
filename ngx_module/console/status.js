
/*
 * Copyright (C) nginx-llm contributors
 *
 * How it stands: engines, alerts, charts of the last minutes.  Asked for every
 * five seconds while somebody can see it.  What a server does not tell is left
 * out; without its history the page draws what it has seen itself.
 */


import { admin } from './api.js';
import { badge, bytes, el, errorBox, facts, number, say, set, span, svg,
         when } from './ui.js';


const PERIOD = 5000;
const POINTS = 60;

const STATES = { ready: 'good', loading: 'warn', failed: 'bad' };

/* title, [name in the history, label], unit, factor, digits */

const CHARTS = [
    ['Tokens', [['tokens_per_second', '']], '/s', 1, 0],
    ['First token', [['ttft_p50_ms', 'half within'],
                     ['ttft_p99_ms', '99% within']], ' ms', 1, 0],
    ['Requests', [['requests_per_second', ''],
                  ['errors_per_second', 'of them failed']], '/s', 1, 1],
    ['Waiting', [['queue', '']], '', 1, 0],
    ['Batch', [['batch', '']], '', 1, 1],
    ['KV cache', [['kv', '']], '%', 100, 0],
    ['GPU', [['gpu', '']], '%', 100, 0]
];


export function statusView(root, ctx) {
    const alerts = el('div', { class: 'view' });
    const engines = el('div', { class: 'cards' });
    const charts = el('div', { class: 'cards' });
    const audit = el('div');
    const note = el('div', { role: 'alert' });
    const seen = { firing: null, own: ownHistory(), plain: false };
    let timer = 0, gone = false;

    set(root, el('h1', { tabindex: '-1' }, 'Status'), note, alerts,
        engines, charts, audit);

    const poll = async () => {
        clearTimeout(timer);

        if (gone || document.hidden) {
            return;
        }

        try {
            const o = await ask(seen);

            if (gone) {
                return;
            }

            set(note);
            seen.own.add(o);
            set(engines, (o.engines || []).map((e) => engineCard(e,
                                                                 seen.own)));
            showAlerts(alerts, o.alerts, seen);
            set(charts, chartCards(o.history || seen.own.series()));
            set(audit, auditCard(o.audit));

        } catch (e) {
            if (gone) {
                return;
            }

            set(note, errorBox(e));
        }

        timer = setTimeout(poll, PERIOD);
    };

    document.addEventListener('visibilitychange', poll);
    poll();

    return () => {
        gone = true;
        clearTimeout(timer);
        document.removeEventListener('visibilitychange', poll);
    };
}


/* a server without the history refuses the parameter */

async function ask(seen) {
    if (!seen.plain) {
        try {
            return await admin('GET', `status?history=${POINTS}`);

        } catch (e) {
            if (e.code !== 'unknown_field') {
                throw e;
            }

            seen.plain = true;
        }
    }

    return admin('GET', 'status');
}


function engineCard(e, own) {
    const rate = own.rate(e.engine);
    const used = e.kv_blocks ? e.kv_blocks_used / e.kv_blocks : undefined;

    return el('section', { class: 'card', 'aria-label': e.engine },
              el('div', { class: 'head' },
                 el('h2', null, e.engine), badge(e.state, STATES[e.state])),
              e.running !== undefined && facts([
                  ['Running', number(e.running)],
                  ['Waiting', number(e.waiting)],
                  ['KV cache', used === undefined ? null
                      : `${number(used * 100)}%`],
                  ['Tokens now', rate === undefined ? null
                                                    : `${number(rate)}/s`],
                  ['Tokens read', number(e.prefill_tokens)],
                  ['Tokens written', number(e.decode_tokens)]
              ], 'tiles'));
}


/* the focus stays on what is shown anew */

function showAlerts(node, list, seen) {
    const focused = node.contains(document.activeElement);

    set(node, alertList(list, seen));

    if (focused) {
        node.querySelector('summary')?.focus({ preventScroll: true });
    }
}


function alertList(list, seen) {
    if (!Array.isArray(list)) {
        return null;
    }

    const loud = list.filter((a) => a.state !== 'ok');
    const quiet = list.filter((a) => a.state === 'ok');
    const firing = list.filter((a) => a.state === 'firing')
                       .map((a) => a.name).join(', ');

    if (seen.firing !== null && firing !== seen.firing) {
        say(firing ? `Alerts: ${firing}` : 'No alert is firing.');
    }

    seen.firing = firing;
    seen.open = document.getElementById('quiet')?.open || false;

    return el('section', { class: 'card', 'aria-labelledby': 'alerts' },
        el('div', { class: 'head' },
           el('h2', { id: 'alerts' }, 'Alerts'),
           badge(firing ? 'firing' : loud.length ? 'pending' : 'all quiet',
                 firing ? 'bad' : loud.length ? 'warn' : 'good')),
        el('ul', { class: 'rows' }, loud.map(alertLine)),
        quiet.length > 0 && el('details', { id: 'quiet', open: seen.open },
            el('summary', null, quiet.length === 1 ? '1 is quiet'
                                           : `${quiet.length} are quiet`),
            el('ul', { class: 'rows' }, quiet.map(alertLine))));
}


function alertLine(a) {
    const kind = a.state === 'ok' ? 'good'
                 : a.state === 'pending' ? 'warn'
                 : a.severity === 'critical' ? 'bad' : 'warn';
    const sub = [a.severity];

    if (a.subject) {
        sub.push(a.subject);
    }

    if (typeof a.value === 'number') {
        sub.push(`${number(a.value, 3)} (above ${number(a.threshold, 3)})`);
    }

    return el('li', null, el('div', { class: 'line' },
        el('strong', null, a.name), badge(a.state, kind),
        el('span', { class: 'sub' }, a.summary),
        el('span', { class: 'sub' }, sub.join(' · '),
           a.since && [' · since ', when(a.since)])));
}


function auditCard(a) {
    if (!a || typeof a !== 'object') {
        return null;
    }

    const size = typeof a.bytes === 'number' ? bytes(a.bytes) : null;

    return el('section', { class: 'card', 'aria-labelledby': 'trail' },
        el('div', { class: 'head' }, el('h2', { id: 'trail' },
                                        'Audit trail')),
        facts([
            ['Records', a.last === undefined ? null
                        : `${number(a.first)} to ${number(a.last)}`],
            ['Signed', a.signed_to === undefined ? null
                : a.signed_to === 0 ? 'nothing yet'
                : [`to ${number(a.signed_to)}, `, when(a.signed_at)]],
            ['Last record', a.time ? when(a.time) : null],
            ['Size', size]
        ], 'tiles'));
}


function chartCards(h) {
    return CHARTS.map(([title, series, unit, factor, digits]) => {
        const lines = series.map(([name, label]) =>
            ({ label, points: scaled(h[name], factor) }));

        if (!lines[0].points.some((v) => v !== null)) {
            return null;
        }

        return chart(title, lines, unit, digits,
                     h.period * lines[0].points.length,
                     unit === '%' ? 100 : 0);
    });
}


function scaled(list, factor) {
    return (Array.isArray(list) ? list : [])
        .map((v) => typeof v === 'number' ? v * factor : null);
}


function chart(title, lines, unit, digits, seconds, top) {
    const known = lines.flatMap((l) => l.points).filter((v) => v !== null);
    const most = Math.max(top, ...known) || 1;
    const text = (v) => v === null || v === undefined
                        ? '—' : number(v, digits) + unit;

    /* where nothing is known of now, the last that is */

    const now = lines.map((l) => (l.label ? l.label + ' ' : '')
        + text(l.points.findLast((v) => v !== null)));
    const label = `${title}, the last ${span(seconds)}: now ${now.join(', ')}; `
                  + `at most ${text(Math.max(...known))}`;

    return el('div', { class: 'card chart' },
        el('div', { class: 'title' }, el('h3', null, title),
           el('span', null, text(lines[0].points.at(-1)))),
        svg('svg', { viewBox: '0 0 100 40', preserveAspectRatio: 'none',
                     role: 'img', 'aria-label': label },
            svg('path', { class: 'base', d: 'M0 39.5H100' }),
            svg('path', { class: 'area', d: path(lines[0].points, most,
                                                 true) }),
            lines.map((l, i) => svg('path', {
                class: i ? 'curve b' : 'curve',
                d: path(l.points, most, false) }))),
        el('p', { class: 'muted small' },
           lines.length > 1 ? now.join(', ')
                            : `at most ${text(Math.max(...known))}`));
}


/* a line of its own for each run of points that are known, a short one for
 * a point alone */

function path(points, most, area) {
    const n = Math.max(points.length - 1, 1);
    let d = '', begun = false, alone = false, x = 0;

    points.forEach((v, i) => {
        if (v === null) {
            d += begun && area ? `L${x} 40Z` : '';
            begun = false;
            return;
        }

        const y = (39 - 36 * v / most).toFixed(2);

        if (!begun) {
            d += area ? `M${(100 * i / n).toFixed(2)} 40L` : 'M';
            alone = !area && (points[i + 1] ?? null) === null;

        } else {
            d += 'L';
        }

        x = (100 * i / n).toFixed(2);
        d += `${x} ${y}` + (alone ? i ? 'h-1' : 'h1' : '');
        begun = true;
        alone = false;
    });

    return d + (begun && area ? `L${x} 40Z` : '');
}


/* what was seen at each poll, in the shape of the server's history */

function ownHistory() {
    const rates = new Map();
    const h = { period: PERIOD / 1000, tokens_per_second: [], queue: [],
                kv: [] };
    let last = null;

    const add = (o) => {
        const at = performance.now();
        const engines = o.engines || [];
        const sum = (name) => engines.reduce((n, e) => n + (e[name] || 0), 0);
        let tokens = null;

        if (last) {
            const seconds = (at - last.at) / 1000;

            tokens = 0;

            for (const e of engines) {
                const n = Math.max(0, (e.decode_tokens || 0)
                                      - (last.tokens.get(e.engine) || 0));

                rates.set(e.engine, n / seconds);
                tokens += n / seconds;
            }
        }

        last = { at, tokens: new Map(engines.map((e) =>
            [e.engine, e.decode_tokens || 0])) };

        h.tokens_per_second.push(tokens);
        h.queue.push(sum('waiting'));
        h.kv.push(sum('kv_blocks') ? sum('kv_blocks_used') / sum('kv_blocks')
                                   : null);

        for (const list of [h.tokens_per_second, h.queue, h.kv]) {
            if (list.length > POINTS) {
                list.shift();
            }
        }
    };

    return { add, rate: (engine) => rates.get(engine), series: () => h };
}
