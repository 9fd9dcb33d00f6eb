/* Speaking to the caller's eq_observer; every function takes NULL for "nobody listens". */
#ifndef EQ_BASE_OBSERVE_H
#define EQ_BASE_OBSERVE_H
#include "base/err.h"

void eq_note(const eq_observer *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* fmt makes one JSON object, for example "{\"event\":\"e2e_step\",\"step\":%lld}". */
void eq_event(const eq_observer *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same of an object of any length. */
void eq_event_text(const eq_observer *o, const char *json);
void eq_progress_say(const eq_observer *o, const eq_progress *p);
bool eq_stopped(const eq_observer *o); /* the caller asked for an end */

double eq_now(void); /* seconds of a monotonic clock */
#endif
