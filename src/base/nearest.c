/* See nearest.h. */
#include "base/nearest.h"

#include <string.h>

static int edit_distance(const char *a, const char *b) {
    enum { MAX = 40 };
    int row[MAX + 1];
    size_t n = strlen(a), m = strlen(b);
    if (n > MAX || m > MAX) return MAX;
    for (size_t j = 0; j <= m; j++) row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int corner = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int best = corner + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            corner = row[j];
            row[j] = best;
        }
    }
    return row[m];
}

const char *eq_nearest(const char *word, const char *const *names) {
    const char *best = NULL, *longer = NULL;
    size_t n = strlen(word);
    int least = (int)(n < 6 ? (n + 1) / 2 : n / 3 + 1); /* more typos than that are another word */
    for (; *names; names++) {
        int d = edit_distance(word, *names);
        if (d < least) least = d, best = *names;
        if (n >= 3 && !longer && !strncmp(*names, word, n)) longer = *names;
    }
    return best ? best : longer;
}
