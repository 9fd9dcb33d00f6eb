/* session-time: how long a model takes to read a prompt and to say what follows. For every line
 * "PROMPT TOKENS" on standard input (numbers of tokens, any ones) it prints the seconds of both and
 * those of the processors, so that a peer can be measured between two lines (tools/peer_speed.py).
 * usage: session-time MODEL CONTEXT [THREADS] */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/par.h"
#include "bench_generate.h"

static eq_status answer(eq_session *s, int64_t V, eq_err *err) {
    int prompt, tokens;
    while (scanf("%d %d", &prompt, &tokens) == 2) {
        eq_bench_times t;
        if (prompt < 1 || tokens < 0)
            return eq_fail(err, EQ_EINPUT, "expected a prompt of 1 token or more, found %d %d",
                           prompt, tokens);
        EQ_TRY(eq_bench_session(s, V, prompt, tokens, &t, err));
        printf("%.6f %.6f %.6f %.6f\n", t.prompt, t.tokens, t.prompt_cpu, t.tokens_cpu);
        fflush(stdout);
    }
    return EQ_OK;
}

int main(int argc, char **argv) {
    eq_err err = {0};
    eq_generate_opts o;
    eq_weights *src = NULL;
    eq_backend *be = NULL;
    eq_session *s = NULL;
    if (argc < 3 || argc > 4) {
        fputs("usage: session-time MODEL CONTEXT [THREADS]\n", stderr);
        return 2;
    }
    eq_generate_opts_init(&o);
    eq_par_threads(argc > 3 ? atoi(argv[3]) : 0);
    eq_status st = eq_weights_open(&src, argv[1], &err);
    if (st == EQ_OK) st = eq_backend_open(&be, "cpu", NULL, &err);
    if (st == EQ_OK) st = eq_session_open(&s, be, src, &o.compute, atoll(argv[2]), &err);
    if (st == EQ_OK) st = answer(s, src->cfg.V, &err);
    if (st != EQ_OK) fprintf(stderr, "session-time: %s\n", err.msg);
    eq_session_close(s);
    if (be) be->close(be);
    eq_weights_close(src);
    return st != EQ_OK;
}
