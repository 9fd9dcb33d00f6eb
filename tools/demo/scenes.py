"""Scenes of the demo corpus: a walk through a town, described sentence by sentence from a small
grammar of what can be where, what it does there and what it is like. The town remembers what it
holds, and the walk ends by recalling it.
"""

import words as W
from teller import an, ask, listing, number

# a place in a town, how one stands to it, what may be found there
SITES = (
    (
        "harbour",
        "at",
        ("barge", "anchor", "net", "crane", "gull", "sailor", "pile of oysters", "mast"),
    ),
    (
        "market square",
        "in",
        ("stall", "fountain", "juggler", "pump", "beggar", "statue", "pigeon", "awning"),
    ),
    (
        "churchyard",
        "in",
        (
            "yew tree",
            "headstone",
            "bell rope",
            "sexton",
            "jackdaw",
            "iron gate",
            "sundial",
            "widow",
        ),
    ),
    (
        "mill pond",
        "beside",
        ("wheel", "duck", "willow", "sluice", "heron", "punt", "miller's boy", "bulrush"),
    ),
    (
        "old bridge",
        "on",
        (
            "toll keeper",
            "lamp post",
            "cart",
            "angler",
            "stray dog",
            "inscription",
            "swallow",
            "pedlar",
        ),
    ),
    (
        "inn",
        "inside",
        (
            "fiddler",
            "long bench",
            "barrel",
            "fireplace",
            "card player",
            "landlady",
            "stuffed pike",
            "parrot",
        ),
    ),
    (
        "quarry",
        "above",
        (
            "hoist",
            "ram",
            "mason",
            "rusty rail",
            "pool of green water",
            "thorn bush",
            "hut",
            "falcon",
        ),
    ),
    (
        "orchard",
        "in",
        (
            "ladder",
            "beehive",
            "scarecrow",
            "thrush",
            "picker",
            "rotten fence",
            "wheelbarrow",
            "stone bench",
        ),
    ),
    (
        "town hall",
        "before",
        (
            "clerk",
            "flag",
            "staircase",
            "notice board",
            "guard",
            "clock",
            "lion of stone",
            "petitioner",
        ),
    ),
    (
        "lighthouse",
        "below",
        (
            "keeper",
            "cormorant",
            "rowing boat",
            "seal",
            "coil of chain",
            "rock",
            "tide pool",
            "winch",
        ),
    ),
    (
        "library",
        "inside",
        ("globe", "reading desk", "librarian", "ladder", "moth", "atlas", "skylight", "scholar"),
    ),
    (
        "bathhouse",
        "behind",
        (
            "boiler",
            "laundress",
            "clothes line",
            "drain",
            "stack of firewood",
            "tabby cat",
            "mint bed",
            "bucket",
        ),
    ),
)
BEINGS = frozenset(
    W.table(
        """gull, sailor, juggler, beggar, pigeon, sexton, jackdaw, widow, duck, heron, miller's boy, toll
keeper, angler, stray dog, swallow, pedlar, fiddler, card player, landlady, parrot, ram, mason,
falcon, thrush, picker, clerk, guard, petitioner, keeper, cormorant, seal, librarian, moth,
scholar, laundress, tabby cat"""
    )
)
LOOKS = W.table(
    """crooked, weathered, enormous, narrow, forgotten, mossy, gilded, faded, leaning, dusty, splendid,
half-finished, ancient, spotless, battered, hollow, slender, stained, sunken, gleaming"""
)
MOODS = W.table(
    """sleepy, solemn, thin, one-eyed, restless, barefoot, ragged, plump, drowsy, freckled, suspicious,
elegant, limping, shy, bearded, nervous, patient, grumbling, lonely, cheerful"""
)
ACTS = W.table(
    """waited for a crumb, watched the clouds, turned in a circle, pretended to sleep, hummed a tune,
counted the waves, stared at the ground, shook off the water, guarded a broken plate, listened
to the wind, yawned without shame, looked for a lost shoe, quarrelled with its shadow, enjoyed
the last of the sun, followed every passer-by, scratched at a stone, hoped for better weather,
kept perfectly still"""
)
STATES = W.table(
    """caught the light, cast a long shadow, had stood there for a century, creaked in the breeze,
needed a coat of paint, smelled of tar, was covered with snow, dripped steadily, bore the date
of the great flood, had been mended with wire, belonged to nobody, leaned toward the sea, was
warm from the sun, had lost its handle, was older than the town, marked the middle of the place,
hid a nest of wasps, shone like new"""
)
LIGHTS = W.table(
    "a pale dawn, the noon glare, a golden evening, a blue dusk, thin moonlight, a stormy light,"
    " the lamplight, a misty morning"
)
SOUNDS = W.table(
    """hammering, distant thunder, a choir, the grinding of the mill, laughter, a squeaking hinge, the
sea, hoofbeats, a flute, rain in the gutters, the crying of gulls, a quarrel in two languages"""
)
SMELLS = W.table(
    "fresh bread, tar, wet wool, fried onions, lilac, smoke, seaweed, hay, vinegar, cut pine, old"
    " paper, cinnamon"
)


