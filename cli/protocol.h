/* What `ppl` and `kld` share: which text they read how, and the words for what was used. */
#ifndef EQ_CLI_PROTOCOL_H
#define EQ_CLI_PROTOCOL_H
#include "eqat.h"

/* Of eq_ppl_protocol. */
extern const char *const cli_protocol_names[];

/* Sets both where nothing is set; else what is wrong, for OPT_CALL. */
const char *cli_protocol_set(const char **data, eq_ppl_protocol *protocol, const char *path,
                             eq_ppl_protocol which);
/* The functions `plain`, `wiki` and `c4` that the rows of --data, --wikitext2 and --c4 call; the
 * settings lie in T.o. */
#define EQ_PROTOCOL_CALLS(T) \
    EQ_PROTOCOL_CALL(T, plain, EQ_PPL_WINDOWS) \
    EQ_PROTOCOL_CALL(T, wiki, EQ_PPL_WIKITEXT2) \
    EQ_PROTOCOL_CALL(T, c4, EQ_PPL_C4)
#define EQ_PROTOCOL_CALL(T, name, which) \
    static const char *name(void *args, const char *path) { \
        return cli_protocol_set(&((T *)args)->o.data, &((T *)args)->o.protocol, path, which); \
    }

/* "fp32", "as written"; NULL of a model in full precision (bits 0). */
const char *cli_steps_name(int bits, bool fp32_steps);
/* ", BOS", ", no BOS", or "" where the data is no text. */
const char *cli_bos_words(bool text, bool bos);
#endif
