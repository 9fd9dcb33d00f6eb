"""Word tables of the demo corpus: the small coast that every tale is set on.

All of it was made up for this project. Tables are plain tuples in a fixed order, because the
order decides which text a seed gives.
"""


def table(text):
    """Entries are separated by commas (so that an entry may be a phrase)."""
    return tuple(" ".join(entry.split()) for entry in text.split(",") if entry.strip())


WOMEN = table(
    """Mara, Ilse, Tova, Nella, Brida, Oriel, Sanne, Petra, Wenna, Lotte, Carys, Edda, Fenja, Greta,
Hanne, Isolde, Juna, Kaia, Linnet, Maud, Nore, Olwen, Perrin, Quilla, Runa, Sefa, Thea, Una,
Vesna, Willa, Yrsa, Zella, Agnes, Berit, Corin, Delia, Elka, Flora, Gisla, Hedy, Imke, Jorun,
Ketil, Livia, Merel, Nadia, Odile, Pia, Rosa, Signe, Tilda, Ulla, Vera, Wilma, Alma, Beata,
Clara, Dagny, Esme, Frida"""
)
MEN = table(
    """Aldo, Bram, Caspar, Doran, Emil, Falk, Garin, Henrik, Ivo, Joss, Kester, Lars, Milo, Nils,
Osric, Piet, Quill, Rolf, Stellan, Tam, Ulf, Viggo, Wim, Yann, Anselm, Bertil, Colm, Dirk,
Edgar, Finn, Gustav, Hugo, Ingmar, Jasper, Klaus, Leif, Magnus, Noam, Otto, Pascal, Ragnar,
Simon, Torben, Urban, Valentin, Walter, Axel, Boris, Carl, Dov, Ernst, Felix, Gregor, Harald,
Isak, Jakob, Kaspian, Ludo, Matthis, Oskar"""
)
PLACE_HEADS = table(
    """Ash, Barrow, Cold, Deep, Elder, Fern, Gull, Hare, Iron, Juniper, Kings, Long, Marsh, North,
Otter, Pine, Raven, Salt, Thorn, Under, Whit, Yarrow, Amber, Birch, Copper, Dun, East, Fox,
Grey, Holm"""
)
PLACE_TAILS = table(
    "ford, wick, moor, haven, dale, bridge, field, mouth, stead, water, gate, hollow"
)

# trade, what the trade makes or sells (plural), the tool it needs, where it is done
TRADES = (
    ("baker", "loaves", "oven peel", "bakehouse"),
    ("smith", "nails", "hammer", "forge"),
    ("weaver", "blankets", "shuttle", "weaving shed"),
    ("potter", "jugs", "wheel", "pottery"),
    ("carpenter", "stools", "plane", "workshop"),
    ("fisher", "herrings", "net", "boathouse"),
    ("miller", "sacks of flour", "millstone", "mill"),
    ("tanner", "hides", "scraping knife", "tannery"),
    ("beekeeper", "jars of honey", "smoker", "garden"),
    ("cobbler", "boots", "awl", "shop"),
    ("glazier", "panes", "cutter", "glass house"),
    ("ropemaker", "ropes", "spinning hook", "rope walk"),
    ("gardener", "cabbages", "spade", "garden"),
    ("shepherd", "fleeces", "crook", "fold"),
    ("printer", "almanacs", "press", "printing house"),
    ("cooper", "barrels", "adze", "yard"),
    ("chandler", "candles", "dipping frame", "shop"),
    ("dyer", "bolts of cloth", "copper vat", "dye house"),
    ("tinker", "kettles", "soldering iron", "cart"),
    ("locksmith", "locks", "file", "shop"),
    ("basket maker", "baskets", "bodkin", "barn"),
    ("clockmaker", "clocks", "lathe", "workshop"),
    ("apothecary", "bottles of tonic", "mortar", "shop"),
    ("mason", "milestones", "chisel", "yard"),
    ("sailmaker", "sails", "needle", "loft"),
    ("brewer", "casks of ale", "mash paddle", "brewhouse"),
    ("orchard keeper", "pears", "ladder", "orchard"),
    ("goatherd", "cheeses", "bell", "dairy"),
    ("mapmaker", "charts", "compass", "study"),
    ("bookbinder", "ledgers", "bone folder", "bindery"),
)

