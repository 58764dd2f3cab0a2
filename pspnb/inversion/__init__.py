"""From a picture to codes without an encoder."""
