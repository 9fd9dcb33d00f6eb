"""Tales of time: chronicles of towns, ship's logs, nights on watch, a summer in a garden."""

import words as W
from teller import an, ask, number


def chronicle(t):
    town, other = t.place(), t.place()
    crop, second = t.some(W.CROPS, 2)
    year = t.between(110, 890)
    people = t.between(15, 70) * 10
    first, born = year, people
    price = t.between(3, 8)
    state = "fair"
    s = [
        t.say(
            "[The chronicle of {t}.|From the chronicle of {t}.|The book of the years of {t}.] In"
            " the year {y} there lived in {t} {n} souls, and a sack of {c} cost {p} coins.",
            t=town, y=year, n=number(people), c=crop, p=number(price),
        )
    ]
    for _ in range(t.between(3, 5)):
        year += t.between(1, 6)
        then = t.say("In the year {y} ", y=year)
        if state == "hungry":
            people -= t.between(1, 4) * 10
            s.append(
                then
                + t.part(
                    "many families left {t} for {o}, and {n} souls remained; those who stayed sowed"
                    " {d} in place of {c}.",
                    t=town, o=other, n=number(people), d=second, c=crop,
                )
            )
            crop, second, state = second, crop, "fair"
        elif state == "rich":
            people += t.between(1, 6) * 10
            s.append(
                then
                + t.part(
                    "the town built [a new bridge|a stone granary|a school|a bath house|a tower"
                    " with a clock|a wall against the sea] with the profit, strangers came to"
                    " settle, and the souls were counted as {n}.",
                    n=number(people),
                )
            )
            state = "fair"
        elif t.chance(0.5):
            price += t.between(1, 5)
            s.append(
                then
                + t.part(
                    "[no rain fell from April to August|hail beat down the fields|the river drowned"
                    " the lower fields|a blight turned the leaves black|mice came in thousands],"
                    " the {c} failed, and a sack cost {p} coins.",
                    c=crop, p=number(price),
                )
            )
            state = "hungry"
        else:
            price = max(1, price - t.between(1, 3))
            s.append(
                then
                + t.part(
                    "the {c} stood [as high as a man|thick and golden|better than anyone"
                    " remembered], the barns of {t} were full, and a sack cost only {p} {k}.",
                    c=crop, t=town, p=number(price), k="coin" if price == 1 else "coins",
                )
            )
            state = "rich"
    s.append(
        t.say(
            "So in {n} years the town {g} from {a} souls to {b}, and [here the writer rests {h}"
            " pen|the next page is for another hand|the rest is not yet written].",
            n=number(year - first), a=number(born), b=number(people),
            g="grew" if people > born else t.pick(("went", "shrank")) if people < born else "went",
            h=t.pick(("his", "her")),
        )
    )
    return " ".join(s) + ask(
        t,
        0.35,
        (
            (f"How many souls lived in {town} at the end?", number(people).capitalize() + "."),
            (
                "What did a sack cost at the last?",
                number(price).capitalize() + (" coin." if price == 1 else " coins."),
            ),
            (f"In which year does the chronicle begin?", f"In the year {first}."),
        ),
    )


def log(t):
    ship = t.often(W.SHIPS)
    start, goal = t.place(), t.place()
    cargo = t.often(W.CARGOES)
    captain, mate = t.people(2)
    far = t.between(12, 50) * 10
    left = far
    wind = t.pick(W.WINDS)
    s = [
        t.say(
            "Log of the {s}, captain {c}, bound from {a} to {b} with {n} [crates|barrels|tons] of"
            " {g}. Distance {d} miles.",
            s=ship, c=captain, a=start, b=goal, n=number(t.between(10, 90)), g=cargo, d=far,
        )
    ]
    day = 0
    water = t.between(8, 15)
    while left > 0 and day < 9:
        day += 1
        if t.chance(0.45):
            wind = t.pick(W.WINDS)
        kind = t.below(8)
        if kind == 0:
            run, what = 0, t.say(
                "calm all day, [the crew mended sails|the boys fished|{m} played the fiddle]",
                m=mate,
            )
        elif kind == 1:
            run, what = t.between(1, 3) * 10, t.say(
                "storm from the {w}, [lost a sail|one barrel overboard|two men hurt]", w=wind
            )
        elif kind == 2:
            run, what = t.between(3, 6) * 10, t.say(
                "{x}, [kept the lead going|a man at the bow with a horn|slow and careful]",
                x=t.often(W.WEATHERS),
            )
        else:
            run, what = t.between(5, 12) * 10, t.say(
                "[fresh|steady|good|light] wind from the {w}, [all sails set|all well|clear sky|"
                "a whale seen|passed a ship bound for {p}]",
                w=wind, p=t.place(),
            )
        run = min(run, left)
        left -= run
        water -= 1
        s.append(
            t.say(
                "Day {d}: {w}. Made {r} miles, {l} to go{x}.",
                d=day, w=what, r=run, l=left,
                x=f", water for {number(water)} days" if 0 < water < 6 else "",
            )
        )
        if water == 0 and left > 0:
            s.append(t.say("Put in at {p} for water.", p=t.place()))
            water = t.between(6, 10)
    s.append(
        t.say(
            "Anchored at {b} after {d} days. {c} paid off the crew.",
            b=goal, d=number(day), c=captain,
        )
        if left == 0
        else t.say(
            "Turned back to {a} with {l} miles still to go. {c} is not pleased.",
            a=start, l=left, c=captain,
        )
    )
    return "\n".join(s) + ask(
        t,
        0.35,
        (
            (f"What did the {ship} carry?", cargo.capitalize() + "."),
            ("Who was the captain?", f"{captain}."),
            ("Where was the ship bound?", f"For {goal}."),
            ("How many days did it take?", number(day).capitalize() + "."),
        ),
    )


