"""Numbers that the prose quotes, as `{{ name }}`: all of them counted from the library when the book is built."""

from _receptive import receptive_fields
from balance import BINS, strongest_correlation, tone_counts, training_identities
from parameters import parts


def values() -> dict[str, str]:
    """Name -> text."""
    encoder = {name: millions for name, millions, _ in parts()["pSp encoder"]}
    total = sum(encoder.values())
    heads = total - encoder["backbone"] - encoder["lateral"]
    (c1, _), (c2, _), (c3, _) = receptive_fields()
    people = training_identities()
    counts = tone_counts(people)
    related, correlation = strongest_correlation(people)
    return {
        "tone_bins": str(BINS),
        "tone_fewest": str(counts.min()),
        "tone_most": str(counts.max()),
        "tone_people": f"{counts.sum():,}",
        "tone_related": related.replace("_", " "),
        "tone_correlation": f"{correlation:.3f}",
        "psp_parameters": f"{total:.0f} million",
        "psp_heads_share": f"{heads / total:.0%}".replace("%", " %"),
        "field_c1": str(c1),
        "field_c2": str(c2),
        "field_c3": str(c3),
    }
