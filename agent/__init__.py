"""The device daemon: sample -> journal -> seal -> publish -> receipt.

Read `node.py` first: it is the one page that composes the parts.
"""
