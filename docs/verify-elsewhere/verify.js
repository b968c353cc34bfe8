// A second verifier of Fieldproof's evidence bundles. It shares no code with the first.
// usage: node verify.js BUNDLE GATEWAY_KEY_IN_HEX...   prints JSON; exit code 0 where the bundle is good, else 2
import { readFileSync } from 'node:fs'
import { verify } from './bundle.js'
import { json } from './signed.js'

function given ([name, ...keys]) {
  if (!keys.length || !keys.every((key) => /^[0-9a-f]{64}$/i.test(key))) {
    throw new Error('Give it a bundle and the public key of a gateway, 64 hex digits: node verify.js BUNDLE KEY...')
  }
  try { return [readFileSync(name), keys.map((key) => Buffer.from(key, 'hex'))] } catch (error) {
    throw new Error(`Cannot read ${name}: ${error.code}.`)
  }
}

try {
  const said = await verify(...given(process.argv.slice(2))).catch((error) => {
    process.exitCode = 2
    return { valid: false, code: error.code, object: { number: error.number }, detail: error.message }
  })
  console.log(json(said, 1))
} catch (error) {
  process.exitCode = 2
  console.error(error.message)
}
