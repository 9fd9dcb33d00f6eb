"""Tales of people (and of animals who are much like them)."""

import words as W
from teller import Person, an, ask, listing, number


def letter(t):
    a, b = t.people(2)
    there = t.place()
    role, sex = t.pick(W.KIN)
    other, othersex = t.pick(W.KIN)
    he = "she" if othersex == "f" else "he"
    food, crop = t.often(W.FOODS), t.often(W.CROPS)
    n = t.between(2, 9)
    who = t.pick(W.WOMEN if sex == "f" else W.MEN)
    thing, kind = t.keepsake()
    feel, then = t.some(W.FEELINGS, 2)
    s = [
        t.say(
            "{g}, the {d} of {m}.\nDear {w},\n",
            g=there, d=t.pick(W.ORDINALS), m=t.pick(W.MONTHS), w=who,
        ),
        t.say(
            "[I have been in {g} for {n} weeks now|It is {n} weeks since I came to {g}], and I am"
            " {f}. [The {v} who took me in is kind|I work for a {v} here|I have found a place with"
            " a {v}], and I have learned to make {k}.",
            g=there, n=number(n), f=feel,
            v=t.pick(("strict old", "young", "cheerful", "deaf", "clever")) + " " + a.trade,
            k=a.makes,
        ),
        t.say(
            "[We have {w} every day|There has been {w} since {d}|The wind is from the {c} and"
            " brings {w}], and the evenings are long. [For supper we have {o}, always {o}|The cook"
            " makes {o} as you did].",
            w=t.often(W.WEATHERS), d=t.pick(W.WEEKDAYS), c=t.pick(W.WINDS), o=food,
        ),
        t.say(
            "[Tell my {o} that {he} was right about the {c}|Has my {o} sold the {c} yet, or does"
            " {he} still wait for a better price|Ask my {o} whether {he} has sown the {c}][.|, and"
            " write me the answer.] [I send you {k} with this letter|With this letter comes {k}];"
            " [keep it for me|give it to {b}|do not let {b} play with it].",
            o=other, he=he, c=crop, k=an(thing), b=b,
        ),
        t.say(
            "When I left I was {x}, but now I am {f}, and in {n} weeks I shall [walk home|come by"
            " the mail cart|take the ferry] and [eat at your table|sit by the stove again|tell you"
            " the rest].\nYour [loving|faithful|grateful] {r}, {p}",
            x=then, f=feel, n=number(t.between(2, 20)),
            r=t.pick(("friend", "cousin", "child", "pupil", "neighbour")), p=a,
        ),
    ]
    return (
        s[0]
        + " ".join(s[1:])
        + ask(
            t,
            0.3,
            (
                ("Who wrote the letter?", f"{a} did."),
                ("What came with the letter?", an(thing).capitalize() + "."),
                ("How did the writer feel?", feel.capitalize() + "."),
                ("To whom was it written?", f"To {who}."),
            ),
        )
    )


