/* How fast a text came. */
#include <stdio.h>

#include "generate_options.h"

static double rate(int64_t tokens, double seconds) {
    return seconds > 0 ? (double)tokens / seconds : 0;
}

void cli_print_speed(const eq_generate_result *r) {
    fprintf(stderr,
            "eqat: %lld tokens of prompt in %.2f s (%.1f tokens/s), %lld tokens in %.2f s (%.1f "
            "tokens/s)\n",
            (long long)r->prompt_tokens, r->prompt_seconds,
            rate(r->prompt_tokens, r->prompt_seconds), (long long)r->tokens, r->seconds,
            rate(r->tokens, r->seconds));
}
