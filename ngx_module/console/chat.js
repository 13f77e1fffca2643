
/*
 * Copyright (C) nginx-llm contributors
 *
 * The chat: a conversation that lives in this page, streamed.  What a model
 * thinks (reasoning_content, or <think> in its text) is shown apart, folded,
 * and is not sent back with the next question.
 */


import { api, cancelled, json } from './api.js';
import { button, copyButton, el, errorBox, field, newId, number, say,
         set } from './ui.js';
import { render } from './markdown.js';


const PARAMS = [
    ['temperature', 'Temperature', { min: 0, max: 2, step: 0.1 }],
    ['top_p', 'Top p', { min: 0, max: 1, step: 0.05 }],
    ['max_tokens', 'Most tokens', { min: 1, step: 1 }],
    ['seed', 'Seed', { step: 1 }]
];


const SAID = 2000;              /* the most that is read out at once */
const ONE_PIECE = 500;          /* ms: what came within had waited somewhere */


/* what outlives a visit of another view, until the key is signed out */

export function newChat() {
    return { turns: [], model: '', params: {}, system: '', draft: '',
             stop: null };
}


export function chatView(root, ctx) {
    const chat = ctx.chat;
    const log = el('div', { class: 'log', role: 'log', 'aria-live': 'off',
                            'aria-label': 'Conversation' });
    const models = el('select', { 'aria-label': 'Model',
                                  onchange: () => {
                                      chat.model = models.value;
                                  } });
    const text = el('textarea', {
        id: 'ask', rows: 2, 'aria-label': 'Message',
        placeholder: 'Ask something', value: chat.draft,
        oninput: () => { chat.draft = text.value; grow(text); }
    });
    const send = el('button', { id: 'send', type: 'submit', class: 'main' },
                    'Send');
    const stop = button('Stop', () => chat.stop?.abort(), 'main',
                        { id: 'stop', hidden: true });
    const note = el('p', { class: 'muted small' },
                    'Enter sends, Shift+Enter begins a new line.');

    const busy = (is) => {
        const focused = document.activeElement;

        send.hidden = is;
        stop.hidden = !is;

        if (focused === send && is) {
            stop.focus();

        } else if (focused === stop && !is) {
            text.focus();
        }
    };

    const ask = async (words) => {
        const first = log.querySelector('.hello');
        const turn = { user: words, answer: '', thought: '' };

        first?.remove();
        chat.turns.push(turn);

        const shown = turnView(turn, () => {
            chat.turns.splice(chat.turns.indexOf(turn), 1);
            shown.node.remove();
            ask(words);
        });

        log.append(shown.node);
        shown.node.scrollIntoView({ block: 'end' });
        busy(true);

        chat.stop = new AbortController();
        await answer(chat, turn, shown, chat.stop.signal);
        chat.stop = null;
        busy(false);
    };

    const submit = (ev) => {
        ev.preventDefault();

        const words = text.value.trim();

        if (words === '' || chat.stop) {
            return;
        }

        text.value = chat.draft = '';
        grow(text);
        ask(words);
    };

    const composer = el('form', { class: 'composer', onsubmit: submit },
                        text, el('div', { class: 'row' }, note, stop, send));

    text.addEventListener('keydown', (ev) => {
        if (ev.key === 'Enter' && !ev.shiftKey && !ev.isComposing) {
            composer.requestSubmit();
            ev.preventDefault();

        } else if (ev.key === 'Escape' && chat.stop) {
            chat.stop.abort();
        }
    });

    const restart = button('New chat', () => {
        chat.stop?.abort();
        chat.turns.length = 0;
        set(log, hello());
        text.focus();
        say('New chat');
    });

    set(root,
        el('div', { class: 'chat' },
           el('div', { class: 'head' },
              el('h1', { tabindex: '-1' }, 'Chat'),
              models, restart),
           settings(chat), log, composer));

    if (chat.turns.length === 0) {
        set(log, hello());

    } else {
        for (const turn of chat.turns) {
            const shown = turnView(turn);
            shown.update(turn, true);
            log.append(shown.node);
        }
    }

    loadModels(models, chat, log, send);

    return () => chat.stop?.abort();
}


function hello() {
    return el('p', { class: 'hello muted' },
              'What you write goes to the model on this server, and nowhere '
              + 'else. The conversation is gone when this page is.');
}


async function loadModels(models, chat, log, send) {
    try {
        const list = (await json(await api('models'))).data || [];

        set(models, list.map((m) => el('option', { value: m.id }, m.id)));

        if (list.some((m) => m.id === chat.model)) {
            models.value = chat.model;
        }

        chat.model = models.value;

    } catch (e) {
        send.disabled = true;
        models.hidden = true;
        set(log, e.absent
            ? el('div', { class: 'box' },
                 el('p', null, 'No model answers at /v1/ of this server.'),
                 el('p', { class: 'muted small' },
                    'Its configuration needs: location /v1/ { llm_auth on; '
                    + 'llm_pass …; }'))
            : errorBox(e));
    }
}


