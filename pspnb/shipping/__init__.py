"""From a finished run to the file that is shipped: weights in half precision, a card with what was measured. `make weights`."""