COLOURS = table(
    """red, blue, green, yellow, grey, white, black, brown, silver, violet, crimson, amber, pale blue,
dark green, russet, ivory"""
)
MATERIALS = table(
    "oak, copper, tin, brass, iron, leather, linen, glass, clay, bone, willow, silver, slate, horn"
)
KEEPSAKES = table(
    """lantern, key, ring, flute, compass, letter, map, box, cup, bell, coin, locket, knife, mirror,
whistle, spoon, seal, comb, purse, candlestick, spyglass, hourglass, inkwell, brooch, drum,
thimble, casket, needle case, tuning fork, snuffbox, buckle, die, chess king, doll, top, music
box, pepper mill, plumb line"""
)
CONTAINERS = table(
    "basket, satchel, chest, barrel, crate, sack, bucket, drawer, jar, trunk, cupboard, hamper"
)
ROOMS = table(
    "kitchen, attic, cellar, hall, loft, pantry, stable, porch, study, workshop, barn, tower"
)
SPOTS = table(
    """under the stairs, behind the stove, on the window sill, beneath a loose board, inside the old
clock, in the flour bin, between two books, at the bottom of the well bucket, under a coil of
rope, in the pocket of a coat, behind the water barrel, on the highest shelf, under the doormat,
in the nest of the hen, in the ash pan, inside a winter boot, among the turnips, in the crack of
the wall, under the saddle, in the lining of a hat"""
)
ANIMALS = table(
    """fox, crow, hare, otter, badger, heron, goat, donkey, hedgehog, owl, stoat, toad, mouse, goose,
wolf, magpie, tortoise, squirrel, rat, lamb, bear, sparrow, eel, cat, hound, mole, beaver, swan,
lynx, snail"""
)
TRAITS = (
    ("proud", "humble"),
    ("greedy", "content"),
    ("hasty", "patient"),
    ("lazy", "busy"),
    ("boastful", "quiet"),
    ("cruel", "kind"),
    ("careless", "careful"),
    ("stubborn", "willing to learn"),
    ("suspicious", "trusting"),
    ("timid", "brave"),
    ("vain", "plain"),
    ("wasteful", "thrifty"),
)
FOODS = table(
    """onion soup, barley bread, smoked eel, plum cake, pickled beets, roast goose, goat cheese, honey
wafers, pea porridge, apple tart, salted herring, walnut pie, buttered turnips, mushroom stew,
egg custard, oat biscuits, pear cider, rye dumplings, leek pie, stewed quinces, chestnut
pudding, cress salad, mutton broth, blackberry jam"""
)
CROPS = table(
    "barley, rye, oats, wheat, beans, flax, hops, turnips, peas, apples, cabbages, lentils"
)
FLOWERS = table(
    """foxglove, marigold, thyme, lavender, mallow, poppy, heather, clover, sorrel, tansy, iris,
primrose, sage, mint, yarrow, violet, rosemary, chamomile"""
)
WINDS = table("north, south, east, west, north-east, north-west, south-east, south-west")
WEATHERS = table(
    """fog, rain, hail, snow, drizzle, sleet, bright sun, thunder, a hard frost, a warm haze, low
cloud, a cutting wind"""
)
SEASONS = table("spring, summer, autumn, winter")
MONTHS = table(
    "January, February, March, April, May, June, July, August, September, October, November,"
    " December"
)
WEEKDAYS = table("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday")
SHIPS = table(
    """Patient Heron, Merry Widow, Grey Goose, Second Chance, Silver Herring, Northern Star, Old
Bargain, Quiet Daughter, Brass Cockerel, Morning Tide, Stubborn Mule, Laughing Seal, Winter
Rose, Honest Man, Black Swan, Lucky Penny, Long Memory, Faithful Anne, Red Kite, Paper Moon"""
)
CARGOES = table(
    """salt, timber, wool, tin, oranges, lamp oil, copper, slate, tallow, dried cod, raisins, hemp,
tar, glass beads, pepper, marble, grain, wine, indigo, millstones"""
)
KIN = (
    ("mother", "f"),
    ("father", "m"),
    ("sister", "f"),
    ("brother", "m"),
    ("aunt", "f"),
    ("uncle", "m"),
    ("grandmother", "f"),
    ("grandfather", "m"),
    ("niece", "f"),
    ("nephew", "m"),
    ("cousin", "m"),
    ("daughter", "f"),
    ("son", "m"),
    ("godmother", "f"),
)
FEELINGS = table(
    """glad, weary, proud, ashamed, worried, curious, angry, hopeful, calm, surprised, lonely,
grateful, uneasy, cheerful"""
)
OBSTACLES = (
    (
        "the bridge had been carried off by the flood",
        "the river",
        "waded across with {o} held high",
        "a bridge of two planks was laid the next spring",
    ),
    (
        "a fallen beech lay across the road",
        "the tree",
        "climbed over it branch by branch",
        "the tree was sawn into boards for the school floor",
    ),
    (
        "thick fog came down and hid the path",
        "the fog",
        "followed the sound of a cow bell",
        "a row of white stones was set along the path",
    ),
    (
        "two geese guarded the only gate",
        "the geese",
        "bought them off with a crust",
        "the geese were given a pen of their own",
    ),
    (
        "snow had filled the pass",
        "the snow",
        "waited three days in a shepherd's hut",
        "a pole was put up to show the depth of the drifts",
    ),
    (
        "the ferry was tied up on the far bank",
        "the empty ferry",
        "rang the bell until the ferryman woke",
        "a second boat was bought for the near bank",
    ),
    (
        "the road had sunk into the marsh",
        "the marsh",
        "stepped from tuft to tuft with a long pole",
        "bundles of willow were laid across the soft ground",
    ),
    (
        "the lantern went out in the wind",
        "the dark",
        "kept one hand on the wall the whole way",
        "a lamp was hung at the corner of the wall",
    ),
    (
        "a mule had sat down in the narrow lane",
        "the mule",
        "sang to it until it got up",
        "the mule was never again hired on a warm day",
    ),
    (
        "the town gate was shut for the night",
        "the gate",
        "slept in the hay of a friendly carter",
        "the watchman was told to keep a small door open",
    ),
)
SIGNALS = table(
    """one lamp, two lamps, three lamps, a red flag, a white flag, a black ball, smoke from the beacon,
a long blast of the horn, two short blasts, a slow bell, a quick bell, a blue flare"""
)
EVENTS = table(
    """a ship in need of a pilot, a fire in the town, a stranger on the road, the turn of the tide, ice
on the river, a good catch of herring, a change of the wind, the arrival of the mail, a lost
child, the start of the market, a sick cow, the tax collector"""
)
ORDINALS = table(
    """first, second, third, fourth, fifth, sixth, seventh, eighth, ninth, tenth, eleventh, twelfth"""
)
SMALL = table(
    """no, one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen,
fourteen, fifteen, sixteen, seventeen, eighteen, nineteen"""
)
TENS = table("zero, ten, twenty, thirty, forty, fifty, sixty, seventy, eighty, ninety")
