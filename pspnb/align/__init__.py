"""FFHQ alignment: from a photograph to the square, upright, centred face that every face model here expects.

Source: the recipe of the FFHQ data set as the pSp scripts apply it: an oriented square from the eyes and the mouth,
then shrink, crop, pad (reflection that fades into blur and the median colour), and one bilinear resampling.
Chapter: "Bring your own photo".

Differences from the published script: any image mode and EXIF orientation are accepted (see `files.images`), a missing face
is an error that names the file, the largest face is taken where there are several (published: the last one found), and
the detector is YuNet, whose five points are enough for the recipe (published: dlib's 68).
"""

from pspnb.align.crop import Plan, align, align_quad, ffhq_quad, plan
from pspnb.align.faces import Face, FaceDetector, upright_face
from pspnb.align.photographs import MAX_SIZE, align_file, align_folder

__all__ = [
    "MAX_SIZE",
    "Face",
    "FaceDetector",
    "Plan",
    "align",
    "align_file",
    "align_folder",
    "align_quad",
    "ffhq_quad",
    "plan",
    "upright_face",
]
