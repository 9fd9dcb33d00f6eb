/* See progress.h. What matters first, so that a narrow terminal keeps it. */
#include "progress.h"

#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/observe.h"

enum { LINE = 320 };

int64_t cli_memory(cli_progress *c) {
    char text[128];
    long long all, resident, shared;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (n <= 0) return 0;
    text[n] = 0;
    if (sscanf(text, "%lld %lld %lld", &all, &resident, &shared) != 3) return 0;
    c->memory = (int64_t)(resident - shared) * (int64_t)sysconf(_SC_PAGESIZE);
    if (c->memory > c->memory_peak) c->memory_peak = c->memory;
    return c->memory;
}

/* ---- the parts of a line --------------------------------------------------------------------- */

/* "45s", "12m30s", "4h12m", "3d04h" */
static const char *span_text(char out[32], double seconds) {
    long long t = (long long)(seconds + 0.5);
    if (t < 60)
        snprintf(out, 32, "%llds", t);
    else if (t < 3600)
        snprintf(out, 32, "%lldm%02llds", t / 60, t % 60);
    else if (t < 86400)
        snprintf(out, 32, "%lldh%02lldm", t / 3600, t / 60 % 60);
    else
        snprintf(out, 32, "%lldd%02lldh", t / 86400, t / 3600 % 24);
    return out;
}

/* The time of day in `seconds` from now, with the day where it is not today. */
static const char *clock_text(char out[32], double seconds) {
    time_t now = time(NULL), then = now + (time_t)seconds;
    struct tm a, b;
    if (!localtime_r(&now, &a) || !localtime_r(&then, &b)) return "";
    bool today = a.tm_yday == b.tm_yday && a.tm_year == b.tm_year;
    strftime(out, 32, today ? "%H:%M" : seconds < 6 * 86400 ? "%a %H:%M" : "%Y-%m-%d %H:%M", &b);
    return out;
}

/* Seconds to the end of the whole job, negative: not known yet. */
static double time_left(const cli_progress *c, double now) {
    double gained = c->last.job - c->job_first;
    if (!(c->last.job > 0) || !(gained > 0) || now - c->job_at < 1) return -1;
    return (1 - c->last.job) * (now - c->job_at) / gained;
}

__attribute__((format(printf, 2, 3))) static void put(char line[LINE], const char *fmt, ...) {
    size_t n = strlen(line);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line + n, LINE - n, fmt, ap);
    va_end(ap);
}

static void put_job(const cli_progress *c, char line[LINE], double now) {
    char span[32], at[32];
    double left = time_left(c, now);
    if (c->last.job > 0) put(line, "%.0f%%  ", floor(100 * c->last.job));
    if (left >= 0) put(line, "ETA %s %s  ", span_text(span, left), clock_text(at, left));
}

static void put_where(const cli_progress *c, char line[LINE]) {
    const eq_progress *p = &c->last;
    put(line, "%s", c->phase);
    if (p->blocks > 0) put(line, " %lld/%lld", (long long)p->block + 1, (long long)p->blocks);
}

static void put_rate(const cli_progress *c, char line[LINE]) {
    if (!(c->rate > 0)) return;
    if (c->last.tokens)
        put(line, "  %.*f tokens/s", c->rate < 100 ? 1 : 0, c->rate);
    else
        put(line, "  %.1f MB/s", c->rate / 1e6);
}

static void put_end(cli_progress *c, char line[LINE], double now) {
    char text[32];
    if (cli_memory(c)) put(line, "  %s", cli_bytes(text, (double)c->memory));
    put(line, "  %s elapsed", span_text(text, now - c->began));
}

/* ---- lines ----------------------------------------------------------------------------------- */

