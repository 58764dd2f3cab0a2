"""The one loop, the steps it repeats (encoder, GAN, imitation, instruments), what they read. Chapter: "Training the encoder"."""
