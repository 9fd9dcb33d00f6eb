/* See observe.h. */
#define _GNU_SOURCE
#include "base/observe.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

static void say(void (*f)(void *, const char *), void *ctx, const char *fmt, va_list ap) {
    char line[2048];
    vsnprintf(line, sizeof line, fmt, ap);
    f(ctx, line);
}

void eq_note(const eq_observer *o, const char *fmt, ...) {
    if (!o || !o->note) return;
    va_list ap;
    va_start(ap, fmt);
    say(o->note, o->ctx, fmt, ap);
    va_end(ap);
}

void eq_event(const eq_observer *o, const char *fmt, ...) {
    if (!o || !o->event) return;
    va_list ap;
    va_start(ap, fmt);
    say(o->event, o->ctx, fmt, ap);
    va_end(ap);
}

void eq_event_text(const eq_observer *o, const char *json) {
    if (o && o->event) o->event(o->ctx, json);
}

void eq_progress_say(const eq_observer *o, const eq_progress *p) {
    if (o && o->progress) o->progress(o->ctx, p);
}

bool eq_stopped(const eq_observer *o) { return o && o->stop && *o->stop; }

double eq_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
