"""From one image file to the pixels that a network is given."""
