#!/usr/bin/env python3
"""Writes tests/golden/chat.json: chats as transformers renders them, for tests/test_chat.c.

usage: make_chat_goldens.py [--published DIR] [--out tests/golden/chat.json]

  language: templates written here, which reach every construct that the program knows; a text of null
            means that the template raises, then the program must refuse, too
  families: the templates published with models, DIR/FAMILY.jinja (only what they render to is kept)
"""
import argparse
import json
import os
import sys

from transformers.utils.chat_template_utils import _compile_jinja_template

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def say(*turns):
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return [{"role": roles[r], "content": c} for r, c in turns]


CHATS = [
    say(("u", "Hello")),
    say(("s", "Be brief."), ("u", "Who are you?"), ("a", "A model."), ("u", "Größe 你好?")),
    say(("u", "  spaces around \n"), ("a", "\n two\n\nlines  "), ("u", "b"), ("a", "'quoted' \"text\" \\ {{ x }} {% y %}")),
    say(("s", ""), ("u", ""), ("a", "")),
    say(("s", "Only a system prompt")),
    say(("u", "<|im_end|>"), ("u", "twice"), ("a", "</s>[/INST]")),
]

# Blocks are written as Jinja allows: signs, indentation, newlines, comments.
LANGUAGE = [
    # white space around tags
    "a\n{% if true %}\nb\n{% endif %}\nc\n",
    "a\n  {% if true %}  \n  b\n\t{% endif %}\t\nc\n\n",
    "a  {%- if true -%}  b  {%- endif -%}  c",
    "a \n\n {{- 'x' -}} \n\n b {{ 'y' }}\n{{ 'z' }}\n",
    "  {% set x = 1 %}\n  {# comment #}\n  {#- comment -#}\n  {{ x }}\n",
    "a\n   {%+ if true +%}\n b{%+ endif %}\nc",
    "x {#+ no +#}\ny{# {{ 'a' }} {% if %} #}z",
    "\r\na\r\n{% if true %}\r\nb{% endif %}\rc\r\n",
    "a{% if true %} {% endif %}b\n {% if true %} {% endif %}c",
    "{{ '{% raw %}' }} { % } }} %} #} { {",
    "\n\n{{ 1 }}\n\n",
    # literals, strings and escapes
    r"{{ 'a\n\t\\\'\"\x41\u00e9\U0001f999\q' }}{{ " + '"it\'s"' + r" 'joined' }}",
    "{{ 'two\nlines' }}{{ [1, 'a', none, 1.5, true][1] }}{{ {'a': 1, 'b': {'c': 2}}['b']['c'] }}{{ {'k': 'v'}.k }}",
    "{{ 1 }} {{ -7 }} {{ 1.0 }} {{ 0.1 + 0.2 }} {{ 1e3 if false else 12345678.9 }} {{ true }} {{ False }} {{ none }} {{ undefined_name }}",
    "{{ (1, 2)[0] }}{{ (3,)[0] }}{{ [] | length }}{{ () | length }}{{ 'ab' 'cd' | upper }}",
    "{{ 1.5 * 2 }} {{ 100000000.0 * 100000000 }} {{ 1.0 / 3 }} {{ 0.00001 * 1 }} {{ 10 / 4 }}",
    # operators
    "{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 + 3 * 4 }} {{ (2 + 3) * 4 }} {{ 10 - 2 - 3 }} {{ 2 * -3 }}",
    "{{ 1 ~ 2 + 3 }}{{ 'a' ~ none ~ true ~ 1.5 }}{{ 'a' + 'b' * 1 if false else 'c' }}",
    "{{ 1 < 2 < 3 }} {{ 1 < 2 > 5 }} {{ 'a' < 'b' }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' == 'a' }} {{ [1, 2] == [1, 2] }} {{ none == false }} {{ {'a': 1} == {'a': 1.0} }}",
    "{{ not true }} {{ not 0 and 1 }} {{ 0 or 'x' }} {{ '' or none or 'y' }} {{ 1 and 2 and 3 }} {{ not 1 == 2 }} {{ true and not false }}",
    "{{ 'a' in 'cat' }} {{ 'x' not in 'cat' }} {{ 2 in [1, 2] }} {{ 'a' in {'a': 1} }} {{ '' in 'a' }} {{ not 'a' in 'b' }} {{ 1 in undefined_name }}",
    "{{ 'yes' if 1 else 'no' }} {{ 'only' if false }}| {{ 'a' if false else 'b' if false else 'c' }} {{ ('x' if true else 'y') ~ 'z' }}",
    "{{ -2 | string + '|' }}{{ 'a' | upper ~ 'b' }}{{ 'x' + 'y' | upper }}{{ ('x' + 'y') | upper }}",
    # subscripts and slices
    "{{ 'hello'[0] }}{{ 'hello'[-1] }}{{ 'hello'[1:3] }}{{ 'hello'[:-1] }}{{ 'hello'[-3:] }}{{ '你好吗'[1:] }}{{ 'hello'[9:] }}{{ 'ab'[5] }}{{ 'hello'[::1] }}",
    "{% for x in [1, 2, 3, 4][1:-1] %}{{ x }}{% endfor %}{% for x in [1, 2, 3][::-1] %}{{ x }}{% endfor %}{{ [1, 2][7] is defined }}{{ messages[-1].role }}{{ messages[0]['content'][:3] }}{{ messages.0.role }}",
    "{{ none.x is defined }} {{ (1).x is defined }} {{ messages[99] is defined }} {{ messages[0].nothing is defined }} {{ messages[0].nothing is none }} {{ messages['x'] is undefined }}",
    # statements
    "{% if messages | length > 2 %}many{% elif messages | length == 2 %}two{% else %}one{% endif %}",
    "{% for m in messages %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.length }}/{{ loop.revindex }}/{{ loop.revindex0 }}{{ ' first' if loop.first }}{{ ' last' if loop.last }} {{ m['role'] }}\n{% endfor %}",
    "{% for m in messages %}{{ (loop.previtem.role if loop.previtem is defined else 'none') ~ '>' ~ m.role ~ '>' ~ (loop.nextitem.role if not loop.last else 'end') }};{% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ m.content }}{% else %}nobody{% endfor %}|{% for m in [] %}x{% else %}empty{% endfor %}",
    "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}{% for k in {'a': 1, 'b': 2} %}{{ k }}{% endfor %}{% for (a, b) in [[1, 2], [3, 4]] %}{{ a + b }}{% endfor %}{% for c in 'aé你' %}[{{ c }}]{% endfor %}",
    "{% for i in range(3) %}{{ i }}{% endfor %}{% for i in range(5, 0, -2) %}{{ i }}{% endfor %}{% for i in range(2, 4) %}{% for j in range(i) %}{{ i * j }},{% endfor %}{{ loop.index }}{% endfor %}",
    "{% for i in range(6) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}end",
    "{% set x = 'outer' %}{% for i in range(2) %}{{ x }}{% set x = i %}{{ x }};{% endfor %}{{ x }}{% if true %}{% set x = 'if' %}{% endif %}{{ x }}",
    "{% set ns = namespace(n=0, seen='') %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% set ns.seen = ns.seen ~ m.role[0] %}{% endfor %}{{ ns.n }}{{ ns.seen }}{{ ns.nothing is defined }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set t = 1, 2 %}{{ t[1] }}{% set block %}in {{ a }}\n{% endset %}[{{ block }}]{{ block | trim | length }}",
    "{% macro f(x, y='d', z=none) %}({{ x }},{{ y }},{{ z is none }}){% endmacro %}{{ f(1) }}{{ f(1, 2) }}{{ f(y='k', x=3) }}{{ f() }}{{ f('a') | length }}",
    "{% macro even(n) %}{% if n == 0 %}even{% else %}{{ odd(n - 1) }}{% endif %}{% endmacro %}{% macro odd(n) %}{% if n == 0 %}odd{% else %}{{ even(n - 1) }}{% endif %}{% endmacro %}{{ even(7) }}",
    "{% set top = 'seen' %}{% macro g() %}{{ top }}{% endmacro %}{{ g() }}{% set top = 'later' %}{{ g() }}",
    "{% set d = dict(a=1, b='x') %}{{ d.a }}{{ d['b'] }}{{ d.get('a') }}{{ d.get('z') }}{{ d.get('z', 5) }}{{ d.keys() | list | length }}{{ d.values() | list | last }}{{ d | items | list | length }}",
    # filters
    "{{ '  a b ' | trim }}|{{ 'xxaxx' | trim('x') }}|{{ 'ab' | length }}{{ '你好' | count }}{{ {'a': 1} | length }}|{{ 'aBc' | upper }}{{ 'aBc' | lower }}{{ 'hELLO wORLD' | capitalize }}|{{ 5 | string + 'x' }}",
    "{{ [1, 'é'] | tojson(ensure_ascii=False) }}{{ [1, 'a', none] | tojson }}{{ {'k': 'é\"\\n\\u0001'} | tojson }}{{ 1.5 | tojson }}{{ true | tojson }}{{ '<a&b>' | tojson }}{{ messages | tojson }}{{ [] | tojson }}{{ {} | tojson }}",
    "{{ [1, 2, 3] | join('-') }}{{ messages | join(',', attribute='role') }}{{ ['a'] | join }}{{ 'abc' | join('.') }}{{ messages | map(attribute='role') | join(' ') }}{{ ['a', 'b'] | map('upper') | list | join }}",
    "{{ x | default('d') }}{{ '' | default('e') }}{{ '' | default('f', true) }}{{ none | default('g') }}{{ x | d }}{{ none | d('h', boolean=true) }}|{{ [1, 2] | first }}{{ [1, 2] | last }}{{ 'ab' | first }}{{ [] | first }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ messages | rejectattr('role', 'eq', 'user') | list | length }}{{ [0, 1, ''] | select | list | length }}{{ [1, 2, 3] | select('odd') | list | length }}{{ [1, 2] | reject('in', [2]) | list | length }}{{ messages | selectattr('content') | list | length }}",
    "{{ 'a-b-c' | replace('-', '+') }}{{ 'a-b-c' | replace('-', '+', 1) }}{% for x in [1, 2] | reverse %}{{ x }}{% endfor %}{{ 7 | int }}{{ true | int }}{{ 'a' | safe }}{{ 'abc' | list | length }}",
    # methods
    "{{ ' a '.strip() }}|{{ ' a '.lstrip() }}|{{ ' a '.rstrip() }}|{{ 'xay'.strip('xy') }}{{ '\\n a'.lstrip('\\n') }}{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith('bc') }}{{ 'abc'.startswith(('x', 'a')) }}",
    "{{ 'a</think>b'.split('</think>')[-1] }}{{ 'a,b,c'.split(',') | length }}{{ 'a,b,c'.split(',', 1)[1] }}{{ ' a  b\\tc '.split() | join('|') }}{{ ''.split() | length }}{{ ''.split(',') | length }}{{ 'aXbX'.split('X')[2] == '' }}",
    "{{ 'user name'.title() }}{{ 'abc'.upper() }}{{ 'ABC'.lower() }}{{ 'aBC'.capitalize() }}{{ 'a.b'.replace('.', '') }}{{ 'aaa'.replace('a', 'b', 2) }}{{ 'abcb'.find('b') }}{{ 'é你b'.find('b') }}{{ 'a'.find('x') }}",
    "{{ '\\x1c\\x85 a\\u3000\\u2003'.strip() }}|{{ '\\u200ba'.strip() | length }}",
    # tests
    "{{ 1 is number }}{{ true is number }}{{ 1 is integer }}{{ true is integer }}{{ 1.5 is float }}{{ 'a' is string }}{{ [] is iterable }}{{ 'a' is iterable }}{{ {} is mapping }}{{ [] is mapping }}{{ [] is sequence }}{{ 'a' is sequence }}{{ 1 is iterable }}{{ none is none }}{{ x is none }}",
    "{{ 3 is odd }}{{ 3 is even }}{{ 9 is divisibleby 3 }}{{ 9 is divisibleby(2) }}{{ 1 is eq 1 }}{{ 1 is ne 2 }}{{ 1 is lt 2 }}{{ 1 is gt 2 }}{{ true is true }}{{ 1 is true }}{{ false is false }}{{ 'a' is in 'cat' }}{{ x is not defined }}{{ range is callable }}{{ 1 is not none and 2 is even }}",
    "{{ tools is none }}{{ tools is defined }}{{ documents is none }}{{ custom_tools is defined }}{{ bos_token }}{{ eos_token }}{{ pad_token is defined }}{{ add_generation_prompt }}{{ raise_exception is defined }}",
    # what raises
    "{{ raise_exception('no') }}",
    "{% if messages | length > 1 %}{{ raise_exception('too many') }}{% endif %}one",
    "{{ undefined_name.member }}", "{{ undefined_name['x'] }}", "{{ undefined_name + 'a' }}", "{{ 1 + 'a' }}", "{{ 'a' + none }}",
    "{{ 1 < 'a' }}", "{{ 1 // 0 }}", "{{ nothing() }}", "{{ 'a'.nothing() }}", "{{ none | length }}", "{{ 1 in 1 }}",
    "{% for x in 5 %}{% endfor %}", "{% set a, b = [1] %}", "{% for a, b in [[1, 2, 3]] %}{% endfor %}", "{% set x.y = 1 %}",
    "{{ [1] | nothing }}", "{{ 1 is nothing }}", "{% nothing %}", "{% if true %}", "{% endif %}", "{{ 1", "{# ", "{{ 'a }}", "{{ (1 }}",
    "{{ 1 ) }}", "{{ }}", "{{ 1 2 }}", "{% for %}{% endfor %}", "{% if true %}{% endfor %}", "{% else %}", "{{ a b }}", "{{ 1 + }}", "{{ .a }}",
    "{% macro f(x) %}{% endmacro %}{{ f(1, 2) }}", "{% break %}", "{{ range(1, 2, 0) }}", "{{ 'a' is in 5 }}", "{{ f(1 }}", "{{ ' }}",
    "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", "{{ 'a' is in }}", "{{ 1 is defined 2 }}", "{{ 1 is eq(1, 2) }}",
    # generation blocks
    "{% for m in messages %}{% if m.role == 'assistant' %}A: {% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}\n{% else %}U: {{ m.content }}\n{% endif %}{% endfor %}",
]


