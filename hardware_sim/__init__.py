"""Virtual buses, chips, serial devices and worlds: the node runs on them unmodified.

- Parts are modelled from their makers' documents, never from our drivers.
- Time comes from an argument, randomness from a seed: a run repeats exactly.
- A world holds true values; a part turns them into the words its maker documents.
"""