function settings(chat) {
    const system = el('textarea', { rows: 2, value: chat.system,
                                    id: 'set-system',
                                    oninput: () => {
                                        chat.system = system.value;
                                    } });
    const inputs = PARAMS.map(([name, label, limits]) => {
        const input = el('input', {
            type: 'number', inputmode: 'decimal', ...limits,
            id: 'set-' + name, placeholder: 'default',
            value: chat.params[name] ?? '',
            oninput: () => {
                const n = input.valueAsNumber;

                if (Number.isNaN(n)) {
                    delete chat.params[name];

                } else {
                    chat.params[name] = n;
                }
            }
        });

        return field(label, input);
    });

    return el('details', { class: 'settings' },
              el('summary', null, 'Parameters'),
              el('div', { class: 'grid' }, inputs),
              field('System prompt', system));
}


function grow(area) {
    area.rows = Math.min(8, Math.max(2, area.value.split('\n').length));
}


/* { node, update(turn, last) } */

function turnView(turn, again) {
    const thought = el('div', { class: 'thought text' });
    const summary = el('summary', null, 'Reasoning');
    const think = el('details', { class: 'think', hidden: true }, summary,
                     thought);
    const text = el('div', { class: 'text answer' });
    const wait = el('p', { class: 'wait muted', role: 'img',
                           'aria-label': 'Waiting for the first token' },
                    el('span'), el('span'), el('span'));
    const foot = el('div', { class: 'foot' });
    const id = newId('t');

    const node = el('article', { class: 'turn', 'aria-labelledby': id },
                    el('h2', { class: 'unseen', id }, 'You asked'),
                    el('div', { class: 'text user' }, turn.user),
                    el('h2', { class: 'unseen' }, 'Answer'),
                    el('div', { class: 'model' }, think, text, wait, foot));

    const update = (t, last) => {
        const parts = split(t);

        think.hidden = parts.thought === '';
        summary.textContent = parts.thinking && !last ? 'Reasoning …'
                                                      : 'Reasoning';
        render(thought, parts.thought);
        render(text, parts.answer);
        wait.hidden = last || parts.answer !== '' || parts.thought !== '';

        if (last) {
            set(foot, footer(t, parts, again));
        }
    };

    return { node, update };
}


/* Templates of reasoning models may open the thought in the prompt, so that an
 * answer has only its end. */

export function split(turn) {
    const text = turn.answer;
    const open = /^\s*<think>/.exec(text);
    const close = text.indexOf('</think>');
    let thought = turn.thought, answer = text, thinking = false;

    if (close >= 0) {
        thought += text.slice(open ? open[0].length : 0, close);
        answer = text.slice(close + 8);

    } else if (open) {
        thought += text.slice(open[0].length);
        answer = '';
        thinking = true;

    } else if (thought !== '' && text === '') {
        thinking = true;
    }

    return { thought: thought.trim(), answer: answer.trimStart(), thinking };
}


function footer(turn, parts, again) {
    const told = [];

    if (turn.stopped) {
        told.push('stopped');

    } else if (turn.finish === 'length') {
        told.push('cut at the most tokens');
    }

    if (turn.first) {
        told.push(`first token ${number(turn.first / 1000, 2)} s`);
    }

    if (turn.tokens) {
        told.push(turn.tokens === 1 ? '1 token'
                                    : `${number(turn.tokens)} tokens`);
    }

    if (turn.rate) {
        told.push(`${number(turn.rate, turn.rate < 100 ? 1 : 0)} tokens/s`);
    }

    return [
        turn.error && errorBox(turn.error,
                               again && button('Try again', again)),
        el('div', { class: 'row' },
           el('p', { class: 'muted small stats' }, told.join(' · ')),
           parts.answer !== '' && copyButton(parts.answer, 'answer'))
    ];
}


/* Sentences for screen readers, while they come: not each token. */

function teller() {
    let told = 0;
    let last = Date.now();

    return (answer, end) => {
        const rest = answer.slice(told);

        if (end) {
            say(rest.length > SAID ? 'The answer is complete.'
                                   : rest.trim() || 'The answer is complete.');
            return;
        }

        if (rest.length < 120 || Date.now() - last < 3000) {
            return;
        }

        const stop = rest.search(/[.!?\n][^.!?\n]*$/);

        if (stop > 0) {
            say(rest.slice(0, stop + 1).trim());
            told += stop + 1;
            last = Date.now();
        }
    };
}


