import { createPrivateKey, createPublicKey, generateKeyPairSync, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EdgewiseError, InputError, IntegrityError } from '../../../src/core/errors.ts'
import {
  acceptedKeys,
  addSignature,
  formatEnvelope,
  keyIdOf,
  openEnvelope,
  parseEnvelope,
  payloadOf,
  preAuthentication,
  readPublicKey,
  readSigningKey,
  signEnvelope,
} from '../../../src/core/trust/dsse.ts'

const IN_TOTO = 'application/vnd.in-toto+json'
const STATEMENT = 'eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEifQ=='
const STATEMENT_SIG =
  '2WAfaHm5jluo0w+0rk8uVkluELJYWjSmU9x7EUzx+AyteDGJ4/nqyJXfmAUVFIAoQafWm7AxBZNw5M9ixNHiCA=='

/** An Ed25519 key from its 32-byte seed (RFC 8410's PKCS #8 in front of it). */
function keyOfSeed(seed: string): KeyObject {
  const der = Buffer.from(`302e020100300506032b657004220420${seed}`, 'hex')
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
}

// Keys of RFC 8032, 7.1 (TEST 1 and 2), as in testvectors/vectors.json of secure-systems-lab/dsse.
const A = keyOfSeed('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60')
const B = keyOfSeed('4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb')
const [openA, openB] = [A, B].map((key) => createPublicKey(key))

/** id, payload type, payload, signature of A, whether it is to be accepted as `IN_TOTO` or its own type. */
const VECTORS: readonly (readonly [string, string, string, string, boolean])[] = [
  ['single-signature', IN_TOTO, STATEMENT, STATEMENT_SIG, true],
  [
    'url-safe-base64',
    IN_TOTO,
    '-_-_Pj8=',
    'P-_KHICeR7tI6S_YyejJTRtrXhcQyQ2LYPaL8h90KjC9qN8HU_svOQ6TuDOT1HIrsGW886DbWNWcCmX5twLrAw==',
    true,
  ],
  ['payload-type-swapped', 'application/vnd.example.other+json', STATEMENT, STATEMENT_SIG, false],
  [
    'non-ascii-payload-type',
    'application/vnd.exämple+json',
    STATEMENT,
    'xmSk/ug66ysT7ayhkCIjhAq42zgZXSsEWuzUaNL7w2eGAdF/NU6/fRXPtmfN+5DNSAs5/i2lUnHjbbjPsu0tAw==',
    true,
  ],
  [
    'empty-payload',
    IN_TOTO,
    '',
    'gSggCAaTLTYyRH6FIDBem6meyIynsYy8RTHVzwx9tnTb7Bg/1jMWnuVgI/gffqmbsC2VX5/jHfkkDqsj7CDbDg==',
    true,
  ],
]

describe('the specification', () => {
  test('encodes before signing as its example says', () => {
    expect(preAuthentication('http://example.com/HelloWorld', Buffer.from('hello world')).toString()).toBe(
      'DSSEv1 29 http://example.com/HelloWorld 11 hello world',
    )
  })

  test('has an ECDSA example whose signature is over these bytes', () => {
    const coordinate = (decimal: string) =>
      Buffer.from(BigInt(decimal).toString(16).padStart(64, '0'), 'hex').toString('base64url')
    const key = createPublicKey({
      format: 'jwk',
      key: {
        kty: 'EC',
        crv: 'P-256',
        x: coordinate('46950820868899156662930047687818585632848591499744589407958293238635476079160'),
        y: coordinate('5640078356564379163099075877009565129882514886557779369047442380624545832820'),
      },
    })
    const signature =
      'A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=='
    const bytes = preAuthentication('http://example.com/HelloWorld', Buffer.from('hello world'))
    const options = { key, dsaEncoding: 'ieee-p1363' } as const
    expect(verify('sha256', bytes, options, Buffer.from(signature, 'base64'))).toBe(true)
  })

  test.each(VECTORS)('vector %s', (_id, payloadType, payload, sig, accepted) => {
    const envelope = parseEnvelope(
      JSON.stringify({ payload, payloadType, signatures: [{ sig, keyid: 'A' }] }),
      'v',
    )
    expect(acceptedKeys(envelope, payloadType, [openA, openB])).toEqual(accepted ? [keyIdOf(A)] : [])
    // Ed25519 is deterministic: signing gives the vector's signature, where it is one over these bytes.
    const own = signEnvelope(payloadType, payloadOf(envelope), A).signatures[0].sig
    expect(Buffer.from(own, 'base64').equals(Buffer.from(sig, 'base64'))).toBe(accepted)
  })

  test('counts a key once however often it signs, and two keys as two', () => {
    const one = parseEnvelope(
      JSON.stringify({
        payload: STATEMENT,
        payloadType: IN_TOTO,
        signatures: [{ sig: STATEMENT_SIG }, { sig: STATEMENT_SIG }],
      }),
      'v',
    )
    expect(acceptedKeys(one, IN_TOTO, [openA, openB])).toEqual([keyIdOf(A)])
    const two = addSignature(signEnvelope(IN_TOTO, payloadOf(one), A), B, 'v')
    expect(acceptedKeys(two, IN_TOTO, [openA, openB])).toEqual([keyIdOf(A), keyIdOf(B)])
    expect(addSignature(two, B, 'v').signatures).toHaveLength(2)
  })
})

