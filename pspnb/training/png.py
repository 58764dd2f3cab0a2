"""Moved to `pspnb.files.pictures`; these names stay here until every module asks there."""

from pspnb.files.pictures import grid as grid
from pspnb.files.pictures import write_png as write_png