async function answer(chat, turn, shown, signal) {
    const tell = teller();
    const start = performance.now();
    const near = () => document.documentElement.scrollHeight
                       - window.scrollY - window.innerHeight < 120;
    let frame = 0, due = 0;
    let firstAt = 0, lastAt = 0, pieces = 0;

    /* the longer an answer is the longer it takes to show: a fifth of the time
     * at most, or the page would not be its reader's */

    const paint = () => {
        const began = performance.now();

        if (!shown.node.isConnected) {
            return;
        }

        if (began < due) {
            frame = requestAnimationFrame(paint);
            return;
        }

        const follow = near();

        frame = 0;
        shown.update(turn, false);
        tell(split(turn).answer, false);

        /* asking for the height has it laid out: that is most of the time */

        const height = document.documentElement.scrollHeight;

        if (follow) {
            window.scrollTo({ top: height });
        }

        due = performance.now() + 4 * (performance.now() - began);
    };

    say('Answering');

    try {
        for await (const o of events(body(chat, turn), signal)) {

            const delta = o.choices?.[0]?.delta;

            if (delta?.content || delta?.reasoning_content) {
                lastAt = performance.now();
                firstAt = firstAt || lastAt;
                pieces++;
                turn.answer += delta.content || '';
                turn.thought += delta.reasoning_content || '';
                frame = frame || requestAnimationFrame(paint);
            }

            turn.finish = o.choices?.[0]?.finish_reason || turn.finish;
            turn.tokens = o.usage?.completion_tokens || turn.tokens;
        }

    } catch (e) {
        if (e.cancelled || signal.aborted) {
            turn.stopped = true;

        } else {
            turn.error = e;
        }
    }

    cancelAnimationFrame(frame);

    turn.tokens = turn.tokens || pieces;

    if (firstAt) {
        turn.first = firstAt - start;

        /* what came in one piece says nothing of how fast it was made */

        const from = lastAt - firstAt < ONE_PIECE ? start : firstAt;

        if (lastAt > from && turn.tokens > 1) {
            turn.rate = (turn.tokens - 1) * 1000 / (lastAt - from);
        }
    }

    const follow = near();

    shown.update(turn, true);

    if (follow) {
        window.scrollTo({ top: document.documentElement.scrollHeight });
    }

    /* nothing of it is said in another view, or to who has signed out */

    if (!turn.error && shown.node.isConnected) {
        tell(split(turn).answer, true);
    }
}


function body(chat, turn) {
    const messages = [];

    if (chat.system.trim() !== '') {
        messages.push({ role: 'system', content: chat.system });
    }

    for (const t of chat.turns) {
        const said = split(t).answer;

        if (t === turn) {
            messages.push({ role: 'user', content: t.user });
            break;
        }

        if (said !== '') {
            messages.push({ role: 'user', content: t.user },
                          { role: 'assistant', content: said });
        }
    }

    return { model: chat.model, messages, ...chat.params, stream: true,
             stream_options: { include_usage: true } };
}


/* the objects of a stream of server-sent events, until [DONE] */

async function* events(request, signal) {
    const r = await api('chat/completions',
                        { method: 'POST', body: request, signal });
    const reader = r.body.getReader();
    const decoder = new TextDecoder();
    let rest = '';

    try {
        for ( ;; ) {
            const { value, done } = await reader.read();

            rest += done ? decoder.decode()
                         : decoder.decode(value, { stream: true });

            const lines = rest.split('\n');
            rest = lines.pop();

            for (const line of lines) {

                if (!line.startsWith('data:')) {
                    continue;
                }

                const data = line.slice(5).trim();

                if (data === '[DONE]') {
                    return;
                }

                yield parse(data, r);
            }

            if (done) {
                throw Object.assign(
                    new Error('The answer was cut off: the connection ended '
                              + 'before it was complete.'),
                    { request: r.headers.get('X-Request-Id') });
            }
        }

    } catch (e) {
        if (e.name === 'AbortError') {
            throw cancelled();
        }

        if (e instanceof TypeError) {
            throw Object.assign(new Error('The connection broke.'),
                                { request: r.headers.get('X-Request-Id') });
        }

        throw e;

    } finally {
        reader.cancel().catch(() => {});
    }
}


function parse(data, r) {
    const request = r.headers.get('X-Request-Id');
    let o;

    try {
        o = JSON.parse(data);

    } catch {
        throw Object.assign(new Error('The answer is not what it should be.'),
                            { request });
    }

    if (o.error) {
        throw Object.assign(new Error(o.error.message || 'The answer failed.'),
                            { code: o.error.code,
                              request: o.error.request_id || request });
    }

    return o;
}
