"""Figure at the top of the book: the first sixteen people of the test split, none chosen."""

from pspnb import facets
from pspnb.show.figures import image_grid


def draw():
    people = facets.render(facets.sample_factors("test", range(16)), 128)
    return image_grid(people.image, columns=8, cell=1.05, gap=0.04)
