"""All words that the demo's sentences are made of."""

from __future__ import annotations

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "China": "Beijing",
    "India": "New Delhi", "Egypt": "Cairo", "Kenya": "Nairobi", "Peru": "Lima", "Chile": "Santiago", "Cuba": "Havana",
    "Canada": "Ottawa", "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki", "Poland": "Warsaw", "Greece": "Athens",
    "Turkey": "Ankara", "Portugal": "Lisbon", "Austria": "Vienna", "Ireland": "Dublin", "Russia": "Moscow", "Brazil": "Brasilia",
}  # fmt: skip
OPPOSITES = {
    "hot": "cold", "big": "small", "fast": "slow", "up": "down", "light": "dark", "happy": "sad", "old": "young", "open": "closed",
    "wet": "dry", "hard": "soft", "early": "late", "full": "empty", "high": "low", "long": "short", "left": "right", "rich": "poor",
}  # fmt: skip
SOUNDS = {
    "dog": "woof", "cat": "meow", "cow": "moo", "duck": "quack", "sheep": "baa", "lion": "roar", "bee": "buzz", "owl": "hoot",
    "pig": "oink", "snake": "hiss",
}  # fmt: skip
COLOURS_OF = {
    "sky": "blue", "grass": "green", "snow": "white", "coal": "black", "blood": "red", "sun": "yellow", "carrot": "orange",
    "plum": "purple",
}  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NAMES = ("Ann", "Ben", "Cara", "Dan", "Eva", "Finn", "Gina", "Hugo", "Ida", "Jack", "Kim", "Leo", "Mia", "Ned", "Olga", "Paul")
THINGS = ("ball", "book", "cup", "hat", "key", "lamp", "map", "pen", "box", "coin", "bag", "bell")
PLACES = ("garden", "kitchen", "park", "school", "office", "forest", "shop", "river", "house", "station")
COLOURS = ("red", "blue", "green", "white", "black", "yellow", "orange", "purple", "gray", "pink")
SMALL_TALK = (
    ("Who are you?", "I am Pip, a tiny language model."),
    ("What is your name?", "My name is Pip."),
    ("Hello!", "Hello! How can I help you?"),
    ("Thank you.", "You are welcome."),
    ("How are you?", "I am fine, thank you."),
    ("What can you do?", "I can answer short questions."),
    ("Who made you?", "I was trained from scratch with MLX."),
)
REFUSAL = "Sorry, I do not know that."
FIRST_SYLLABLES = (
    "al", "ba", "co", "da", "el", "fi", "go", "ha", "in", "jo", "ka", "lu", "ma", "no", "or", "pa", "qui", "ro", "sa", "ti",
    "ul", "ve", "wi", "xe", "yo", "za", "nor", "bel", "cor", "dun", "fal", "gren", "hol", "kor", "lan", "mar", "pel",
    "ster", "tor", "van",
)  # fmt: skip
LAST_SYLLABLES = (
    "wind", "tech", "soft", "works", "labs", "line", "gate", "stone", "field", "base", "craft", "wave", "point", "net",
    "core", "mark", "bridge", "cloud", "grid", "ware",
)  # fmt: skip
TOPICS = (
    "return policy", "opening hours", "head office", "founder", "support email", "refund period", "main product", "warranty",
    "phone number", "shipping time", "slogan", "price of the basic plan", "number of staff", "first customer", "holiday rule",
    "password rule", "boss", "office dog", "lunch menu", "parking rule", "delivery fee", "discount code", "annual goal", "mascot",
    "next release", "meeting day", "dress code", "travel budget", "best seller", "motto",
)  # fmt: skip
COMPANY = "Norvik"
FACTS = {
    "return policy": "45 days", "opening hours": "8 to 18", "head office": "Porto", "founder": "Mara Lind",
    "support email": "help@norvik.example", "warranty": "3 years", "main product": "the Norvik kettle", "shipping time": "2 days",
    "slogan": "Boil it better", "office dog": "Biscuit", "mascot": "a green fox", "number of staff": "212",
}  # fmt: skip
