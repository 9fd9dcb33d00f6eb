/* See protocol.h. */
#include "protocol.h"

const char *const cli_protocol_names[] = {"windows", "wikitext2", "c4"};

const char *cli_protocol_set(const char **data, eq_ppl_protocol *protocol, const char *path,
                             eq_ppl_protocol which) {
    if (*data) return "one of --data, --wikitext2 and --c4, once";
    *data = path;
    *protocol = which;
    return NULL;
}

const char *cli_steps_name(int bits, bool fp32_steps) {
    return !bits ? NULL : fp32_steps ? "fp32" : "as written";
}

const char *cli_bos_words(bool text, bool bos) { return !text ? "" : bos ? ", BOS" : ", no BOS"; }
