"""A peer written from protocol/WIRE.md alone, to find out whether that page is enough: run it by `python3 -m stranger`.

Nothing here may be looked up in the C code. Where the page does not say it, the page is mended.
"""
