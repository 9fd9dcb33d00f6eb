/* instruct-ids: what the program makes of instruction rows, for comparison with its peers
 * (tools/peer_instruct.py): a line of JSON for each row, its ids and which of them are learned.
 * usage: instruct-ids MODEL FILE [LIMIT=64] [TEMPLATE=-] [rows|turns] [answer|all] [LENGTH] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/instruct.h"

static int fail(const eq_err *err) {
    fprintf(stderr, "instruct-ids: %s\n", err->msg);
    return 1;
}

static void print_rows(const eq_examples *x, int64_t limit) {
    for (int64_t i = 0; i < x->n && i < limit; i++) {
        int64_t from = eq_example_start(x, i), to = x->end[i];
        printf("{\"ids\": [");
        for (int64_t k = from; k < to; k++) printf("%s%d", k > from ? ", " : "", x->ids[k]);
        printf("], \"learn\": [");
        for (int64_t k = from; k < to; k++) printf("%s%d", k > from ? ", " : "", x->learn[k]);
        printf("]}\n");
    }
}

int main(int argc, char **argv) {
    eq_err err = {0};
    eq_tokenizer *tok = NULL;
    eq_chat *chat = NULL;
    eq_sources s = {0};
    eq_examples x = {0};
    const char *arg[8] = {NULL, NULL, NULL, "64", "-", "rows", "answer", "1000000"};
    for (int i = 1; i < argc && i < 8; i++) arg[i] = argv[i];
    if (argc < 3) return fprintf(stderr, "usage: instruct-ids MODEL FILE [LIMIT ...]\n"), 2;
    if (eq_tokenizer_open(&tok, arg[1], &err)) return fail(&err);
    const char *name = strcmp(arg[4], "-") ? arg[4] : NULL;
    if ((name || eq_chat_given(arg[1])) && eq_chat_open(&chat, arg[1], name, &err))
        return fail(&err);
    eq_instruct_read o = {.tok = tok,
                          .chat = chat,
                          .turns = !strcmp(arg[5], "turns"),
                          .all = !strcmp(arg[6], "all"),
                          .source_limit = 384,
                          .target_limit = 128,
                          .length = atoll(arg[7]),
                          .vocab = INT32_MAX,
                          .bos = eq_tokenizer_bos_id(tok),
                          .eos = eq_tokenizer_eos(tok),
                          .skip_bad = true};
    if (eq_sources_open(&s, arg[2], &err)) return fail(&err);
    if (eq_examples_read(&x, s.p, &o, &err)) return fail(&err);
    print_rows(&x, atoll(arg[3]));
    eq_examples_free(&x);
    eq_sources_close(&s);
    eq_chat_close(chat);
    eq_tokenizer_close(tok);
    return 0;
}
