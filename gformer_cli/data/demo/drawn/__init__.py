"""Data sets of drawings: what free packages hold, read, drawn and, on demand, photographed by simulated cameras.

`packages` fetches and unpacks, `icons`, `fonts`, `pictures` and `svg` draw what is in them, `camera` photographs.
`picture_set` says what a data set of drawings is; `icon_set`, `letter_set` and `sticker_set` are three of them.
"""
