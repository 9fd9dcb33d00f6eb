/* See observer.h. The library says what happened; here every event gains when it happened, in which
 * phase, at what rate and in how much memory, and the first one what program runs, how and where.
 */
#include "observer.h"

#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/observe.h"
#include "output.h"
#include "signals.h"

/* ---- the log --------------------------------------------------------------------------------- */

/* `,"version":...` to be put at the end of the first event; NULL when memory is out. */
static char *header(const cli_common *common) {
    char stamp[32], *about = NULL;
    time_t now = time(NULL);
    struct tm t;
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &t));
    json_t *command = json_array(), *machine = NULL;
    for (int i = 0; i < common->argc; i++)
        json_array_append_new(command, eq_json_lossy(common->argv[i]));
    eq_err ignored = {0};
    if (eq_about(&about, &ignored) == EQ_OK)
        (void)!eq_json_parse(&machine, about, (int64_t)strlen(about), "machine", &ignored);
    json_t *o = json_pack("{s:s, s:s, s:o*, s:o*}", "version", EQ_VERSION, "utc", stamp, "command",
                          command, "machine", machine);
    char *text = o ? eq_json_text(o, 0) : NULL, *out = NULL;
    if (text) {
        text[strlen(text) - 1] = 0;
        out = eq_sprintf(",%s", text + 1);
    }
    eq_text_free(about), eq_free(text);
    json_decref(o);
    return out;
}

/* `{...}` and more fields in the same object. A key that the event has is not given twice. */
static char *with_fields(cli_observer *c, const char *json, const char *more) {
    const cli_progress *p = &c->progress;
    size_t n = strlen(json);
    char rate[48] = "null", phase[64] = "";
    if (n < 2 || json[n - 1] != '}') return NULL;
    if (p->rate > 0 && p->last.tokens) snprintf(rate, sizeof rate, "%.6g", p->rate);
    if (!strstr(json, "\"phase\":") && p->phase[0])
        snprintf(phase, sizeof phase, ",\"phase\":\"%s\"", p->phase);
    cli_memory(&c->progress);
    return eq_sprintf("%.*s%s%s,\"elapsed\":%.3f,\"tokens_per_second\":%s,\"memory_bytes\":%lld,"
                      "\"memory_peak_bytes\":%lld}",
                      (int)n - 1, json, more, phase, eq_now() - p->began, rate,
                      (long long)p->memory, (long long)p->memory_peak);
}

static void on_event(void *ctx, const char *json) {
    cli_observer *c = ctx;
    char *head = c->begun ? NULL : header(c->common);
    char *line = with_fields(c, json, head ? head : "");
    c->begun = true;
    if (line) cli_log_line(&c->log, line);
    if (line && c->common->verbose) {
        cli_progress_clear(&c->progress);
        fprintf(stderr, "%s\n", line);
    }
    eq_free(head), eq_free(line);
}

static void end_event(cli_observer *c, eq_status st, json_t *result, const eq_err *err) {
    if (!c->begun) return;
    const char *name = st == EQ_OK ? "result" : st == EQ_EINTR ? "stopped" : "error";
    json_t *o = json_pack("{s:s}", "event", name);
    if (st == EQ_OK && result) json_object_update(o, result);
    if (st != EQ_OK) json_object_set_new(o, "message", eq_json_lossy(err->msg));
    char *line = o ? eq_json_text(o, 0) : NULL;
    if (line) on_event(c, line);
    eq_free(line);
    json_decref(o);
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void on_progress(void *ctx, const eq_progress *p) {
    cli_progress_say(&((cli_observer *)ctx)->progress, p);
}

static void on_note(void *ctx, const char *line) {
    cli_observer *c = ctx;
    if (c->common->quiet) return;
    cli_progress_clear(&c->progress);
    fprintf(stderr, "%s\n", line);
}

eq_status cli_observer_open(cli_observer *c, const cli_common *common, const cli_used *used,
                            bool resume, eq_err *err) {
    *c = (cli_observer){.common = common};
    c->obs = (eq_observer){c, on_progress, on_note, on_event, &cli_stop};
    cli_progress_open(&c->progress, common);
    EQ_TRY(cli_log_open(&c->log, common->log, used, resume, err));
    cli_catch_signals();
    return EQ_OK;
}

eq_status cli_observer_close(cli_observer *c, eq_status st, json_t *result, eq_err *err) {
    cli_progress_close(&c->progress, st == EQ_OK);
    end_event(c, st, result, err);
    json_decref(result);
    eq_err log = {0};
    if (cli_log_close(&c->log, &log) == EQ_OK || st != EQ_OK) return st;
    return eq_fail(err, log.status, "%s", log.msg);
}
