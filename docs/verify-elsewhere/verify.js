// A second verifier of Fieldproof's evidence bundles. It shares no code with the first.
// usage: node verify.js BUNDLE GATEWAY_KEY_IN_HEX...   prints JSON; exit code 0 where the bundle is good, else 2
import { readFileSync } from 'node:fs'
import { verify } from './bundle.js'

const [name, ...keys] = process.argv.slice(2)
verify(readFileSync(name), keys.map((key) => Buffer.from(key, 'hex'))).catch((error) => {
  process.exitCode = 2
  return { valid: false, code: error.code, object: { number: error.number }, detail: error.message }
}).then((said) => console.log(JSON.stringify(said, (_, value) => (typeof value === 'bigint' ? Number(value) : value), 1)))
