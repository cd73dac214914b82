"""stub"""

CARD = "MODEL_CARD.md"


def write_card(*a, **k):
    pass
