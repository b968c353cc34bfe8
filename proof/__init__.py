"""What is signed and how it is checked.

- Pure: no input or output, no clock, no threads. Bytes and a time go in, a value or a verdict comes out.
- Device and verifier share this package and nothing else.
- Layers, lowest first: `cbor` and `keys`; `cose` (signed objects, §2); `senml` (payload, §3.3);
  `claims` and `sealing` (a proof, §3); `wire` (bytes on MQTT, §7); `receipt`, `beacon`, `challenge`,
  `joining` (§5, §6, §8); `chain` and `verify` (§4); `bundle` (§11). `reasons` (§10) serves them all.
"""
