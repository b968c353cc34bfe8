"""The device daemon: sample -> journal -> seal -> publish -> receipt.

Read `node.py` first: it is the one page that composes the parts.
"""

__version__ = "0.1.0"  # the distribution's too: pyproject.toml reads it here
