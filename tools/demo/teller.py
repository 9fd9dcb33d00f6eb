"""The machinery of the demo corpus: chance, numbers in words, people, and phrases with choices.

A phrase is text with `[this|that]` for alternatives (they nest) and `{slot}` for names; slots may
be people, so `{p}` is a name and `{p.he}`, `{p.his}`, `{p.him}` the pronouns. Only random.random()
is drawn from, so that a seed gives the same text under every Python 3.
"""

import random
import re

import words as W

CHOICE = re.compile(r"\[([^\[\]]*)\]")
SENTENCE = re.compile(r"(^|[.!?] |\n)([a-z])")


class Person:
    def __init__(self, name, sex, trade, home):
        self.name, self.sex, self.home = name, sex, home
        self.trade, self.makes, self.tool, self.shop = trade
        self.he, self.his, self.him = ("she", "her", "her") if sex == "f" else ("he", "his", "him")

    def __str__(self):
        return self.name


def number(n):
    """7 -> "seven", 342 -> "three hundred and forty-two"."""
    if n < 20:
        return W.SMALL[n]
    if n < 100:
        return W.TENS[n // 10] + ("-" + W.SMALL[n % 10] if n % 10 else "")
    if n < 1000:
        rest = " and " + number(n % 100) if n % 100 else ""
        return W.SMALL[n // 100] + " hundred" + rest
    rest = " " + number(n % 1000) if n % 1000 else ""
    return number(n // 1000) + " thousand" + rest


def an(noun):
    return ("an " if noun[0] in "aeiou" and not noun.startswith("one") else "a ") + noun


def listing(items):
    items = [str(i) for i in items]
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def ask(t, p, facts):
    """Ends a tale, more often than not, with questions about it."""
    if not facts or t.chance(1 - p):
        return ""
    count = 1 if len(facts) == 1 or t.chance(0.6) else 2
    text = ""
    for question, answer in t.some(facts, count):
        text += "\nQuestion: " + question + "\nAnswer: " + answer
    return text


class Teller:
    def __init__(self, seed):
        self.random = random.Random(seed).random

    def below(self, n):
        return int(self.random() * n)

    def between(self, low, high):
        return low + self.below(high - low + 1)

    def chance(self, p):
        return self.random() < p

    def pick(self, items):
        return items[self.below(len(items))]

    def often(self, items):
        """Like pick, but the first entries of the table come up more often than the last."""
        return items[int(self.random() ** 1.6 * len(items))]

    def some(self, items, k):
        chosen = []
        while len(chosen) < k:
            item = self.often(items)
            if item not in chosen:
                chosen.append(item)
        return chosen

    def place(self):
        return self.often(W.PLACE_HEADS) + self.pick(W.PLACE_TAILS)

    def people(self, k, home=None):
        """k people with different names and trades."""
        home = home or self.place()
        trades = self.some(W.TRADES, k)
        names = set()
        crowd = []
        while len(crowd) < k:
            sex = self.pick("fm")
            name = self.often(W.WOMEN if sex == "f" else W.MEN)
            if name not in names:
                names.add(name)
                crowd.append(Person(name, sex, trades[len(crowd)], home))
        return crowd

    def keepsake(self):
        kind = self.often(W.KEEPSAKES)
        style = self.below(3)
        if style == 0:
            return self.often(W.COLOURS) + " " + kind, kind
        if style == 1:
            return self.often(W.MATERIALS) + " " + kind, kind
        return (
            self.pick(
                (
                    "small",
                    "old",
                    "cracked",
                    "heavy",
                    "carved",
                    "painted",
                    "borrowed",
                    "broken",
                    "plain",
                    "polished",
                )
            )
            + " "
            + kind,
            kind,
        )

    def part(self, phrase, **slots):
        """Chooses the alternatives and fills the slots."""
        while "[" in phrase:
            phrase = CHOICE.sub(lambda m: self.pick(m.group(1).split("|")), phrase)
        return phrase.format(**slots)

    def say(self, phrase, **slots):
        """The same as whole sentences, with their capital letters."""
        return SENTENCE.sub(lambda m: m.group(1) + m.group(2).upper(), self.part(phrase, **slots))
