// What is signed, and by whom (docs/protocol.md §1.1, §2, §11.1): a bundle's objects, one by one.
import { createHash, createPublicKey } from 'node:crypto'
import { createRequire } from 'node:module'
import { Tag, decode } from 'cbor2'

const { Algorithms, Sign1 } = createRequire(import.meta.url)('@auth0/cose') // Node 18 cannot load its other form

export class Wrong extends Error { constructor(code, detail = '', number) { super(detail); Object.assign(this, { code, number }) } }
export const require_ = (holds, code, detail, number) => { if (!holds) throw new Wrong(code, detail, number) }
export const hash = (bytes) => createHash('sha256').update(bytes).digest('hex')
export const hex = (bytes) => Buffer.from(bytes).toString('hex')
export const same = (a, b) => a instanceof Uint8Array && b instanceof Uint8Array && hex(a) === hex(b)
const STRICT = { cde: true, rejectDuplicateKeys: true, rejectUndefined: true, preferMap: true, saveOriginal: true, maxDepth: 16 }
export const cbor = (bytes) => { try { return decode(bytes, STRICT) } catch (error) { throw new Wrong('malformed', error.message) } }
// integers of any size as they are
export const json = (said, indent) => JSON.stringify(said, (_, x) => (typeof x === 'bigint' ? `\0${x}` : x), indent).replace(/"\\u0000(\d+)"/g, '$1')

const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
export function keyOf (did) { // did:key of an Ed25519 key -> 32 bytes (§1.1)
  require_(/^did:key:z[1-9A-HJ-NP-Za-km-z]{47}$/.test(did), 'malformed', 'not a did:key')
  const raw = [...did.slice(9)].reduce((n, c) => n * 58n + BigInt(ALPHABET.indexOf(c)), 0n).toString(16)
  require_(raw.length === 68 && raw.startsWith('ed01'), 'malformed', 'not a did:key of an Ed25519 key')
  return Buffer.from(raw.slice(4), 'hex')
}
function didOf (key) {
  let rest = BigInt(`0xed01${hex(key)}`), text = ''
  for (; rest; rest /= 58n) text = ALPHABET[Number(rest % 58n)] + text
  return `did:key:z${text}`
}

export function open (bytes) { // shape of a signed object (§2.1-2.5)
  const outer = cbor(bytes), [protectedHeader, unprotected, payload, signature] = outer?.contents ?? []
  require_(outer instanceof Tag && outer.tag === 18 && outer.contents.length === 4 && unprotected instanceof Map && unprotected.size === 0 &&
    payload instanceof Uint8Array && signature?.length === 64, 'malformed', 'not a tagged COSE_Sign1')
  const header = cbor(protectedHeader)
  require_(header instanceof Map && [...header.keys()].join() === '1,3,4,15,16' && [-8, -19].includes(header.get(1)) &&
    header.get(4) instanceof Uint8Array && header.get(4).length === 8 &&
    header.get(15) instanceof Map, 'malformed', 'the protected header')
  const typ = /^application\/fieldproof-([a-z-]+)\+cose$/.exec(header.get(16))?.[1]
  return { bytes, typ, kid: header.get(4), claims: header.get(15), payload, hash: hash(bytes), content: header.get(3) }
}
export async function signedBy (object, keys) { // the one of `keys` that signed it (§4.3, §4.4)
  const key = keys.find((key) => key && hash(key).slice(0, 16) === hex(object.kid))
  require_(key, 'bad_key', `kid ${hex(object.kid)}`)
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(key).toString('base64url') }
  try {
    await Sign1.decode(object.bytes).verify(createPublicKey({ key: jwk, format: 'jwk' }), { algorithms: [Algorithms.EdDSA] })
  } catch (error) { throw new Wrong('bad_signature', error.message) }
  return key
}
export async function byGateway (object, keys, device) {
  const gateway = didOf(await signedBy(object, keys))
  require_(object.claims.get(1) === gateway, 'bad_key', 'the issuer is not the signing gateway')
  require_(!device || object.claims.get(2) === device, 'unknown_device', 'of another device')
  return gateway
}

export function * items (file) { // a CBOR sequence of byte strings in their shortest form (§11.1)
  for (let at = 0, n = 0, size; at < file.length; at += size, n++) {
    const width = { 0x58: 1, 0x59: 2, 0x5a: 4 }[file[at]] ?? 0
    require_(width || (file[at] >= 0x40 && file[at] < 0x58), 'malformed', 'a byte string was expected', n)
    require_(at + 1 + width <= file.length, 'malformed', `the file ends within object ${n}`, n)
    size = width ? file.readUIntBE(at + 1, width) : file[at] & 31
    require_(size >= [0, 24, 256, 0, 65536][width], 'malformed', 'not the shortest form', n)
    require_(size <= (n ? 266240 : 256), 'too_large', `it says that it has ${size} bytes`, n)
    at += 1 + width
    require_(at + size <= file.length, 'malformed', `the file ends within object ${n}`, n)
    yield [n, file.subarray(at, at + size)]
  }
}