def talk(t):
    a, b, c = t.people(3)
    thing, kind = t.keepsake()
    food = t.often(W.FOODS)
    where = t.pick(
        (
            "at the pump",
            "on the ferry",
            "in the queue at the mill",
            "under the arch",
            "by the stove of the inn",
            "on the church steps",
        )
    )
    s = [
        t.say(
            "{a} and {b} [met|sat|stood talking] {w}[ while it rained| at noon| after the"
            " market|].",
            a=a, b=b, w=where,
        ),
        t.say(
            '"[Have you heard about {c}|Did you know that {c} is back|Have you seen {c}]?" [asked'
            " {a}|said {a}].",
            a=a, c=c,
        ),
        t.say('"{c} the {w}? [No|Not a word|Tell me]," said {b}.', c=c, w=c.trade, b=b),
    ]
    where_to = t.place()
    reason, detail = t.pick(
        (
            ("sold the {s}", "{he} got {n} coins for it"),
            ("found {o}", "it was lying {spot}"),
            ("gone to {p}", "{he} will not be back before {m}"),
            ("quarrelled with the {v}", "it was about {n} {k}"),
            ("bought {o}", "{he} paid {n} coins"),
            ("learned to make {f}", "{he} burned it {n} times"),
        )
    )
    slots = dict(
        s=c.shop, he=c.he, n=number(t.between(2, 60)), o=an(thing), spot=t.often(W.SPOTS),
        p=where_to, m=t.pick(W.MONTHS), v=t.pick(W.TRADES)[0], k=c.makes, f=food,
    )
    own = detail.replace("{he}", "I").format(**slots)
    reason, detail = reason.format(**slots), detail.format(**slots)
    s += [
        t.say('"{c} has {r}," said {a}, "and {d}."', c=c, r=reason, a=a, d=detail),
        t.say(
            '"[That cannot be|I do not believe it|Who told you so]," said {b}. "[{c}, who never'
            ' leaves the {s}|{c}, who is afraid of {x}s|{c}, who still owes me {n} coins]!"',
            b=b, c=c, s=c.shop, x=t.often(W.ANIMALS), n=number(t.between(2, 40)),
        ),
        t.say(
            "[Just then|At that moment|Before {a} could answer] {c} came [round the corner|up the"
            ' steps|by with a handcart]. "It is true," {he} said, "I have {r}, and {d}."',
            a=a, c=c, he=c.he, r=reason, d=own,
        ),
        t.say(
            '[Nobody spoke for a moment.|{b} laughed first.|"Well," said {b}, "then it is true."|It'
            " was {b} who held out a hand.] [They went in together and had {f}|So they drank to"
            " it|And since it had begun to rain, all three went to the {s} for {f}].",
            b=b, f=food, s=c.shop,
        ),
    ]
    joined = s[0] + "\n" + "\n".join(s[1:]) if t.chance(0.35) else " ".join(s)
    return joined + ask(
        t,
        0.35,
        (
            (f"What has {c} done?", f"{c} has {reason}."),
            (f"What is {c}'s trade?", f"{c} is {an(c.trade)}."),
            (f"Where did {a} and {b} meet?", where.capitalize() + "."),
        ),
    )


def feast(t):
    crowd = t.people(t.between(4, 5))
    host, guests = crowd[0], crowd[1:]
    dishes = t.some(W.FOODS, len(guests))
    s = [
        t.say(
            "When the {w} {h} of {p} [turned {n}|married|came home from sea|finished the new {s}],"
            " there was a feast in the {r}.",
            w=host.trade, h=host, p=host.home, n=number(t.between(20, 90)), s=host.shop,
            r=t.often(W.ROOMS),
        ),
        listing(
            [t.part("{g} the {w} brought {d}", g=g, w=g.trade, d=d) for g, d in zip(guests, dishes)]
        )
        + ".",
        t.say(
            "[The long table was set for {n}|{n} chairs were borrowed|They were {n} at the table],"
            " and {w}.",
            n=number(len(crowd)),
            w=t.part(
                "[a fiddler played|the dog sat underneath|candles burned in every window|there was"
                " {x} outside]",
                x=t.often(W.WEATHERS),
            ),
        ),
    ]
    i = t.below(len(guests))
    j = (i + 1) % len(guests)
    s.append(
        t.say(
            "[Everybody praised|The first bowl to be empty was|There was not enough of] the {d},"
            " and {g} [blushed|was proud|wrote down the recipe for {h}]. [But nobody touched the"
            " {e}|Only the {e} was too salty|The {e} went to the dog], and {k} [did not mind|was"
            " silent for an hour|said it was the oven].",
            d=dishes[i], g=guests[i], h=host, e=dishes[j], k=guests[j],
        )
    )
    s.append(
        t.say(
            "[Late at night|Before they left|When the candles were low] {h} [sang|made a"
            " speech|gave each guest {o}|thanked {l}], and [so it ended|they went home by"
            " moonlight|the stars were very clear].",
            h=host, o=an(t.keepsake()[0]), l=listing(guests),
        )
    )
    return " ".join(s) + ask(
        t,
        0.5,
        [(f"Who brought the {d}?", f"{g} the {g.trade}.") for g, d in zip(guests, dishes)]
        + [
            ("Who gave the feast?", f"{host} did."),
            ("What did nobody praise?", f"The {dishes[j]}."),
        ],
    )


