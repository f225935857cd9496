"""Shares and times as people write them."""

from fogline.errors import InvalidInput

_UNITS_S = {"s": 1, "m": 60, "h": 3600}


def read_share(text: str) -> float:
    """A share of a text such as `0.5%` or `0.005`.

    Raises:
        InvalidInput: it is none between 0 and 1.

    >>> read_share("0.5%"), read_share("0.25")
    (0.005, 0.25)
    """
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InvalidInput(f"{text[:40]!r} is no share: write 0.5% or 0.005")
    return share


def read_time(text: str) -> float:
    """Seconds of a text such as `10m`, `90s` or `90`.

    Raises:
        InvalidInput: it is none between a second and a day.

    >>> read_time("10m"), read_time("90")
    (600.0, 90.0)
    """
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS_S else (text, "s")
    try:
        seconds = float(number) * _UNITS_S[unit]
    except ValueError:
        seconds = -1.0
    if not 1 <= seconds <= 86_400:
        raise InvalidInput(f"{text[:40]!r} is no time: write 90s, 10m or 2h, up to a day")
    return seconds
