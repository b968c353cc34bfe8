// The readings of a proof (docs/protocol.md §3.3): their number and quality flags, or why they cannot be read.
import { Tag } from 'cbor2'
import { Wrong, cbor, require_ } from './signed.js'

// RFC 8428 §12.1 and RFC 8798
const UNITS = new Set(`
m kg g s A K cd mol Hz rad sr N Pa J W C V F Ohm S Wb T H Cel lm lx Bq Gy Sv kat m2 m3 l m/s m/s2 m3/s l/s W/m2
cd/m2 bit bit/s lat lon pH dB dBW Bspl count / % %RH %EL EL 1/s 1/min beat/min beats S/m B VA VAs var vars J/m
kg/m3 deg NTU ms min h MHz kW kVA kvar Ah Wh kWh varh kvarh kVAh Wh/km KiB GB Mbit/s B/s MB/s mV mA dBm ug/m3
mm/h m/h ppm /100 /1000 hPa mm cm km km/h ppb
`.trim().split(/\s+/))
const LABELS = new Set([-2, -3, -4, -5, 0, 1, 2, 6, 8])
const is = (holds, detail) => require_(holds, 'bad_payload', detail)

function number (x) {
  if (x instanceof Tag) {
    const [exponent, mantissa] = x.tag === 4 ? x.contents : []
    is(exponent >= -18 && exponent <= 18 && /^-?\d{1,30}$/.test(String(mantissa)), 'not a plain decimal')
    return Number(`${mantissa}e${exponent}`)
  }
  is(typeof x === 'bigint' ? x < 2n ** 63n && x > -(2n ** 63n) : typeof x === 'number' && Math.abs(x) < 1e30, 'not a number')
  return Number(x)
}

export function readings (payload, device) { // [how many, [the flags of each that has some]]
  let pack
  try { pack = cbor(payload) } catch (error) { throw new Wrong('bad_payload', error.message) }
  is(Array.isArray(pack) && pack.length <= 4096 && payload.length <= 262144, 'not an array of at most 4096 records')
  const base = new Map([[-2, ''], [-3, 0], [-5, 0]]), flags = []
  let count = 0, row, seen
  for (const record of pack) {
    is(record instanceof Map && [...record.keys()].every((label) => LABELS.has(label)) && record.has(2) !== record.has(8), 'not a record with one value')
    for (const label of [-2, -3, -4, -5]) if (record.has(label)) base.set(label, record.get(label))
    const parts = [base.get(-2), record.has(0) ? record.get(0) : '']
    is(parts.every((text) => typeof text === 'string') && parts.join('').startsWith(`${device}/`), 'a name')
    const [, instrument, quantity] = /^([a-z0-9][a-z0-9-]{0,31})\/([a-z0-9][a-z0-9._-]{0,31})$/.exec(parts.join('').slice(device.length + 1)) ?? []
    is(instrument, 'a name')
    const time = Math.round((number(base.get(-3)) + number(record.has(6) ? record.get(6) : 0)) * 1000)
    is(time >= 2 ** 28 * 1000 && time < 2 ** 40 * 1000, 'a time')
    const value = record.get(2), raw = record.get(8)
    if (record.has(8)) {
      is(quantity === 'raw' && raw instanceof Uint8Array && raw.length > 0 && raw.length <= 64, 'raw words')
    } else if (quantity === 'quality') {
      is(Number.isInteger(value) && value > 0 && value <= 65535, 'a quality field')
      flags.push(value)
    } else {
      require_(UNITS.has(record.has(1) ? record.get(1) : base.get(-4)), 'unknown_unit')
      number(value)
      if (base.get(-5) !== 0) number(base.get(-5))
    }
    if (row !== `${instrument} ${time}`) {
      [row, seen] = [`${instrument} ${time}`, new Set()]
      count++
    }
    const name = record.has(8) ? 'vd' : quantity
    is(!seen.has(name), 'a name that is written twice for one time')
    seen.add(name)
  }
  return [count, flags]
}
