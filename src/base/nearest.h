/* What somebody who mistyped a name may have meant. */
#ifndef EQ_BASE_NEAREST_H
#define EQ_BASE_NEAREST_H

/* The name in a NULL-terminated list that is nearest to `word`, NULL when none is near. */
const char *eq_nearest(const char *word, const char *const *names);
#endif
