"""Networks made usable: pSp, the shipped files, official files, runs of a training, and `load`, which takes all of them."""
