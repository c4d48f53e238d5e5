"""From the mask of one slice to the mask of the next, until the structure ends."""
