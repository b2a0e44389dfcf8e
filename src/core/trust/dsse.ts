import { createHash, createPrivateKey, createPublicKey, sign, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { z } from 'zod'
import { InputError, IntegrityError, show } from '../errors.ts'
import { check, parseJson } from '../schema.ts'

/**
 * Signed envelopes: DSSE 1.0 (https://github.com/secure-systems-lab/dsse) with Ed25519 keys. The signature
 * covers the payload's exact bytes and its type, so that nothing is parsed before it is known whose it is.
 * Node's own cryptography alone: a device that only checks signatures loads this file and no other of the room.
 */

/** Several keys may sign, so that one can take the place of another; more than this is no bundle of ours. */
const MAX_SIGNATURES = 16

const BASE64 = /^(?:[A-Za-z0-9+/_-]{4})*(?:[A-Za-z0-9+/_-]{2}(?:==)?|[A-Za-z0-9+/_-]{3}=?)?$/
const base64 = z.string().regex(BASE64, 'base64 (standard or URL-safe)')

// What it does not know of an envelope a verifier passes over, as the specification asks.
const envelopeSchema = z.object({
  payload: base64,
  payloadType: z.string().max(200),
  signatures: z
    .array(z.object({ keyid: z.string().max(200).optional(), sig: base64.max(200) }))
    .min(1)
    .max(MAX_SIGNATURES),
})

/** An envelope as its JSON stands; `keyid` is a hint, and nobody's word. */
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

/** SHA-256 of the public key (SubjectPublicKeyInfo, DER), in hexadecimal: the name a key goes by. */
export function keyIdOf(key: KeyObject): string {
  const open = key.type === 'private' ? createPublicKey(key) : key
  return createHash('sha256')
    .update(open.export({ type: 'spki', format: 'der' }))
    .digest('hex')
}

/** The ids of `keys`, any of which will do, for a message. */
export function namesOf(keys: readonly KeyObject[]): string {
  return keys.map(keyIdOf).join(' or ') || 'a trusted key, of which none is given'
}

/** Ed25519 public key of a PEM text; `where` names its file. A private key is refused: it is in the wrong place. */
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

/** Ed25519 private key of a PEM text; `where` names its file. */
export function readSigningKey(pem: string, where: string): KeyObject {
  return ed25519(() => createPrivateKey(pem), where, 'private')
}

/** An envelope around `payload`, signed by one key. */
export function signEnvelope(payloadType: string, payload: Uint8Array, key: KeyObject): Envelope {
  return {
    payload: Buffer.from(payload).toString('base64'),
    payloadType,
    signatures: [signatureOf(payloadType, payload, key)],
  }
}

/** The envelope with one more signature; one of the same key is replaced. Throws InputError past 16. */
export function addSignature(envelope: Envelope, key: KeyObject, where: string): Envelope {
  const own = signatureOf(envelope.payloadType, payloadOf(envelope), key)
  const others = envelope.signatures.filter(({ keyid }) => keyid !== own.keyid)
  return check(envelopeSchema, { ...envelope, signatures: [...others, own] }, where)
}

/** Text of an envelope's file. */
export function formatEnvelope(envelope: Envelope): string {
  return `${JSON.stringify(envelope, null, 2)}\n`
}

/** Reads an envelope; nothing of it is trusted yet. Throws InputError. */
export function parseEnvelope(text: string, where: string): Envelope {
  return check(envelopeSchema, parseJson(text, where), where)
}

/** The payload's bytes; trusted by nobody until `acceptedKeys` says so. */
export function payloadOf(envelope: Envelope): Buffer {
  return Buffer.from(envelope.payload, 'base64')
}

/** Key ids of those trusted keys that signed this payload as this type; each once, none if nobody did. */
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
 * The payload, once a trusted key is found to have signed it as `payloadType`. Throws IntegrityError naming
 * the keys that were expected.
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