describe('an envelope', () => {
  const payload = Buffer.from('{"a": 1}')
  const envelope = signEnvelope('x/y', payload, A)

  test('opens for the key that signed it, through its text', () => {
    const read = parseEnvelope(formatEnvelope(envelope), 'e')
    expect(openEnvelope(read, 'x/y', [openB, openA], 'e')).toEqual({ payload, keyIds: [keyIdOf(A)] })
  })

  test('does not open for another key, another type, or none, and names what was expected', () => {
    const refusal = (type: string, keys: KeyObject[]): string => {
      try {
        openEnvelope(envelope, type, keys, 'e.json')
      } catch (error) {
        expect(error).toBeInstanceOf(IntegrityError)
        return (error as Error).message
      }
      throw new Error('it opened')
    }
    expect(refusal('x/y', [openB])).toContain(`signed by ${keyIdOf(B)}`)
    expect(refusal('x/y', [openB])).toContain(keyIdOf(A).slice(0, 40))
    expect(refusal('x/z', [openA])).toContain('payload type "x/y"')
    expect(refusal('x/y', [])).toContain('none is given')
  })

  test('with any changed bit of payload, type or signature is accepted by nobody', () => {
    const flip = (bytes: Buffer, bit: number): Buffer => {
      const changed = Buffer.from(bytes)
      changed[(bit >> 3) % changed.length] ^= 1 << (bit & 7)
      return changed
    }
    const signature = Buffer.from(envelope.signatures[0].sig, 'base64')
    fc.assert(
      fc.property(fc.nat(511), fc.constantFrom('payload', 'sig', 'type'), (bit, what) => {
        const changed = parseEnvelope(
          JSON.stringify({
            payload: (what === 'payload' ? flip(payload, bit) : payload).toString('base64'),
            payloadType: what === 'type' ? 'x/z' : 'x/y',
            signatures: [{ sig: (what === 'sig' ? flip(signature, bit) : signature).toString('base64') }],
          }),
          'e',
        )
        expect(acceptedKeys(changed, changed.payloadType, [openA])).toEqual([])
      }),
    )
  })

  test('whose text is anything at all is read or refused as input', () => {
    const text = formatEnvelope(envelope)
    const spoiled = fc
      .tuple(fc.nat(text.length - 1), fc.nat(20), fc.string({ maxLength: 6 }))
      .map(([at, gone, put]) => text.slice(0, at) + put + text.slice(at + gone))
    fc.assert(
      fc.property(fc.oneof(spoiled, fc.string(), fc.json()), (candidate) => {
        try {
          const read = parseEnvelope(candidate, 'e')
          for (const id of acceptedKeys(read, 'x/y', [openA])) {
            expect(id).toBe(keyIdOf(A))
            expect(payloadOf(read).equals(payload)).toBe(true)
          }
        } catch (error) {
          expect(error).toBeInstanceOf(EdgewiseError)
        }
      }),
      { numRuns: 2000 },
    )
  })

  test.each([
    ['no signatures', { ...envelope, signatures: [] }],
    ['more signatures than 16', { ...envelope, signatures: Array(17).fill(envelope.signatures[0]) }],
    ['a payload that is no base64', { ...envelope, payload: 'a b' }],
    ['no type', { payload: envelope.payload, signatures: envelope.signatures }],
  ])('with %s is refused', (_what, value) => {
    expect(() => parseEnvelope(JSON.stringify(value), 'e')).toThrow(InputError)
  })
})

describe('keys', () => {
  const pem = (key: KeyObject): string =>
    key.export({ format: 'pem', type: key.type === 'private' ? 'pkcs8' : 'spki' }) as string

  test('are read from PEM, and named by their public half', () => {
    expect(keyIdOf(readSigningKey(pem(A), 'a'))).toBe(keyIdOf(readPublicKey(pem(openA), 'a')))
    expect(keyIdOf(A)).toMatch(/^[0-9a-f]{64}$/)
  })

  test('of another kind, or in the wrong place, are refused', () => {
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    expect(() => readPublicKey(pem(other.publicKey), 'k')).toThrow(/Ed25519[\s\S]*type ec/)
    expect(() => readSigningKey(pem(other.privateKey), 'k')).toThrow(/type ec/)
    expect(() => readPublicKey(pem(A), 'k')).toThrow(/a private key[\s\S]*stays where it signs/)
    expect(() => readSigningKey(pem(openA), 'k')).toThrow(InputError)
    expect(() => readPublicKey('no key', 'k')).toThrow(InputError)
  })
})