def watch(t):
    a, b = t.people(2)
    signs, events = t.some(W.SIGNALS, 3), t.some(W.EVENTS, 3)
    s = [
        t.say(
            "{a} kept the watch on the tower of {h}. The rule was [simple|painted on the wall|as"
            " old as the tower]: {x} meant {u}, {y} meant {v}, and {z} meant {w}.",
            a=a, h=a.home, x=signs[0], u=events[0], y=signs[1], v=events[1], z=signs[2],
            w=events[2],
        )
    ]
    shown = []
    for hour in sorted(t.some(range(1, 12), t.between(2, 3))):
        i = t.below(3)
        shown.append((hour, i))
        s.append(
            t.say(
                "[At {n} o'clock|When the clock struck {n}|A little after {n}] {he}"
                " [saw|noticed|made out] {x}, [so {he} called down|and {he} shouted|and {he} wrote"
                ' in the book]: "{e}."',
                n=number(hour), he=a.he,
                x=t.pick(
                    (
                        "something by the harbour: ",
                        "across the water ",
                        "on the far hill ",
                        "from the east ",
                    )
                )
                + signs[i],
                e=events[i][0].upper() + events[i][1:],
            ).replace(":  ", ": ")
        )
        s.append(
            {
                "f": "",
                "p": t.say(
                    "[{b} put on {his} boots|{b} woke the others|{b} ran down the stairs|Nobody was"
                    " surprised|The whole street came out to see|{b} said it could wait].",
                    b=b, his=b.his,
                ),
            }[t.pick("fpp")]
        )
    s.append(
        t.say(
            '[At dawn|When the sun rose|In the morning] {b} came to take the watch. "[Anything'
            ' new|A quiet night|What news]?" "{n} [signals|signs]," said {a}, "and [cold feet|a'
            ' stiff neck|no supper|a good moon]."',
            b=b, n=number(len(shown)).capitalize(), a=a,
        )
    )
    hour, i = t.pick(shown)
    return " ".join(x for x in s if x) + ask(
        t,
        0.5,
        (
            (f"What did {signs[i]} mean?", events[i][0].upper() + events[i][1:] + "."),
            (f"What was the sign for {events[i]}?", signs[i][0].upper() + signs[i][1:] + "."),
            ("Who kept the watch?", f"{a} did, on the tower of {a.home}."),
        ),
    )


def garden(t):
    a, b = t.people(2)
    crop, flower = t.often(W.CROPS), t.often(W.FLOWERS)
    rows, each = t.between(2, 12), t.between(2, 9)
    s = [
        t.say(
            "In {m} {a} [dug|cleared|fenced] a [small|narrow|stony|sunny] garden behind the {s} and"
            " planted {r} rows of {c}, {e} plants to a row, which makes {n}.",
            m=t.pick(W.MONTHS[2:5]), a=a, s=a.shop, r=number(rows), c=crop, e=number(each),
            n=number(rows * each),
        )
    ]
    left = rows * each
    if t.chance(0.7):
        n = t.between(1, left // 2)
        left -= n
        s.append(
            t.say(
                "[A late frost|A family of hares|{b}'s goat|The snails|A heavy hail]"
                " [took|spoiled|destroyed] {n} of them, and {l} were left.",
                b=b, n=number(n), l=number(left),
            )
        )
        if t.chance(0.5):
            s.append(
                t.say(
                    "{b} [advised|told] {him} to sow {f} at the edges, [for the smell keeps them"
                    " away|since nothing that crawls will pass it|as {his} mother always did].",
                    b=b, him=a.him, f=flower, his=b.his,
                )
            )
    dry = t.chance(0.5)
    s.append(
        t.say(
            "The summer was {w}, so {a} {x}.",
            w="dry" if dry else "wet", a=a,
            x=t.part(
                (
                    "[carried {n} buckets from the well each evening|covered the roots with"
                    " straw|watered them by moonlight]"
                    if dry
                    else (
                        "[cut a ditch along the fence|raised the beds with sand|picked off the"
                        " slugs by lantern light]"
                    )
                ),
                n=number(t.between(2, 9)),
            ),
        )
    )
    good = t.chance(0.6)
    s.append(
        t.say(
            "In {m} {x}",
            m=t.pick(W.MONTHS[7:10]),
            x=(
                t.part(
                    "[the harvest was the best in the lane|there was more than one house could"
                    " eat|every plant bore well]: {he} kept {k} for seed, gave the rest to {b}, and"
                    " [was thanked with {o}|got {o} in return].",
                    he=a.he, k=number(t.between(1, left)), b=b, o=t.often(W.FOODS),
                )
                if good
                else t.part(
                    "[there was little to show|the leaves turned yellow|the roots were no bigger"
                    ' than a thumb]. "[Next year|There is always spring|The soil is only tired],"'
                    " said {b}, and lent {him} {o}.",
                    b=b, him=a.him, o=an(b.tool),
                )
            ),
        )
    )
    return " ".join(s) + ask(
        t,
        0.45,
        (
            (
                (
                    f"How many {crop} did {a} plant?"
                    if crop.endswith("s")
                    else f"How many plants did {a} set out?"
                ),
                number(rows * each).capitalize() + ".",
            ),
            ("Was the summer wet or dry?", "It was " + ("dry." if dry else "wet.")),
            ("Who was the neighbour?", f"{b} the {b.trade}."),
            ("What grew in the garden?", crop.capitalize() + "."),
        ),
    )
