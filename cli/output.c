/* See output.h. */
#include "output.h"

#include <math.h>
#include <stdio.h>

#include "base/json.h"
#include "base/mem.h"

json_t *cli_number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

void cli_print_json(json_t *object) {
    char *text = object ? eq_json_text(object, 0) : NULL;
    puts(text ? text : "{\"error\":\"this result cannot be written as JSON\"}");
    eq_free(text);
    json_decref(object);
}

const char *cli_bytes(char out[32], double bytes) {
    static const char *const unit[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    int u = 0;
    while (bytes >= 1024 && u < 4) bytes /= 1024, u++;
    snprintf(out, 32, u ? "%.2f %s" : "%.0f %s", bytes, unit[u]);
    return out;
}

const char *cli_seconds(char out[32], double s) {
    if (s < 0) s = 0;
    long long t = (long long)(s + 0.5);
    if (s < 99.95)
        snprintf(out, 32, "%.1f s", s);
    else if (t < 3600)
        snprintf(out, 32, "%lld min %02lld s", t / 60, t % 60);
    else
        snprintf(out, 32, "%lld h %02lld min", t / 3600, t / 60 % 60);
    return out;
}
