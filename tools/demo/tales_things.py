"""Tales of things: carried, sold, lost, quarrelled over, inherited, made.

Every tale simulates a little event and keeps its own state (who, where, what, how many), so that
names, things, numbers and causes hold from the first sentence to the last.
"""

import words as W
from teller import an, ask, number


def errand(t):
    a, b = t.people(2)
    b.home = t.place()
    thing, kind = t.keepsake()
    block, name, deed, after = t.pick(W.OBSTACLES)
    reward = t.pick(
        (
            an(t.often(W.CONTAINERS)) + " of " + t.often(W.CROPS),
            number(t.between(2, 30)) + " coins",
            "a supper of " + t.often(W.FOODS),
            t.part("{n} {m}", n=number(t.between(2, 9)), m=b.makes),
        )
    )
    season = t.pick(W.SEASONS)
    s = [
        t.say(
            "[One {d} in {s}|One {s} morning|Late in the {s}|On a {d} in {s}], {a} the {w}"
            " [of|from] {h} was asked to [carry|take|bring] {o} to {b}, the {v} of {g}.",
            d=t.pick(W.WEEKDAYS), s=season, a=a, w=a.trade, h=a.home, o=an(thing), b=b, v=b.trade,
            g=b.home,
        ),
        t.say(
            "[It was not heavy, but|It looked like nothing much, yet|Everyone knew the road, but]"
            " {w} [had been promised|would be needed|was expected] before [dark|noon|the market|the"
            " end of the week], so {a} [left at once|set out before breakfast|wrapped it in a cloth"
            " and went].",
            w="the " + kind, a=a,
        ),
        t.say(
            "[Halfway to {g}|Beyond the last house of {h}|After {n} miles], {x}.",
            g=b.home, h=a.home, n=number(t.between(3, 12)), x=block,
        ),
        t.say(
            "{a} [thought about it for a while|did not turn back|ate an apple and"
            " considered|remembered the promise], and then {he} {x}.",
            a=a, he=a.he, x=deed.format(o="the " + kind),
        ),
    ]
    if t.chance(0.5):
        c = t.people(1)[0]
        while c.name in (a.name, b.name):
            c = t.people(1)[0]
        s.append(
            t.say(
                "On the other side {he} met {c}, {t}, who [asked|wanted to know] what was in the"
                ' bundle. "{k} for {b}," said {a}. "Then [hurry|be quick|lose no time]," said {c},'
                ' "for {b} [leaves tomorrow|has been asking for it|will not wait long]."',
                he=a.he, c=c, t=an(c.trade), k=an(thing).capitalize(), b=b, a=a,
            )
        )
    s.append(
        t.say(
            "[When {a} reached {g}|In {g} at last], {b} [took the {k} in both hands|turned the {k}"
            ' over twice|held the {k} to the light] and [smiled|nodded|laughed aloud]. "[I had'
            ' given it up|You have come in time|It is the very one]," {he} said, and gave {a} {r}'
            " for the trouble.",
            a=a, g=b.home, b=b, k=kind, he=b.he, r=reward,
        )
    )
    s.append(t.say("[As for {n}|And as for {n}], {x}.", n=name, x=after))
    return " ".join(s) + ask(
        t,
        0.5,
        (
            (f"What did {a} carry to {b.home}?", an(thing).capitalize() + "."),
            (f"Who received the {kind}?", f"{b}, the {b.trade} of {b.home}."),
            (f"What did {b} give to {a}?", reward.capitalize() + "."),
            (f"Where did {a} come from?", f"{a.home}."),
            (f"What was {a}'s trade?", f"{a} was {an(a.trade)}."),
        ),
    )


