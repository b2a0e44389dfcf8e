import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { InputError, IntegrityError } from '../../core/errors.ts'
import { readCapped, readText, writeAtomic } from '../../core/files.ts'
import {
  acceptedKeys,
  addSignature,
  formatEnvelope,
  keyIdOf,
  namesOf,
  openEnvelope,
  parseEnvelope,
  payloadOf,
  readPublicKey,
  readSigningKey,
  signEnvelope,
} from '../../core/trust/dsse.ts'
import type { Envelope } from '../../core/trust/dsse.ts'
import { MANIFEST_FILE, MAX_MANIFEST_BYTES } from './manifest.ts'

/** A DSSE envelope around the bytes of manifest.json, which contains the SHA-256 of every other file. */
export const SIGNATURE_FILE = 'manifest.dsse.json'
/**
 * The type that is signed together with the bytes, so that a signature over anything else is not valid for a manifest.
 */
const SIGNATURE_TYPE = 'application/vnd.edgewise.bundle-manifest+json'

const MAX_ENVELOPE_BYTES = Math.ceil((MAX_MANIFEST_BYTES * 4) / 3) + 64 * 1024

/** Signature of a bundle. */
export interface BundleSignature {
  /** Key ids that the envelope names (unverified). */
  readonly claimedKeyIds: readonly string[]
  /** Trusted keys whose signature over this manifest is valid. */
  readonly trustedKeyIds: readonly string[]
}

/**
 * Reads and checks the signature of manifest.json; null if there is none. With trusted keys (PEM texts of public keys,
 * from outside the bundle), one of them must have signed: otherwise IntegrityError naming them. An envelope around
 * other bytes is always an IntegrityError, an invalid envelope an InputError.
 */
export function readSignature(
  folder: string,
  manifest: Uint8Array,
  trust?: readonly string[],
): BundleSignature | null {
  const keys = (trust ?? []).map((pem, i) => readPublicKey(pem, `trusted key ${i + 1}`))
  const place = join(folder, SIGNATURE_FILE)
  if (!existsSync(place)) {
    if (trust === undefined) return null
    const expected = `a bundle that is signed by ${namesOf(keys)}`
    throw new IntegrityError(folder, expected, `no ${SIGNATURE_FILE}`)
  }
  const envelope = parseEnvelope(readText(place, MAX_ENVELOPE_BYTES), place)
  if (trust !== undefined) openEnvelope(envelope, SIGNATURE_TYPE, keys, place)
  if (!payloadOf(envelope).equals(manifest)) {
    throw new IntegrityError(place, `a signature over the bytes of ${MANIFEST_FILE}`, 'one over other bytes')
  }
  const claimedKeyIds = envelope.signatures.map(({ keyid }) => keyid ?? 'unnamed')
  return { claimedKeyIds, trustedKeyIds: acceptedKeys(envelope, SIGNATURE_TYPE, keys) }
}

/**
 * Signs the manifest of a bundle with an Ed25519 private key (PEM). Signatures of other keys over the same bytes are
 * kept; signatures over other bytes are replaced. Returns the key's id. Does not check the bundle itself.
 */
export function writeSignature(folder: string, privatePem: string, where: string): string {
  const key = readSigningKey(privatePem, where)
  const manifest = readCapped(join(folder, MANIFEST_FILE), MAX_MANIFEST_BYTES)
  const place = join(folder, SIGNATURE_FILE)
  const before = existsSync(place) ? standing(place, manifest) : null
  const envelope =
    before === null ? signEnvelope(SIGNATURE_TYPE, manifest, key) : addSignature(before, key, place)
  writeAtomic(place, formatEnvelope(envelope))
  return keyIdOf(key)
}

/** The existing envelope, if it is around these bytes. */
function standing(place: string, manifest: Uint8Array): Envelope | null {
  try {
    const envelope = parseEnvelope(readText(place, MAX_ENVELOPE_BYTES), place)
    return envelope.payloadType === SIGNATURE_TYPE && payloadOf(envelope).equals(manifest) ? envelope : null
  } catch (error) {
    if (error instanceof InputError) return null
    throw error
  }
}
