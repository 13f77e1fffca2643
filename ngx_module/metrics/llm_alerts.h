
/*
 * Copyright (C) nginx-llm contributors
 *
 * Alerts and charts of what llm_metrics.h has kept: what Prometheus would say
 * with monitoring/alerts.yml, said without it.
 *
 * The same names, severities, thresholds and times as there, but for LLMDown:
 * who is down can't tell.  No state of its own: an alert's condition is looked
 * at now and in each sample of the last hour, backwards until it did not hold,
 * so any process says the same.  Times are therefore ten seconds coarse, and
 * none is longer than an hour.
 *
 * Reads only; allocates, takes about a millisecond: on a thread, not on the
 * event loop.
 */


#ifndef _LLM_ALERTS_H_INCLUDED_
#define _LLM_ALERTS_H_INCLUDED_


#include <jansson.h>

#include "llm_metrics.h"


/*
 * An array, most urgent first where the table has them so, one object an
 * alert:
 *
 *     name, severity     as in alerts.yml
 *     state              "ok"; "pending": it holds, but not for so long;
 *                        "firing"
 *     subject            the engine, GPU or store that is worst; "proxied":
 *                        other servers' models, together; null: the host
 *     value              of the subject; null: not known, or too few requests
 *     threshold          firing is above it
 *     window, for        seconds: of the rate, 0: none; that it must last
 *     since              "2027-01-31T12:00:00Z"; null when ok
 *     summary            one line for people
 *
 * engine: names of the configuration's engines, n of them.  time:
 * llm_metrics_clock(), wall: unix ms, of now.  NULL: no memory.
 */
json_t *llm_alerts_json(llm_metrics_t *m, llm_zone_t *zone,
    const char *const *engine, int n, int64_t time, int64_t wall);

/*
 * The newest n points (LLM_ADMIN_HISTORY at most), oldest first, all models
 * together: an object with "period" (seconds) and arrays of the same length.
 * "time" is unix seconds; what is not known is null.  NULL: no memory.
 *
 *     requests_per_second, errors_per_second (status 5xx), tokens_per_second
 *     ttft_p50_ms, ttft_p99_ms      null where nothing was answered
 *     queue, running                requests that wait, sequences
 *     batch                         sequences in a step, on average
 *     kv, gpu                       in use, 0 to 1; the busiest GPU
 */
json_t *llm_alerts_history(llm_metrics_t *m, int n);


#endif /* _LLM_ALERTS_H_INCLUDED_ */
