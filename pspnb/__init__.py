"""pspnb."""
