/* json-lines: reads lines from stdin and wants a JSON object in each, without a key given twice;
 * for tests of logs. Exit 1 with the first line that is none. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "base/json.h"

int main(void) {
    char *line = NULL, where[32];
    size_t cap = 0;
    long n = 0;
    eq_err err = {0};
    for (ssize_t len; (len = getline(&line, &cap, stdin)) > 0;) {
        json_t *v = NULL;
        snprintf(where, sizeof where, "line %ld", ++n);
        if (eq_json_parse(&v, line, (int64_t)len, where, &err) == EQ_OK && !json_is_object(v))
            eq_fail(&err, EQ_EINPUT, "%s: expected an object", where);
        json_decref(v);
        if (err.status != EQ_OK) {
            fprintf(stderr, "%s\n%s", err.msg, line);
            break;
        }
    }
    free(line);
    return n > 0 && err.status == EQ_OK ? 0 : 1;
}
