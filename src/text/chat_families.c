/* One row a family, in the templates' own language, so that there is one way to render. What a row
 * gives is what transformers makes of the template published with the model
 * (tests/golden/chat.json). Where a template has words of its own (a system prompt), they are part
 * of what the model knows. */
#include "text/chat_families.h"

#include <string.h>

#include "text/chat.h"

/* clang-format off */
/* "<|im_start|>role\ncontent<|im_end|>\n" */
#define CHATML \
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
/* the same, with this system prompt where there is none */
#define CHATML_SYSTEM(text) \
    "{% if messages[0].role != 'system' %}<|im_start|>system\n" text "<|im_end|>\n{% endif %}" CHATML

/* Sets `system` ('' or what is given where there is none) and `turns`, the messages behind it, which must
 * alternate. */
#define TURNS(other) \
    "{% set has = messages[0].role == 'system' %}" \
    "{% set system = messages[0].content if has else " other " %}" \
    "{% set turns = messages[1:] if has else messages %}{% for m in turns %}" \
    "{% if m.role != ('user' if loop.index0 % 2 == 0 else 'assistant') %}" \
    "{{ raise_exception('user and assistant must take turns, the user first') }}{% endif %}{% endfor %}"

/* Mistral: what stands in front of [INST], behind it, in front of [/INST], before an answer; the system
 * prompt goes to the first or the last user message, as the version has it. */
#define MISTRAL(front, behind, close, answer, place, content) \
    TURNS("''") \
    "{{ bos_token }}{% for m in turns %}{% if m.role == 'user' %}" \
    "{{ '" front "[INST]" behind "' + (system + '\\n\\n' if has and loop." place " else '')" \
    " + m.content + '" close "[/INST]' }}" \
    "{% else %}{{ '" answer "' + " content " + eos_token }}{% endif %}{% endfor %}"

#define HEADER(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"
#define LLAMA3(messages) \
    "{% for m in " messages " %}" HEADER("{{ m.role }}") "{{ m.content | trim }}<|eot_id|>{% endfor %}" \
    "{% if add_generation_prompt %}" HEADER("assistant") "{% endif %}"

static const eq_chat_row rows[] = {
    {"chatml", CHATML},
    {"smollm2",
     CHATML_SYSTEM("You are a helpful AI assistant named SmolLM, trained by Hugging Face")},
    {"qwen2.5",
     CHATML_SYSTEM("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.")},
    {"llama-2",
     TURNS("''")
     "{% set head = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' if has else '' %}"
     "{% for m in turns %}{% if m.role == 'user' %}"
     "{{ bos_token + '[INST] ' + ((head if loop.first else '') + m.content) | trim + ' [/INST]' }}"
     "{% else %}{{ ' ' + m.content | trim + ' ' + eos_token }}{% endif %}{% endfor %}"},
    {"llama-3", "{{ bos_token }}" LLAMA3("messages")},
    /* 3.1, 3.2 and 3.3; the day is the one that stands in the template, so that runs repeat */
    {"llama-3.1",
     "{% set has = messages[0].role == 'system' %}{{ bos_token }}" HEADER("system")
     "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
     "{{ messages[0].content | trim if has else '' }}<|eot_id|>" LLAMA3("messages[1 if has else 0:]")},
    /* 7B-Instruct v0.1 and v0.2 as first published, and since */
    {"mistral",
     TURNS("''")
     "{% if has %}{{ raise_exception('no system prompt is known') }}{% endif %}{{ bos_token }}"
     "{% for m in turns %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
     "{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"},
    {"mistral-v1", MISTRAL(" ", " ", " ", " ", "first", "m.content")},
    {"mistral-v3", MISTRAL("", " ", "", " ", "last", "m.content | trim")},
    {"mistral-v3-tekken", MISTRAL("", "", "", "", "last", "m.content")},
    {"mistral-v7",
     "{{ bos_token }}{% for m in messages %}"
     "{% if m.role == 'user' %}{{ '[INST] ' + m.content + '[/INST]' }}"
     "{% elif m.role == 'system' %}{{ '[SYSTEM_PROMPT] ' + m.content + '[/SYSTEM_PROMPT]' }}"
     "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"},
    /* TinyLlama's, too */
    {"zephyr",
     "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content + eos_token }}\n{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"},
    {"vicuna",
     TURNS("\"A chat between a curious user and an artificial intelligence assistant. The assistant "
           "gives helpful, detailed, and polite answers to the user's questions.\"")
     "{{ bos_token }}{{ system + ' ' }}{% for m in turns %}{% if m.role == 'user' %}"
     "{{ 'USER: ' + m.content + ' ' }}{% else %}{{ 'ASSISTANT: ' + m.content + eos_token }}"
     "{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"},
    {"alpaca",
     TURNS("'Below is an instruction that describes a task. Write a response that appropriately "
           "completes the request.'")
     "{{ bos_token }}{{ system + '\\n\\n' }}{% for m in turns %}{% if m.role == 'user' %}"
     "{{ '### Instruction:\\n' + m.content + '\\n\\n' }}"
     "{% else %}{{ '### Response: ' + m.content + eos_token + '\\n\\n' }}{% endif %}{% endfor %}"
     "{% if add_generation_prompt %}{{ '### Response: ' }}{% endif %}"},
};
/* clang-format on */
enum { ROWS = sizeof rows / sizeof *rows };

const eq_chat_row *eq_chat_family_row(int i) { return i >= 0 && i < ROWS ? rows + i : NULL; }

const char *eq_chat_family_text(const char *name) {
    for (int i = 0; i < ROWS; i++)
        if (!strcmp(rows[i].name, name)) return rows[i].text;
    return NULL;
}

const char *eq_chat_family(int i) { return i >= 0 && i < ROWS ? rows[i].name : NULL; }
