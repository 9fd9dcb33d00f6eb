/* The families of chat templates that can be asked for by name. */
#ifndef EQ_TEXT_CHAT_FAMILIES_H
#define EQ_TEXT_CHAT_FAMILIES_H

typedef struct {
    const char *name, *text;
} eq_chat_row;

/* NULL: there is none of this name; i counts from 0. */
const char *eq_chat_family_text(const char *name);
const eq_chat_row *eq_chat_family_row(int i);
#endif