static int terminal_width(void) {
    struct winsize w;
    return ioctl(2, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80;
}

void cli_progress_clear(cli_progress *c) {
    if (c->line_shown) fputs("\r\033[K", stderr);
    c->line_shown = false;
}

static void draw(cli_progress *c, double now) {
    char line[LINE] = "";
    const eq_progress *p = &c->last;
    put_job(c, line, now);
    put_where(c, line);
    if (p->part) put(line, " %s", p->part);
    if (p->total > 0 && (p->part || !(p->job > 0)))
        put(line, " %.0f%%", floor(100 * (double)p->done / (double)p->total));
    if (isfinite(p->loss)) put(line, "  loss %.5g", p->loss);
    put_rate(c, line);
    put_end(c, line, now);
    if (c->terminal)
        fprintf(stderr, "\r\033[K%.*s", terminal_width() - 1, line);
    else
        fprintf(stderr, "%s\n", line);
    fflush(stderr);
    c->line_shown = c->terminal;
    c->shown = now;
}

static void finish_unit(cli_progress *c) {
    char line[LINE] = "", text[32];
    if (!c->phase[0] || !c->last.total || c->unit_told || c->quiet) return;
    c->unit_told = true;
    cli_progress_clear(c);
    put_where(c, line);
    put(line, " done");
    if (isfinite(c->last.loss)) put(line, "  loss %.5g", c->last.loss);
    put_rate(c, line);
    put(line, "  %s", cli_seconds(text, c->unit_ended - c->unit_began));
    if (c->last.job > 0 && c->last.job < 1) {
        put(line, "; job ");
        put_job(c, line, c->unit_ended);
    }
    size_t n = strlen(line);
    while (n && line[n - 1] == ' ') line[--n] = 0;
    fprintf(stderr, "%s\n", line);
    c->shown = eq_now();
}

/* ---- reports --------------------------------------------------------------------------------- */

/* Exponentially smoothed over about ten seconds, so that one slow step does not shake it. Parts
 * that have a name are not what the rate is of. */
static void update_rate(cli_progress *c, const eq_progress *p, double now, bool anew) {
    double dt = now - c->rate_mark.at;
    if (anew) c->rate_mark = (cli_mark){now, p->done};
    if (anew || p->part || dt < 0.2) return;
    double newest = (double)(p->done - c->rate_mark.done) / dt, keep = exp(-dt / 10);
    c->rate = c->rate > 0 ? keep * c->rate + (1 - keep) * newest : newest;
    c->rate_mark = (cli_mark){now, p->done};
}

void cli_progress_say(cli_progress *c, const eq_progress *p) {
    double now = eq_now();
    bool new_phase = strncmp(c->phase, p->phase, sizeof c->phase - 1) != 0;
    if (new_phase || p->block != c->last.block) {
        finish_unit(c);
        c->unit_began = c->phase[0] ? c->unit_ended : c->began;
        c->unit_told = false;
    }
    bool anew = new_phase || p->part != c->last.part || p->done < c->last.done;
    if (new_phase) {
        snprintf(c->phase, sizeof c->phase, "%s", p->phase);
        c->rate = 0;
    }
    update_rate(c, p, now, anew);
    double loss = c->last.loss;
    c->last = *p;
    if (!new_phase && !isfinite(p->loss)) c->last.loss = loss; /* a pass has none */
    c->unit_ended = now;
    /* The share goes back where a job follows another (the demo) or rolls back; reports that do not
     * know it lie between. */
    if (p->job > 0 && (!(c->job_at > 0) || p->job < c->job_known))
        c->job_at = now, c->job_first = p->job;
    if (p->job > 0) c->job_known = p->job;
    if (c->quiet) return;
    if (!p->blocks && !p->part && p->total > 0 && p->done >= p->total)
        finish_unit(c);
    else if (now - c->shown >= (c->terminal ? 0.2 : c->every))
        draw(c, now);
}

void cli_progress_open(cli_progress *c, const cli_common *common) {
    const char *term = getenv("TERM");
    *c = (cli_progress){.quiet = common->quiet, .every = common->progress_every};
    c->terminal = isatty(2) && !(term && !strcmp(term, "dumb"));
    c->began = c->shown = c->unit_ended = eq_now();
    c->last.loss = NAN;
}

void cli_progress_close(cli_progress *c, bool whole) {
    if (whole) finish_unit(c);
    cli_progress_clear(c);
}