def family(t):
    town = t.place()
    head = t.people(1, town)[0]
    names, kids = {head.name}, []
    while len(kids) < t.between(3, 4):
        sex = t.pick("fm")
        name = t.often(W.WOMEN if sex == "f" else W.MEN)
        if name not in names:
            names.add(name)
            kids.append(Person(name, sex, t.often(W.TRADES), town))
    age = t.between(24, 32)
    s = [
        t.say(
            "{h} the {w} [of|in] {t} [had|raised|brought up] {n} children.",
            h=head, w=head.trade, t=town, n=number(len(kids)),
        )
    ]
    ages = []
    for i, k in enumerate(kids):
        ages.append(age)
        rank = (
            "eldest"
            if i == 0
            else "youngest" if i == len(kids) - 1 else t.pick(("next", W.ORDINALS[i]))
        )
        s.append(
            t.say(
                "The {r}, {k}, is {a} and [became|is] {w}; {he} [lives in {p}|has a {s} in {p}|went"
                " to {p}] and [is fond of {f}|keeps {x}|never without {c} {m}].".replace(
                    "never without", "wears"
                ),
                r=rank, k=k, a=number(age), w=an(k.trade), he=k.he, p=t.place(), s=k.shop,
                f=t.often(W.FOODS), x=an(t.often(W.ANIMALS)), c=an(t.often(W.COLOURS)),
                m=t.pick(("hat", "scarf", "coat", "ribbon", "apron")),
            )
        )
        age -= t.between(1, 4)
    x, y = kids[0], kids[-1]
    s.append(
        t.say(
            "{x} is {d} {u} older than {y}. [Once a year, in {m}, they all meet in {t}|They write"
            " to {h} every {s}|On feast days they sit at one table again] and [quarrel about the"
            " {o}|eat {f}|tell the same stories].",
            x=x, d=number(ages[0] - ages[-1]), u="year" if ages[0] - ages[-1] == 1 else "years",
            y=y, m=t.pick(W.MONTHS), t=town, h=head, s=t.pick(W.SEASONS), o=t.keepsake()[0],
            f=t.often(W.FOODS),
        )
    )
    k = t.below(len(kids))
    return " ".join(s) + ask(
        t,
        0.5,
        (
            (f"How old is {kids[k]}?", number(ages[k]).capitalize() + "."),
            (f"What is {kids[k]}'s trade?", f"{kids[k]} is {an(kids[k].trade)}."),
            ("Who is the youngest?", f"{y}."),
            ("Who is the eldest?", f"{x}."),
            (f"How many children had {head}?", number(len(kids)).capitalize() + "."),
        ),
    )


def lesson(t):
    teacher, a, b = t.people(3)
    s = [
        t.say(
            "[The school of {h} has one room|There are {n} children in the school of {h}], and {t}"
            " teaches [reading and sums|everything|all ages together].",
            h=teacher.home, n=number(t.between(5, 40)), t=teacher,
        )
    ]
    facts = []
    for pupil in t.some((a, b, a, b), 2):
        x, y = t.between(2, 20), t.between(2, 12)
        kind = t.below(4)
        if kind == 0:
            q, r = f"what are {number(x)} and {number(y)}?", x + y
        elif kind == 1:
            q, r = f"take {number(y)} from {number(x + y)}. What is left?", x
        elif kind == 2:
            q, r = f"what are {number(min(x, 10))} times {number(y)}?", min(x, 10) * y
        else:
            q = t.part(
                "if {n} {f} are shared among {k} children, how many has each?",
                n=number(x * y), f=t.pick(("apples", "nuts", "plums", "biscuits")), k=number(y),
            )
            r = x
        right = t.chance(0.7)
        guess = r if right else r + t.pick((-1, 1, 2))
        s.append(
            t.say(
                '"{p}," said {t}, "{q}" {p} [counted on {his} fingers|looked out of the window|did'
                ' not wait|bit the pencil] and said, "{g}." ',
                p=pupil, t=teacher, q=q, his=pupil.his, g=number(guess).capitalize(),
            ).strip()
        )
        s.append(
            t.say(
                (
                    '"[Right|Good|Quite right]," said {t}[.| and gave {him} a nut.]'
                    if right
                    else '"[Wrong|Not quite|Count again]," said {t}. "It is {r}."'
                ),
                t=teacher, him=pupil.him, r=number(r),
            )
        )
        facts.append(
            (
                f"Did {pupil} answer correctly?",
                "Yes." if right else f"No, the answer was {number(r)}.",
            )
        )
    s.append(
        t.say(
            "[Then the bell rang|Outside there was {w}|At noon they ate {f}], and {x}.",
            w=t.often(W.WEATHERS), f=t.often(W.FOODS),
            x=t.part(
                "[the small ones ran home|nobody wanted to leave the stove|{a} and {b} raced to the"
                " {p}|{a} wiped the slate]",
                a=a, b=b, p=t.pick(("bridge", "pump", "mill", "harbour")),
            ),
        )
    )
    return " ".join(s) + ask(
        t,
        0.4,
        facts
        + [
            ("Who was the teacher?", f"{teacher}."),
            ("Where was the school?", f"In {teacher.home}."),
        ],
    )


