/* One row of an instruction set, taken apart. */
#ifndef EQ_DATA_INSTRUCT_ROW_H
#define EQ_DATA_INSTRUCT_ROW_H
#include "format/json_scan.h"
#include "text/chat.h"

typedef struct {
    bool alpaca;
    eq_str prompt, answer; /* of an Alpaca row: the whole prompt */
    eq_message *turn;      /* [n], of a chat, or of an Alpaca row as one */
    int64_t n, cap;
    eq_str text; /* what the turns point into */
    char why[200];
} eq_instruct_row;

/* What is wrong with it is left in row->why: a part of a line. turns: an Alpaca row is a chat.
 * False with row->why empty: memory is out. The row is used again and again. */
bool eq_instruct_row_read(eq_instruct_row *row, eq_jscan object, bool turns);
void eq_instruct_row_free(eq_instruct_row *row);
#endif
