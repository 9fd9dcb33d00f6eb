/* A row of a data set becomes an item: one function a task, and the table of tasks. */
#ifndef EQ_EVAL_TASK_ROWS_H
#define EQ_EVAL_TASK_ROWS_H
#include <jansson.h>

#include "eval/task.h"

enum { EQ_TASK_FILES = 6, EQ_NO_LABEL = -1 };

typedef struct {
    const char *name;
    unsigned metrics;
    int least;      /* choices */
    double version; /* of the harness's definition */
    bool paper;     /* one of the paper's five */
    /* The row becomes the newest item of `items`, which eq_items_close looks at. label: of the file
     * beside it, 0 is the first choice; EQ_NO_LABEL: none. line: of the row in its file. */
    eq_status (*row)(eq_items *items, const json_t *row, int64_t label, int64_t line,
                     const char *where, eq_err *err);
    int64_t label_base;               /* what a file of labels calls the first choice */
    const char *files[EQ_TASK_FILES]; /* below the folder of tasks: the first that is there */
} eq_task;

extern const eq_task eq_tasks[];
extern const int eq_task_count;
#endif
