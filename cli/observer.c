/* Progress, notes, log and signals; see observer.h. All of it goes to stderr or to the log file,
 * stdout belongs to results.
 * Invariant: on a terminal at most one progress line exists, and a note never lands on it. */
#include "observer.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/observe.h"

/* ---- signals --------------------------------------------------------------------------------- */

static volatile sig_atomic_t signals_seen;
static volatile int stop_flag;

static void on_signal(int sig) {
    static const char first[] = "\neqat: stopping after this step; once more to exit at once\n";
    (void)sig;
    if (signals_seen++) _exit(EXIT_STOPPED);
    stop_flag = 1;
    ssize_t ignored = write(2, first, sizeof first - 1);
    (void)ignored;
}

static void catch_signals(void) {
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
}

/* ---- the progress line ----------------------------------------------------------------------- */

static int terminal_width(void) {
    struct winsize w;
    return ioctl(2, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80;
}

static void clear_line(cli_observer *c) {
    if (c->line_shown) fputs("\r\033[K", stderr);
    c->line_shown = false;
}

/* Exponentially smoothed over about ten seconds, so that one slow step does not shake the ETA. */
static void update_rate(cli_observer *c, const eq_progress *p, double now) {
    double dt = now - c->rate_mark.at;
    if (dt < 0.2) return;
    double newest = (double)(p->done - c->rate_mark.done) / dt, keep = exp(-dt / 10);
    c->rate = c->rate > 0 ? keep * c->rate + (1 - keep) * newest : newest;
    c->rate_mark = (cli_mark){now, p->done};
}

/* "  1.2e+04 tokens/s", nothing where there is no rate yet. */
static void put_rate(double rate, bool tokens, char *out, size_t cap) {
    *out = 0;
    if (!(rate > 0)) return;
    if (!tokens)
        snprintf(out, cap, "  %.1f MB/s", rate / 1e6);
    else
        snprintf(out, cap, "  %.*f tokens/s", rate < 100 ? 1 : 0, rate);
}

static void draw(cli_observer *c, const eq_progress *p, double now) {
    char line[256], text[32], rate[48];
    size_t cap = sizeof line;
    double spent = now - c->phase_first.at, gained = (double)(p->done - c->phase_first.done);
    int n = snprintf(line, cap, "%s", c->phase);
    if (p->blocks > 0)
        n += snprintf(line + n, cap - (size_t)n, "  block %lld/%lld", (long long)p->block + 1,
                      (long long)p->blocks);
    if (p->total > 0)
        n += snprintf(line + n, cap - (size_t)n, "  %3.0f%%",
                      100 * (double)p->done / (double)p->total);
    put_rate(c->rate, p->tokens, rate, sizeof rate);
    n += snprintf(line + n, cap - (size_t)n, "%s", rate);
    if (isfinite(p->loss)) n += snprintf(line + n, cap - (size_t)n, "  loss %.5g", p->loss);
    if (gained > 0 && spent > 1)
        snprintf(line + n, cap - (size_t)n, "  ETA %s",
                 cli_seconds(text, (double)(p->total - p->done) * spent / gained));
    fprintf(stderr, "\r\033[K%.*s", terminal_width() - 1, line);
    fflush(stderr);
    c->line_shown = true;
    c->drawn = now;
}

/* ---- one line a finished unit ---------------------------------------------------------------- */

static void finish_unit(cli_observer *c) {
    char text[32], rate[48];
    if (!c->phase[0] || c->unit_told || c->quiet) return;
    c->unit_told = true;
    clear_line(c);
    fprintf(stderr, "%s", c->phase);
    if (c->last.blocks > 0)
        fprintf(stderr, "  block %lld/%lld", (long long)c->last.block + 1,
                (long long)c->last.blocks);
    if (isfinite(c->last.loss)) fprintf(stderr, "  loss %.5g", c->last.loss);
    put_rate((double)(c->last.done - c->unit_first.done) / (c->last_at - c->unit_first.at),
             c->last.tokens, rate, sizeof rate);
    fprintf(stderr, "%s  %s\n", rate, cli_seconds(text, c->last_at - c->unit_began));
}

static void on_progress(void *ctx, const eq_progress *p) {
    cli_observer *c = ctx;
    cli_mark now = {eq_now(), p->done};
    bool new_phase = strncmp(c->phase, p->phase, sizeof c->phase - 1) != 0;
    bool new_unit = new_phase || p->block != c->last.block;
    if (new_unit) {
        finish_unit(c);
        c->unit_began = c->last_at;
        c->unit_first = now;
        c->unit_told = false;
    }
    if (new_phase) {
        c->phase_first = now;
        c->rate = 0;
        snprintf(c->phase, sizeof c->phase, "%s", p->phase);
    }
    if (new_phase || p->done < c->last.done) c->rate_mark = now;
    c->last = *p;
    c->last_at = now.at;
    update_rate(c, p, now.at);
    if (p->total > 0 && p->done >= p->total)
        finish_unit(c);
    else if (c->terminal && !c->quiet && now.at - c->drawn >= 0.2)
        draw(c, p, now.at);
}

static void on_note(void *ctx, const char *line) {
    cli_observer *c = ctx;
    if (c->quiet) return;
    clear_line(c);
    fprintf(stderr, "%s\n", line);
}

static void on_event(void *ctx, const char *json) {
    cli_observer *c = ctx;
    if (c->log) {
        fprintf(c->log, "%s\n", json);
        fflush(c->log);
    }
    if (c->verbose && !c->quiet) {
        clear_line(c);
        fprintf(stderr, "%s\n", json);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

/* A line that a kill cut short is ended, so that the log stays one object a line. */
static void end_cut_line(FILE *log) {
    if (fseek(log, -1, SEEK_END) == 0 && fgetc(log) != '\n') {
        fseek(log, 0, SEEK_END);
        fputc('\n', log);
    }
    fseek(log, 0, SEEK_END);
}

eq_status cli_observer_open(cli_observer *c, const cli_common *common, bool resume, eq_err *err) {
    const char *term = getenv("TERM");
    *c = (cli_observer){.quiet = common->quiet, .verbose = common->verbose};
    c->terminal = isatty(2) && !(term && !strcmp(term, "dumb"));
    c->last_at = eq_now();
    c->obs = (eq_observer){c, on_progress, on_note, on_event, &stop_flag};
    if (common->log) {
        c->log = fopen(common->log, resume ? "a+" : "w");
        if (!c->log) return eq_fail_errno(err, "%s: cannot write the log", common->log);
        if (resume) end_cut_line(c->log);
    }
    catch_signals();
    return EQ_OK;
}

eq_status cli_observer_close(cli_observer *c, eq_err *err) {
    if (stop_flag)
        clear_line(c);
    else
        finish_unit(c);
    if (!c->log) return EQ_OK;
    bool bad = ferror(c->log) != 0;
    if (fclose(c->log) || bad) return eq_fail(err, EQ_EIO, "the log could not be written in full");
    return EQ_OK;
}

/* ---- the end of a job ------------------------------------------------------------------------ */

static void put_quoted(const char *s) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_=+.,/:@%^";
    if (*s && strspn(s, plain) == strlen(s)) {
        fputs(s, stderr);
        return;
    }
    fputc('\'', stderr);
    for (; *s; s++) {
        if (*s == '\'')
            fputs("'\\''", stderr);
        else
            fputc(*s, stderr);
    }
    fputc('\'', stderr);
}

static void put_resume_command(const cli_common *common) {
    bool has = false;
    fputs("eqat: stopped; to go on:", stderr);
    for (int i = 0; i < common->argc; i++) {
        has = has || !strcmp(common->argv[i], "--resume");
        fputc(' ', stderr);
        put_quoted(common->argv[i]);
    }
    fputs(has ? "\n" : " --resume\n", stderr);
}

int cli_finish(const cli_common *common, eq_status st, const eq_err *err, bool can_resume) {
    if (st == EQ_OK) return EXIT_DONE;
    if (st != EQ_EINTR) return cli_fail(err);
    if (can_resume)
        put_resume_command(common);
    else
        fputs("eqat: stopped\n", stderr);
    return EXIT_STOPPED;
}
