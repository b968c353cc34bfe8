// Judges a whole bundle (docs/protocol.md §11.2) and says what it shows (§11.3).
import { getEncoded } from 'cbor2'
import { Wrong, byGateway, cbor, hash, hex, items, keyOf, open, require_, same, signedBy } from './signed.js'
import { readings } from './payload.js'

// §9
const FLAGS = {
  1: 'quality_range', 2: 'quality_jump', 4: 'quality_frozen',
  8: 'quality_warming_up', 16: 'quality_retried', 32: 'quality_clamped',
  64: 'calibration_expired', 128: 'quality_cross_check', 256: 'quality_late', 512: 'quality_reopened'
}

export async function verify (file, gatewayKeys) {
  const proofs = [], receipts = [], certificates = [], turns = [], gaps = [], flags = {}, unreadable = {}
  const beacons = new Map(), descriptors = new Map(), apart = new Map()
  let device, network, joined, lost = 0, count = 0, key = {}
  async function turn (bytes, of) { // a change of the device's key (§8.4)
    let outer, fields
    try {
      outer = open(bytes)
      const inner = open(outer.payload)
      const [log, seq, next, after] = [1, 2, 3, 4].map((label) => cbor(inner.payload).get(label))
      require_(outer.typ === 'rotation' && inner.typ === 'new-key' && inner.claims.get(1) === outer.claims.get(1))
      require_(!of || (same(log, of.get(-70001)) && seq === of.get(-70002) && outer.claims.get(1) === of.get(1)))
      fields = { log, seq, next, after, repeated: same(next, key.now) }
    } catch (error) { throw new Wrong('bad_rotation', error.message) }
    require_(outer.claims.get(1) === device, 'unknown_device', 'a rotation of another device')
    try {
      await signedBy(outer, [fields.repeated ? key.before : key.now])
      await signedBy(open(outer.payload), [fields.next])
      require_(!key.after || key.after === (fields.repeated ? hex(fields.after) : hash(fields.next)))
    } catch (error) { throw new Wrong('bad_rotation', error.message) }
    if (fields.repeated) return
    turns.push({ log: hex(fields.log), seq: fields.seq, kid: hash(fields.next).slice(0, 16), confirmed: proofs.length })
    key = { now: fields.next, after: hex(fields.after), before: key.now }
  }
  async function take (n, bytes) {
    if (n === 0) {
      const header = cbor(bytes)
      require_(header instanceof Map && [...header.keys()].join() === '1,2,3' && header.get(1) === 1, 'malformed', 'the header')
      ;[device, network, key] = [header.get(2), header.get(3), { now: keyOf(header.get(2)) }]
      return
    }
    const object = bytes[0] === 0xa6 ? { typ: 'descriptor' } : open(bytes), { typ, claims } = object
    require_(joined || typ === 'membership', 'malformed', 'the membership must come first')
    if (typ === 'membership') {
      const gateway = await byGateway(object, gatewayKeys), said = cbor(object.payload)
      require_(said.get(1) === device && claims.get(2) === device, 'unknown_device', 'the header names another', 0)
      require_(said.get(2) === network, 'wrong_network', 'the header names another', 0)
      joined = { gateway, kind: said.get(3), keys: said.get(4) }
    } else if (typ === 'descriptor') {
      require_(cbor(bytes).get(6), 'malformed', 'not a descriptor')
      descriptors.set(hash(bytes), cbor(bytes))
      apart.set(hash(bytes), n)
    } else if (typ === 'beacon') {
      await byGateway(object, joined.keys)
      require_(cbor(object.payload).get(3) === network, 'wrong_network', 'a beacon of another network')
      beacons.set(object.hash, claims.get(6))
    } else if (typ === 'receipt') {
      await byGateway(object, joined.keys, device)
      const [log, seq, head, , , at] = [1, 2, 3, 4, 5, 6].map((label) => cbor(object.payload).get(label))
      receipts.push({ place: `${hex(log)} ${seq} ${head && hex(head)}`, log: hex(log), seq, at })
    } else if (typ === 'calibration') {
      await signedBy(object, [keyOf(claims.get(1))])
      certificates.push({ said: cbor(object.payload), calibrator: claims.get(1), hash: object.hash })
    } else if (typ === 'rotation') {
      require_(!proofs.length, 'malformed', 'a rotation outside a proof must come before the proofs')
      await turn(bytes)
    } else if (typ === 'proof') {
      require_(object.content === 112, 'malformed', 'content type')
      if (claims.has(-70008)) await turn(claims.get(-70008), claims)
      await signedBy(object, [key.now])
      require_(claims.get(1) === device, 'unknown_device', 'a proof of another device')
      require_(claims.get(3) === network, 'wrong_network', 'sealed for another network')
      try { // one whose readings cannot be read keeps its place (§4.12)
        const [found, bits] = readings(object.payload, device)
        count += found
        for (const field of bits) for (const bit in FLAGS) if (field & bit) flags[FLAGS[bit]] = (flags[FLAGS[bit]] ?? 0) + 1
      } catch (error) {
        if (!(error instanceof Wrong)) throw error
        unreadable[error.code] = (unreadable[error.code] ?? 0) + 1
      }
      const described = claims.get(-70005), carried = described instanceof Map
      const descriptor = carried ? hash(getEncoded(described)) : hex(described)
      if (carried) descriptors.set(descriptor, described)
      const declared = (claims.get(-70006) ?? []).map(([first, last, , end, reason]) => ({ log: hex(claims.get(-70001)), first: BigInt(first), last: BigInt(last), end: hex(end), reason }))
      gaps.push(...declared)
      for (const loss of claims.get(-70007) ?? []) lost += Number(loss[3])
      const named = claims.has(10) && [claims.get(10)].flat()[0]
      proofs.push({ n, log: hex(claims.get(-70001)), seq: BigInt(claims.get(-70002)), prev: claims.get(-70003), hash: object.hash, boots: claims.get(267), descriptor, beacon: named && hex(named) })
    } else throw new Wrong('wrong_typ', `a ${typ} does not belong in a bundle`)
  }
  const elsewhere = [], begins = [0], left = new Set()
  function follows (before, proof, i) { // §4.7, §11.2
    const named = Array.isArray(proof.prev) ? { log: hex(proof.prev[0]), head: proof.prev[1] && hex(proof.prev[1]), reason: proof.prev[2] } : undefined
    if (left.has(proof.log)) return false
    if (proof.log !== before.log) {
      left.add(before.log)
      if (named && (named.log !== before.log || named.reason === 'superseded')) elsewhere.push(named)
      if (named?.head !== before.hash) begins.push(i)
      return named && proof.seq === 1n
    }
    const reached = gaps.filter((gap) => gap.log === proof.log).sort((a, b) => Number(a.first - b.first))
      .reduce((at, gap) => (gap.first <= at.seq + 1n && at.seq + 1n <= gap.last ? { seq: gap.last, hash: gap.end } : at), before)
    const at = proof.seq <= reached.seq ? before : reached
    return proof.boots >= before.boots && proof.seq === at.seq + 1n && hex(proof.prev ?? []) === at.hash
  }
  for (const [n, bytes] of items(file)) {
    try { await take(n, bytes) } catch (error) {
      throw error instanceof Wrong ? new Wrong(error.code, error.message, error.number ?? n) : new Wrong('malformed', error.message, n)
    }
  }
  require_(joined && proofs.length, 'malformed', 'the bundle holds no proof', 0)
  for (let i = 1; i < proofs.length; i++) require_(follows(proofs[i - 1], proofs[i], i), 'broken_chain', `seq ${proofs[i].seq}`, proofs[i].n)
  for (const [named, n] of apart) require_(proofs.some((proof) => proof.descriptor === named), 'malformed', 'a descriptor that no proof names', n)

  const first = proofs[0], last = proofs.at(-1), places = new Map(proofs.map((p, i) => [`${p.log} ${p.seq} ${p.hash}`, i]))
  const covering = receipts.filter((receipt) => places.has(receipt.place))
  const covered = Math.max(-1, ...covering.map((receipt) => places.get(receipt.place)))
  const least = (times) => (times.length ? times.reduce((a, b) => (a < b ? a : b)) : null)
  const most = (times) => (times.length ? times.reduce((a, b) => (a > b ? a : b)) : null)
  const parts = begins.map((begin, i) => { // each dated by its first proof's beacon and its last one's receipts (§11.3)
    const mine = proofs.slice(begin, begins[i + 1]), end = begin + mine.length - 1, named = mine.find((p) => beacons.has(p.beacon))
    return {
      first_log: mine[0].log, first_seq: mine[0].seq, last_log: mine.at(-1).log, last_seq: mine.at(-1).seq,
      signed_after_s: beacons.get(mine[0].beacon) ?? null,
      signed_before_s: least(covering.filter((r) => places.get(r.place) === end).map((r) => r.at)),
      beacon: named ? { log: named.log, seq: named.seq, issued_s: beacons.get(named.beacon) } : null
    }
  })
  const all = (of, field) => { // what holds for every part
    const times = parts.map((part) => part[field])
    return times.includes(null) ? null : of(times)
  }
  const described = proofs.map((proof) => descriptors.get(proof.descriptor)).filter(Boolean)
  const classes = [...new Set(described.map((d) => d.get(3)))].sort()
  if (described.length < proofs.length) classes.push('not stated')
  const instruments = (described.at(-1)?.get(6) ?? []).map((i) => {
    const mine = i.get(8).flatMap(([quantity]) => certificates.filter((c) => c.said.get(2) === quantity && c.said.get(1).join() === [i.get(5), i.get(6), i.get(7)].join()).slice(-1))
    const combined = mine.length > 1 ? hash(Buffer.from(mine.map((c) => c.hash).join(''), 'hex')) : mine[0]?.hash
    const named = i.get(9) && combined === hex(i.get(9)) ? mine : []
    const calibrations = named.map((c) => ({ quantity: c.said.get(2), calibrator: c.calibrator, issued_s: c.said.get(10), expires_s: c.said.get(11) }))
    return { name: i.get(1), model: i.get(5), serial: i.get(6), calibrated: i.get(9) !== null, calibrations }
  })
  return {
    valid: true, device, network, network_kind: joined.kind, gateway: joined.gateway,
    key_class: classes.join(', '), simulated: described.some((d) => d.get(4)) || (described.length < proofs.length ? null : false),
    proofs: proofs.length, readings: count, unreadable, first_seq: first.seq, last_seq: last.seq,
    parts, signed_after_s: all(least, 'signed_after_s'), signed_before_s: all(most, 'signed_before_s'),
    receipted_seq: most(covering.filter((r) => r.log === last.log).map((r) => r.seq)) ?? 0,
    turns: turns.map((t) => ({ ...t, confirmed: covered >= t.confirmed })), elsewhere,
    gaps: gaps.map(({ first, last, reason }) => ({ first_seq: first, last_seq: last, reason })), lost, flags, instruments
  }
}