def render(text, chat, prompt):
    try:
        return _compile_jinja_template(text).render(messages=chat, tools=None, documents=None,
                                                    add_generation_prompt=prompt, **TOKENS)
    except RecursionError:
        return None
    except Exception:  # noqa: BLE001
        return None


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--published")
    a.add_argument("--out", default="tests/golden/chat.json")
    a = a.parse_args()
    language, families = [], []
    for text in LANGUAGE:
        seen = [render(text, c, False) for c in CHATS]
        if len(set(seen)) == 1:
            seen = seen[:1]
        language.append({"template": text, "texts": seen})
    old = json.load(open(a.out))["families"] if os.path.exists(a.out) else []
    if not a.published:
        families = old
    for name in sorted(os.listdir(a.published) if a.published else []):
        text = open(os.path.join(a.published, name), newline="").read()
        families.append({"family": name.removesuffix(".jinja"),
                         "texts": [[render(text, c, p) for c in CHATS] for p in (False, True)]})
    with open(a.out, "w", encoding="utf-8") as f:
        json.dump({"chats": CHATS, "language": language, "families": families}, f, ensure_ascii=False, indent=0)
        f.write("\n")
    print(f"{a.out}: {len(language)} templates, {len(families)} families, {os.path.getsize(a.out)} bytes")


if __name__ == "__main__":
    sys.exit(main())