def scene(t):
    p = t.people(1)[0]
    sites = t.some(SITES, t.between(2, 3))
    seen = []
    s = [
        t.say(
            "[{p} the {w} walked through {h} in {l}|In {l} {p} the {w} walked through {h}|{p}, for"
            " {n} years the {w} of {h}, took a walk in {l}], [with {o} under one arm|thinking of"
            " {f}|for no reason at all|because of a debt|on the way to a wedding|to see what was"
            " new].",
            p=p, w=p.trade, h=p.home, l=t.pick(LIGHTS), n=number(t.between(2, 40)),
            o=an(t.keepsake()[0]), f=t.often(W.FOODS),
        )
    ]
    for site, where, things in sites:
        things = t.some(things, 2)
        first = True
        for thing in things:
            alive = thing in BEINGS
            look = t.often(MOODS if alive else LOOKS)
            seen.append((site, where, thing, look))
            act = t.pick(ACTS if alive else STATES)
            if first:
                s.append(
                    t.say(
                        "[{A} the {s} {x} {d}|{A} the {s} {p} came upon {x} that {d}|{A} the {s}"
                        " there was {x} that {d}].",
                        A=where, s=site, x=an(look + " " + thing), p=p, d=act,
                    )
                )
            else:
                s.append(
                    t.say(
                        "[Beside it|Not far off|Close by|A few steps on], {x} {d}.",
                        x=an(look + " " + thing), d=act,
                    )
                )
            first = False
        if t.chance(0.5):
            s.append(
                t.say(
                    "[One could hear {a}|There was a smell of {b}|The air was full of {a} and the"
                    " smell of {b}].",
                    a=t.pick(SOUNDS), b=t.pick(SMELLS),
                )
            )
    site, where, thing, look = t.pick(seen)
    others = [f"the {k} {n}" for _, _, n, k in seen if n != thing]
    s.append(
        t.say(
            "[At home|That night|Over supper] {p} [remembered|described|could not forget] {o}, but"
            " [most of all|above all] the {l} {t}{w}, and [wrote it all down|told nobody|dreamed of"
            " it|resolved to go again].",
            p=p, o=listing(t.some(others, 2)), l=look, t=thing,
            w=t.pick(("", " " + where + " the " + site)),
        )
    )
    return " ".join(s) + ask(
        t,
        0.4,
        [(f"What was {w} the {x}?", an(k + " " + n).capitalize() + ".") for x, w, n, k in seen[:3]]
        + [
            ("Who took the walk?", f"{p} the {p.trade}."),
            (f"Where was the {thing}?", f"{where.capitalize()} the {site}."),
        ],
    )
