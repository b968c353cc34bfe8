"""Instruments: chips, buses and what they measured. Knows nothing of signing or networks.

How to write a driver. One file per part, read in this order:

1. reference: maker, document number, revision; every constant below cites a section of it
2. register or frame table
3. identity: what makes this specimen distinguishable (serial number, factory trim)
4. raw read with its checksum, or a note that the part has none
5. decode: raw words to quantities, `None` for what was not measured
6. one method per command

- A driver implements `contract.Instrument` and raises only `errors.DriverError`.
- Its bus and its clock are arguments. Every wait has a deadline on that clock.
- Hardware libraries are imported when a bus is opened, never when a module is imported.
- It is listed in `catalogue.py` and tested on a virtual chip and on recorded bytes.
"""
