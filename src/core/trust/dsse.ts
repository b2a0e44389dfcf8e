import { createHash, createPrivateKey, createPublicKey, sign, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { z } from 'zod'
import { InputError, IntegrityError, show } from '../errors.ts'
import { check, parseJson } from '../schema.ts'

/**
 * Signed envelopes: DSSE 1.0 (https://github.com/secure-systems-lab/dsse) with Ed25519 keys. The signature covers the
 * exact bytes and the type of the payload, so that nothing is parsed before its signer is known. Uses only Node's own
 * cryptography: a device that only checks signatures loads no other file of this folder.
 */

/** Several keys may sign, so that a key can be replaced; an edgewise bundle never needs more than this. */
const MAX_SIGNATURES = 16

const BASE64 = /^(?:[A-Za-z0-9+/_-]{4})*(?:[A-Za-z0-9+/_-]{2}(?:==)?|[A-Za-z0-9+/_-]{3}=?)?$/
const base64 = z.string().regex(BASE64, 'base64 (standard or URL-safe)')

// Unknown members of an envelope are ignored, as the DSSE specification requires.
const envelopeSchema = z.object({
  payload: base64,
  payloadType: z.string().max(200),
  signatures: z
    .array(z.object({ keyid: z.string().max(200).optional(), sig: base64.max(200) }))
    .min(1)
    .max(MAX_SIGNATURES),
})

/** An envelope as in its JSON. `keyid` is an unsigned hint, not proof of who signed. */
export type Envelope = z.infer<typeof envelopeSchema>

/** The bytes that are signed: the pre-authentication encoding of type and payload. */
export function preAuthentication(payloadType: string, payload: Uint8Array): Buffer {
  const type = Buffer.from(payloadType)
  const head = Buffer.concat([
    Buffer.from(`DSSEv1 ${type.byteLength} `),
    type,
    Buffer.from(` ${payload.byteLength} `),
  ])
  return Buffer.concat([head, payload])
}

/** The id of a key: SHA-256 of the public key (SubjectPublicKeyInfo, DER), in hexadecimal. */
export function keyIdOf(key: KeyObject): string {
  const open = key.type === 'private' ? createPublicKey(key) : key
  return createHash('sha256')
    .update(open.export({ type: 'spki', format: 'der' }))
    .digest('hex')
}

/** Lists the ids of `keys`, any one of which is accepted, for an error message. */
export function namesOf(keys: readonly KeyObject[]): string {
  return keys.map(keyIdOf).join(' or ') || 'a trusted key, of which none is given'
}

/**
 * Reads an Ed25519 public key in PEM; `where` names its file. Refuses a private key, because it should not be in a file
 * that is given out.
 */
export function readPublicKey(pem: string, where: string): KeyObject {
  if (pem.includes('PRIVATE KEY')) {
    throw new InputError({
      where,
      expected: 'a public key (BEGIN PUBLIC KEY)',
      found: 'a private key',
      remedy: 'give signing-key.pub.pem; the private key stays where it signs',
    })
  }
  return ed25519(() => createPublicKey(pem), where, 'public')
}

/** Reads an Ed25519 private key in PEM; `where` names its file. */
export function readSigningKey(pem: string, where: string): KeyObject {
  return ed25519(() => createPrivateKey(pem), where, 'private')
}

/** Wraps `payload` in an envelope with one signature. */
export function signEnvelope(payloadType: string, payload: Uint8Array, key: KeyObject): Envelope {
  return {
    payload: Buffer.from(payload).toString('base64'),
    payloadType,
    signatures: [signatureOf(payloadType, payload, key)],
  }
}

/** Adds a signature to an envelope, and replaces one by the same key. Throws InputError above 16 signatures. */
export function addSignature(envelope: Envelope, key: KeyObject, where: string): Envelope {
  const own = signatureOf(envelope.payloadType, payloadOf(envelope), key)
  const others = envelope.signatures.filter(({ keyid }) => keyid !== own.keyid)
  return check(envelopeSchema, { ...envelope, signatures: [...others, own] }, where)
}

/** Formats an envelope as the text of its file. */
export function formatEnvelope(envelope: Envelope): string {
  return `${JSON.stringify(envelope, null, 2)}\n`
}

/** Parses an envelope without verifying it. Throws InputError. */
export function parseEnvelope(text: string, where: string): Envelope {
  return check(envelopeSchema, parseJson(text, where), where)
}

/** The payload's bytes. Do not trust them before `acceptedKeys` has checked the signatures. */
export function payloadOf(envelope: Envelope): Buffer {
  return Buffer.from(envelope.payload, 'base64')
}

/** Ids of the trusted keys that signed this payload as this type, each once; empty if none did. */
export function acceptedKeys(
  envelope: Envelope,
  payloadType: string,
  trusted: readonly KeyObject[],
): string[] {
  if (envelope.payloadType !== payloadType) return []
  const signed = preAuthentication(payloadType, payloadOf(envelope))
  const signatures = envelope.signatures.map(({ sig }) => Buffer.from(sig, 'base64'))
  const accepted = trusted.filter((key) =>
    signatures.some((signature) => verify(null, signed, key, signature)),
  )
  return [...new Set(accepted.map(keyIdOf))]
}

/**
 * Returns the payload if a trusted key signed it as `payloadType`. Throws IntegrityError naming the expected keys
 * otherwise.
 */
export function openEnvelope(
  envelope: Envelope,
  payloadType: string,
  trusted: readonly KeyObject[],
  where: string,
): { payload: Buffer; keyIds: readonly string[] } {
  const keyIds = acceptedKeys(envelope, payloadType, trusted)
  if (keyIds.length > 0) return { payload: payloadOf(envelope), keyIds }
  const expected = `${payloadType}, signed by ${namesOf(trusted)}`
  const claimed = envelope.signatures.map(({ keyid }) => keyid ?? 'an unnamed key').join(', ')
  const found =
    envelope.payloadType === payloadType
      ? `no valid signature of theirs (it names ${show(claimed, 200)})`
      : `payload type ${show(envelope.payloadType)}`
  throw new IntegrityError(where, expected, found)
}

function signatureOf(
  payloadType: string,
  payload: Uint8Array,
  key: KeyObject,
): Envelope['signatures'][number] {
  const sig = sign(null, preAuthentication(payloadType, payload), key).toString('base64')
  return { keyid: keyIdOf(key), sig }
}

function ed25519(read: () => KeyObject, where: string, kind: 'public' | 'private'): KeyObject {
  const expected = `an Ed25519 ${kind} key in PEM`
  const remedy = '`edgewise keys init` makes a pair'
  let key: KeyObject
  try {
    key = read()
  } catch (error) {
    throw new InputError({ where, expected, found: 'something else', remedy }, { cause: error })
  }
  if (key.asymmetricKeyType === 'ed25519') return key
  throw new InputError({
    where,
    expected,
    found: `a key of type ${key.asymmetricKeyType ?? key.type}`,
    remedy,
  })
}
