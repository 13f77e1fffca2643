
/*
 * Copyright (C) nginx-llm contributors
 *
 * Parameters of the engines, which count from the next request on.  An empty
 * field is what the configuration and the model say.
 */


import { admin } from './api.js';
import { el, errorBox, field, form, set, toast } from './ui.js';


const FIELDS = {
    max_batch: ['Largest batch', 'requests that generate at a time', 1],
    queue: ['Queue', 'requests that may wait', 1],
    temperature: ['Temperature', '0 to 2, where a request does not say',
                  'any'],
    top_p: ['Top p', 'above 0, to 1', 'any'],
    top_k: ['Top k', '-1: off', 1],
    min_p: ['Min p', '0 to 1', 'any'],
    repetition_penalty: ['Repetition penalty', 'above 0, to 2', 'any'],
    max_tokens: ['Tokens of an answer', 'where a request does not say', 1],
    max_tokens_limit: ['Tokens, limit', 'the most that a request may ask for',
                       1],
    n_limit: ['Choices, limit', 'the most that a request may ask for', 1]
};


export function paramsView(root) {
    const list = el('div', { class: 'view' });

    set(root, el('h1', { tabindex: '-1' }, 'Parameters'),
        el('p', { class: 'muted' },
           'They count from the next request on and survive restarts. An '
           + 'empty field is what the configuration and the model say.'),
        list);

    load(list);
}


async function load(list) {
    try {
        const o = await admin('GET', 'params');

        set(list, o.data.map(engineForm));

        if (o.data.length === 0) {
            set(list, el('p', { class: 'box' },
                         'No engine is configured (llm_engine).'));
        }

    } catch (e) {
        set(list, errorBox(e));
    }
}


function engineForm(o) {
    let params = o.params;
    const inputs = Object.keys(params).map((name) => {
        const [label, hint, step] = FIELDS[name] || [name, '', 'any'];
        const input = el('input', {
            type: 'number', inputmode: 'decimal', step, name,
            placeholder: 'not set', value: params[name] ?? ''
        });

        return { name, input, field: field(label, input, hint) };
    });

    const save = async () => {
        const body = {};

        for (const { name, input } of inputs) {
            const n = Number.isNaN(input.valueAsNumber) ? null
                                                        : input.valueAsNumber;

            if (input.validity.badInput) {
                throw Object.assign(new Error('That is no number.'),
                                    { param: name });
            }

            if (n !== params[name]) {
                body[name] = n;
            }
        }

        if (Object.keys(body).length === 0) {
            toast('Nothing was changed.');
            return;
        }

        const r = await admin('PATCH',
                              `params/${encodeURIComponent(o.engine)}`, body);

        params = r.params;

        for (const { name, input } of inputs) {
            input.value = params[name] ?? '';
        }

        toast(`${o.engine}: saved`);
    };

    return el('section', { class: 'card', 'aria-label': o.engine },
              el('h2', null, o.engine),
              form(save,
                   el('div', { class: 'grid wide' },
                      inputs.map((i) => i.field)),
                   el('div', { class: 'row end' },
                      el('button', { type: 'submit', class: 'main' },
                         'Save'))));
}
