/* Shell completion, made from the command and option tables: eqat help --completion bash|zsh|fish.
 */
#include <stdio.h>
#include <string.h>

#include "command.h"

static bool named(const opt *o) { return o->kind > OPT_POSITIONAL; }
static bool takes_value(const opt *o) {
    return named(o) && o->kind != OPT_FLAG && o->kind != OPT_UNSET;
}
/* The words a value can be, joined by '|' (',' in a set). */
static bool takes_word(const opt *o) {
    return o->kind == OPT_WORD || o->kind == OPT_ENUM || o->kind == OPT_ONE_OF ||
           o->kind == OPT_SET;
}
static bool takes_folder(const opt *o) { return takes_value(o) && !strcmp(o->arg, "DIR"); }
static bool takes_file(const opt *o) { return takes_value(o) && !strcmp(o->arg, "FILE"); }

static void put_words(const char *list, char between) {
    for (; *list; list++) putchar(*list == '|' || *list == ',' ? between : *list);
}
/* With a backslash in front of every character of `special`. */
static void put_escaped(const char *s, const char *special) {
    for (; *s; s++) {
        if (strchr(special, *s)) putchar('\\');
        putchar(*s);
    }
}
/* Inside single quotes of a POSIX shell. */
static void put_in_quotes(const char *s, const char *special) {
    for (; *s; s++) {
        if (*s == '\'')
            fputs("'\\''", stdout);
        else
            put_escaped((char[]){*s, 0}, special);
    }
}

/* ---- bash ------------------------------------------------------------------------------------ */

static void bash_command(const cli_command *c) {
    printf("    %s)\n        case $prev in\n", c->name);
    for (const opt *o = c->options; o->kind != OPT_END; o++) {
        if (!takes_value(o)) continue;
        printf("        --%s", o->name);
        if (o->alias) printf("|--%s", o->alias);
        if (o->letter) printf("|-%c", o->letter);
        if (takes_word(o)) {
            printf(") COMPREPLY=($(compgen -W '");
            put_words(o->arg, ' ');
            puts("' -- \"$cur\")); return ;;");
        } else if (takes_folder(o)) {
            puts(") COMPREPLY=($(compgen -d -- \"$cur\")); return ;;");
        } else if (takes_file(o)) {
            puts(") COMPREPLY=($(compgen -f -- \"$cur\")); return ;;");
        } else {
            puts(") return ;;");
        }
    }
    printf("        esac\n        words='");
    for (const opt *o = c->options; o->kind != OPT_END; o++)
        if (named(o)) printf("%s--%s", o > c->options ? " " : "", o->name);
    printf("' ;;\n");
}

static void bash(void) {
    puts("# Completion of eqat for bash; made by: eqat help --completion bash\n"
         "_eqat() {\n"
         "    local IFS=$' \\t\\n' cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} "
         "words=\n"
         "    COMPREPLY=()");
    printf("    [ \"$COMP_CWORD\" = 1 ] && { COMPREPLY=($(compgen -W 'help version");
    for (const cli_command *const *c = cli_commands; *c; c++) printf(" %s", (*c)->name);
    puts("' -- \"$cur\")); return; }\n    case ${COMP_WORDS[1]} in\n    help) words='--man "
         "--completion'");
    printf("        [[ $cur == -* ]] || words='");
    for (const cli_command *const *c = cli_commands; *c; c++) printf("%s ", (*c)->name);
    puts("'\n        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")); return ;;");
    for (const cli_command *const *c = cli_commands; *c; c++) bash_command(*c);
    puts("    esac\n"
         "    if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
         "    else COMPREPLY=($(compgen -f -- \"$cur\")); fi\n"
         "}\n"
         "complete -o filenames -F _eqat eqat");
}

/* ---- zsh ------------------------------------------------------------------------------------- */

static void zsh_option(const opt *o) {
    printf(" \\\n        '");
    if (o->letter)
        printf("(-%c --%s)'{-%c%s,--%s%s}'", o->letter, o->name, o->letter,
               takes_value(o) ? "+" : "", o->name, takes_value(o) ? "=" : "");
    else
        printf("--%s%s", o->name, takes_value(o) ? "=" : "");
    putchar('[');
    put_in_quotes(o->help, "[]");
    putchar(']');
    if (takes_word(o)) {
        printf(":%s:(", "word");
        put_words(o->arg, ' ');
        putchar(')');
    } else if (takes_value(o)) {
        putchar(':');
        put_in_quotes(o->arg, ":");
        printf(":%s", takes_folder(o) ? "_files -/" : takes_file(o) ? "_files" : " ");
    }
    putchar('\'');
}

static void zsh(void) {
    puts("#compdef eqat\n# Completion of eqat for zsh; made by: eqat help --completion zsh\n"
         "local -a commands\ncommands=('help:the options of a command' 'version:version and "
         "machine'");
    for (const cli_command *const *c = cli_commands; *c; c++) {
        printf("    '%s:", (*c)->name);
        put_in_quotes((*c)->summary, "");
        puts("'");
    }
    puts(")\nif (( CURRENT == 2 )); then _describe command commands; return; fi\n"
         "local command=$words[2]\nshift words; (( CURRENT-- ))\ncase $command in\n"
         "help) _describe command commands ;;");
    for (const cli_command *const *c = cli_commands; *c; c++) {
        printf("%s)\n    _arguments -s", (*c)->name);
        for (const opt *o = (*c)->options; o->kind != OPT_END; o++) {
            if (named(o)) zsh_option(o);
            if (o->kind == OPT_POSITIONAL) printf(" \\\n        ':%s:_files -/'", o->name);
            if (o->kind == OPT_REST) printf(" \\\n        '*:%s:_files'", o->name);
        }
        puts(" ;;");
    }
    puts("esac");
}

/* ---- fish ------------------------------------------------------------------------------------ */

static void fish(void) {
    puts("# Completion of eqat for fish; made by: eqat help --completion fish\n"
         "complete -c eqat -n __fish_use_subcommand -f -a 'help version'");
    for (const cli_command *const *c = cli_commands; *c; c++) {
        printf("complete -c eqat -n __fish_use_subcommand -f -a %s -d '", (*c)->name);
        put_escaped((*c)->summary, "'\\");
        puts("'");
        for (const opt *o = (*c)->options; o->kind != OPT_END; o++) {
            if (!named(o)) continue;
            printf("complete -c eqat -n '__fish_seen_subcommand_from %s' -l %s", (*c)->name,
                   o->name);
            if (o->letter) printf(" -s %c", o->letter);
            if (takes_word(o)) {
                printf(" -x -a '");
                put_words(o->arg, ' ');
                putchar('\'');
            } else if (takes_value(o)) {
                fputs(takes_folder(o) || takes_file(o) ? " -r -F" : " -x", stdout);
            }
            printf(" -d '");
            put_escaped(o->help, "'\\");
            puts("'");
        }
    }
}

int cli_completion(const char *shell) {
    if (!strcmp(shell, "bash"))
        bash();
    else if (!strcmp(shell, "zsh"))
        zsh();
    else if (!strcmp(shell, "fish"))
        fish();
    else
        return cli_usage(NULL, "help --completion: expected bash, zsh or fish, found \"%s\"",
                         shell);
    return EXIT_DONE;
}