def fable(t):
    x, y = t.some(W.ANIMALS, 2)
    bad, good = t.pick(W.TRAITS)
    food = t.often(W.FOODS)
    where = t.pick(
        (
            "at the edge of a wood",
            "by a mill pond",
            "under an old bridge",
            "in the ruins of a tower",
            "beside the salt road",
        )
    )
    task = t.pick(
        (
            (
                "cross the river",
                "the stones are wet",
                "slipped and was carried to the far bend",
                "crossed one stone at a time",
            ),
            (
                "fetch the honey",
                "the bees are at home",
                "was stung on the nose",
                "waited until the bees had flown out",
            ),
            (
                "open the old door",
                "the key must be turned twice",
                "broke the key in the lock",
                "turned it twice and went in",
            ),
            (
                "carry the eggs to market",
                "the road is rough",
                "came home with an empty basket and a yellow coat",
                "lost not a single egg",
            ),
            (
                "find the way home",
                "the moon will rise soon",
                "ran in circles until morning",
                "sat still until the moon showed the path",
            ),
            (
                "roof the house",
                "the rain comes before the week is out",
                "slept in a puddle",
                "slept dry",
            ),
        )
    )
    s = [
        t.say(
            "[Once|Long ago|In the days when animals talked|There was a time when] {x} and {y}"
            " lived {w}. The {p} was {b}, and the {q} was {g}.",
            x=an(x), y=an(y), w=where, p=x, q=y, b=bad, g=good,
        ),
        t.say(
            '[One day|One evening|When winter came] they [agreed|had|were told] to {k}. "[Take'
            ' care|Remember|Think first]," said the {q}, "for {v}." "[What do I care|I know that'
            ' better than you|That may be true for {r}s|Leave it to me]," said the {p}.',
            k=task[0], q=y, v=task[1], p=x, r=y,
        ),
    ]
    if t.chance(0.5):
        s.append(
            t.say(
                "So the {p} went first, being {b}, and {d}. Then the {q} went, being {g}, and {e}.",
                p=x, b=bad, d=task[2], q=y, g=good, e=task[3],
            )
        )
    else:
        s.append(
            t.say(
                "The {q}, who was {g}, {e}. But the {p}, who was {b}, {d}.",
                q=y, g=good, e=task[3], p=x, b=bad, d=task[2],
            )
        )
    s.append(
        t.say(
            "That night they shared {f}, and the {p} [said nothing|asked for advice|ate very"
            " little|was a little less {b}]. [It is better to be {g} than {b}|The {b} pay twice|Who"
            " is {g} comes home dry|A {g} {q} is worth two {b} {p}s].",
            f=food, p=x, b=bad, g=good, q=y,
        )
    )
    return " ".join(s) + ask(
        t,
        0.4,
        (
            (f"Which of them was {bad}?", f"The {x}."),
            (f"Which of them was {good}?", f"The {y}."),
            ("What did they share?", food.capitalize() + "."),
            ("Where did they live?", where.capitalize() + "."),
        ),
    )