def market(t):
    a, b = t.people(2)
    start = t.between(12, 90)
    left, told = start, []
    s = [
        t.say(
            "{a} the {w} [came to|went to|drove to] the market of {g} with {n} {m} [in the cart|to"
            " sell|on a handcart].",
            a=a, w=a.trade, g=t.place(), n=number(start), m=a.makes,
        )
    ]
    price = t.between(2, 9)
    earned = 0
    for _ in range(t.between(2, 4)):
        if left < 3:
            break
        n = t.between(1, max(1, left // 2))
        left -= n
        buyer = t.pick(
            (
                "a sailor",
                "the schoolmaster",
                "an old widow",
                "a traveller",
                "the innkeeper",
                "a farmer",
                "the cook of the ferry inn",
                "a young couple",
                "the priest",
                f"{b} the {b.trade}",
            )
        )
        kind = t.below(4)
        if kind < 2:
            earned += n * price
            s.append(
                t.say(
                    "[First|Then|A little later|Toward noon|Before long] {x} [bought|took|paid for]"
                    " {n} of them at {p} coins each[, which made {e} coins|, and {a} put {e} coins"
                    " in {his} purse]; {l} [were left|remained].",
                    x=buyer, n=number(n), p=number(price), e=number(n * price), a=a, his=a.his,
                    l=number(left),
                )
            )
        elif kind == 2:
            s.append(
                t.say(
                    "[A dog ran under the cart|A wheel struck a stone|A shelf gave way|The wind"
                    " tipped the awning] and {n} of them were [spoiled|ruined|lost], so that {l}"
                    " were left.",
                    n=number(n), l=number(left),
                )
            )
        else:
            s.append(
                t.say(
                    "{a} gave {n} to {x}, [who had no money|as a kindness|to settle an old debt],"
                    " and {l} remained.",
                    a=a, n=number(n), x=buyer, l=number(left),
                )
            )
    s.append(
        t.say(
            "[At sunset|When the bell rang|At the end of the day] {a} counted: {s} {m} in the"
            ' morning, {l} at night, and {e} coins in the purse. ["Not bad," said {b}.|"It could be'
            ' worse," said {b}.|"The road home is lighter," {he} said.|{he} bought {f} and went'
            " home content.]",
            a=a, s=number(start), m=a.makes, l=number(left), e=number(earned), b=b, he=a.he,
            f=t.often(W.FOODS),
        )
    )
    return " ".join(s) + ask(
        t,
        0.5,
        (
            (f"How many {a.makes} did {a} bring?", number(start).capitalize() + "."),
            (f"How many were left at the end?", number(left).capitalize() + "."),
            (f"How many coins did {a} earn?", number(earned).capitalize() + "."),
            (f"What was the price of one?", number(price).capitalize() + " coins."),
        ),
    )


def lost(t):
    a, b, c = t.people(3)
    thing, kind = t.keepsake()
    places = t.some(W.SPOTS, 3)
    room = t.often(W.ROOMS)
    clue, trait = t.pick(
        (
            ("a trail of crumbs", "hungry"),
            ("a muddy footprint", "careless"),
            ("a feather", "curious"),
            ("a drop of candle wax", "sleepless"),
            ("a torn thread of wool", "hasty"),
            ("the smell of pipe smoke", "forgetful"),
            ("a wet mark on the floor", "tired"),
        )
    )
    s = [
        t.say(
            "{a} of {h} had lost {o}. [It had belonged to {his} {k}|{he} had owned it for {n}"
            " years|It was the one thing {he} would not sell], and {he} [could not sleep|would not"
            " eat|spoke of nothing else] until it was found.",
            a=a, h=a.home, o=an(thing), his=a.his, k=t.pick(W.KIN)[0], he=a.he,
            n=number(t.between(3, 40)),
        ),
        t.say(
            "First {he} looked {x}, but there was only [dust|a dead moth|an old button|a bit of"
            " string]. Then {he} looked {y}, and found [nothing at all|a spider|a letter that had"
            " never been sent|half a biscuit].",
            he=a.he, x=places[0], y=places[1],
        ),
        t.say(
            '{b} the {w} [came to help|offered to help|happened to pass]. "When did you [have it'
            ' last|last see it]?" asked {b}. "On {d}, in the {r}," said {a}. "[I was with {c}|{c}'
            ' was there too|Only {c} came in]."',
            b=b, w=b.trade, d=t.pick(W.WEEKDAYS), r=room, a=a, c=c,
        ),
        t.say(
            "So they went to the {r}, and there, [on the floor|near the door|beside the chair], was"
            ' {x}. "[Somebody {y} has been here|That is the mark of somebody {y}]," said {b}.',
            r=room, x=clue, y=trait, b=b,
        ),
    ]
    if t.chance(0.6):
        s.append(
            t.say(
                '{c} [blushed|turned pale|scratched {his} head]. "I [borrowed it|took it to mend'
                ' it|only wanted to look at it]," {he} said, "and I put it {x}, [where it would be'
                ' safe|and then forgot|so that no child would break it]." And {x} it was. {a}'
                " [forgave {him}|laughed|was too glad to be angry], and the {k} went back to its"
                " place.",
                c=c, his=c.his, he=c.he, him=c.him, x=places[2], a=a, k=kind,
            )
        )
        culprit = f"{c} had."
    else:
        pet = t.often(W.ANIMALS)
        s.append(
            t.say(
                "They followed the trail to the end, and {x} they found the {k}, and beside it the"
                " {p} of {c} the {w}, [fast asleep|looking pleased|guarding it]. {a} gave the {p} a"
                " crust and took the {k} home.",
                x=places[2], k=kind, p=pet, c=c, w=c.trade, a=a,
            )
        )
        culprit = f"The {pet} had."
    return " ".join(s) + ask(
        t,
        0.5,
        (
            (f"Where was the {kind} found?", places[2][0].upper() + places[2][1:] + "."),
            (f"Who had taken the {kind}?", culprit),
            (f"Who helped {a} to search?", f"{b} the {b.trade}."),
            (f"What did they find in the {room}?", clue.capitalize() + "."),
        ),
    )


def dispute(t):
    a, b, j = t.people(3)
    thing, kind = t.keepsake()
    inside = t.pick(
        (
            "the letter " + t.pick("ABCDEFGHKLMNRST") + " scratched on the back",
            "a dent on the left side",
            "a spot of green paint",
            "a hair tied round it",
            "a crack shaped like a river",
            "a smell of cloves",
            "a tiny star cut in the rim",
        )
    )
    true, false = (a, b) if t.chance(0.5) else (b, a)
    s = [
        t.say(
            "{a} the {w} and {b} the {v} both [claimed|said they owned|wanted] the same {o}, and"
            " they [came before|went to|stood before] {j}, who was judge in {h} [that year|in those"
            " days|for want of a better].",
            a=a, w=a.trade, b=b, v=b.trade, o=thing, j=j, h=a.home,
        ),
        t.say(
            '"I [bought|found|was given] it [in|near] {p} {n} years ago," said {a}. "It has been in'
            ' my {s} [ever since|all that time]," said {b}, "[and everyone knows it|and my {k} will'
            ' swear to it]."',
            p=t.place(), n=number(t.between(2, 20)), a=a, s=b.shop, b=b, k=t.pick(W.KIN)[0],
        ),
        t.say(
            "{j} [covered the {o} with a cloth|put the {o} behind {his} back|sent everyone out of"
            ' the room but the two] and asked, "What mark does it bear?" {f} [said|answered]'
            " [quickly|at once|loudly] that there was [none|no mark of any kind|nothing to see]."
            ' {t} [thought|waited] a moment and said, "There is {x}."',
            j=j, o=kind, his=j.his, f=false, t=true, x=inside,
        ),
        t.say(
            '{j} lifted the cloth, and there was {x}. "The {o} [belongs to|goes to|is the property'
            ' of] {t}," said {j}, "and {f} shall [pay {n} coins|sweep the square for {n} days|give'
            ' {t} {n} {m}|beg pardon before the whole market]."',
            j=j, x=inside, o=kind, t=true, f=false, n=number(t.between(2, 12)), m=false.makes,
        ),
        t.say(
            "[In {h} they still say|Since then people in {h} say|That is why they say in {h}]: [who"
            " owns a thing knows its scars|look before you claim|a loud voice is a poor witness|the"
            " cloth tells the truth].",
            h=a.home,
        ),
    ]
    return " ".join(s) + ask(
        t,
        0.45,
        (
            (f"Who was the judge?", f"{j} was the judge."),
            (f"Who owned the {kind}?", f"{true} the {true.trade}."),
            (f"Who lied?", f"{false} lied."),
            (f"What mark did the {kind} bear?", inside.capitalize() + "."),
        ),
    )


def will(t):
    crowd = t.people(4)
    dead, heirs = crowd[0], crowd[1:]
    things = [t.keepsake() for _ in heirs]
    while len({k for _, k in things}) < 3:
        things = [t.keepsake() for _ in heirs]
    s = [
        t.say(
            "[This is the last will of|Here is written the will of] {d}, {w} of {h}, made in the"
            " {s} of the year {y}.",
            d=dead, w=dead.trade, h=dead.home, s=t.pick(W.SEASONS), y=t.between(210, 890),
        )
    ]
    for p, (thing, _) in zip(heirs, things):
        s.append(
            t.say(
                "To {p} the {w} I leave the {o}, [because|for] {r}.",
                p=p, w=p.trade, o=thing,
                r=t.part(
                    "[{he} mended my roof in the great storm|{he} never asked for it|{he} lent me"
                    " {n} coins and forgot|{he} laughed at my jokes|{he} will know what to do with"
                    " it|{he} sat with me when I was ill]",
                    he=p.he, n=number(t.between(5, 90)),
                ),
            )
        )
    i = t.below(3)
    p, (thing, kind) = heirs[i], things[i]
    other = heirs[(i + 1) % 3]
    s.append(
        t.say(
            "[The {r} goes to the town|Let the {r} be sold for the poor|My {r} shall stay as it"
            " is], and [nobody is to wear black|the bell shall ring once|the dog is to be fed].",
            r=dead.shop,
        )
    )
    s.append(
        t.say(
            "When the will was read, {o} [frowned|was silent|counted on {his} fingers], for {he}"
            " had hoped for the {k}. But {p} [broke it in two and gave {him} half|lent it to {him}"
            ' every {d}|said, "Come and use it when you like"|put it away and never showed it].',
            o=other, his=other.his, he=other.he, him=other.him, k=kind, p=p, d=t.pick(W.WEEKDAYS),
        )
    )
    return " ".join(s) + ask(
        t,
        0.5,
        [(f"Who got the {k}?", f"{q} the {q.trade}.") for q, (_, k) in zip(heirs, things)]
        + [
            ("Whose will was it?", f"It was the will of {dead}."),
            (f"Who had hoped for the {kind}?", f"{other} had."),
        ],
    )


def craft(t):
    p = t.people(1)[0]
    thing = t.pick(
        (
            "a rush basket",
            "a beeswax candle",
            "a clay whistle",
            "a wool blanket",
            "a fish trap",
            "a leather purse",
            "a birch broom",
            "a straw hat",
            "a wooden spoon",
            "a paper kite",
            "a reed flute",
            "a stone oven",
        )
    )
    stuff = {
        "a rush basket": "rushes",
        "a beeswax candle": "wax",
        "a clay whistle": "clay",
        "a wool blanket": "yarn",
        "a fish trap": "willow rods",
        "a leather purse": "leather",
        "a birch broom": "twigs",
        "a straw hat": "straw",
        "a wooden spoon": "wood",
        "a paper kite": "paper",
        "a reed flute": "reed",
        "a stone oven": "stones",
    }[thing]
    n = t.between(2, 12)
    steps = t.some(
        (
            "choose {m} neither too [dry|old] nor too [green|new]",
            "soak the {m} for {n} hours in [rain water|warm water|a tub]",
            "lay the {m} on a flat board and sort it by length",
            "cut away whatever looks [split|rotten|crooked]",
            "fold the ends twice and press them with your thumb",
            "tie it with {k} knots of waxed thread",
            "let it rest near the stove, but not so near that it scorches",
            "rub it with {o} until it shines",
            "turn it over and do the same on the other side",
            "smooth the edge with the {t}",
            "hang it in the shade for {n} days",
            "mark the middle with a bit of chalk",
        ),
        t.between(4, 6),
    )
    verbs = ("First", "Then", "After that", "Next", "Now", "When this is done,")
    s = [
        t.say(
            "How to make {x}, as {p} the {w} of {h} [teaches it|showed it to the children|has"
            " written it down].",
            x=thing, p=p, w=p.trade, h=p.home,
        ),
        t.say(
            "You need {m}, {t}, [patience|good light|a dry day], and {n} hours.",
            m=stuff, t=an(p.tool), n=number(n),
        ),
    ]
    for i, step in enumerate(steps):
        s.append(
            t.say(
                (
                    "First, "
                    if i == 0
                    else "Last, " if i == len(steps) - 1 else t.pick(verbs[1:]).rstrip(",") + ", "
                )
                + step
                + ".",
                m=stuff, n=number(n), k=number(t.between(2, 7)),
                o=t.pick(("oil", "wax", "tallow", "a dry cloth", "sand")), t=p.tool,
            )
        )
    s.append(
        t.say(
            "[If it breaks, begin again|If it is crooked, call it a gift|Do not hurry]: [the {m} is"
            " cheap and the hand must learn|{p} spoiled {n} before the first good one|nobody is"
            " born {w}].",
            m=stuff, p=p, n=number(t.between(3, 30)), w=an(p.trade),
        )
    )
    return " ".join(s) + ask(
        t,
        0.3,
        (
            (f"What is needed to make {thing}?", f"{stuff.capitalize()} and {an(p.tool)}."),
            ("Who teaches it?", f"{p} the {p.trade} of {p.home}."),
        ),
    )
