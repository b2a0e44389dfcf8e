import { z } from 'zod'
import { check, sha256Schema } from '../../core/schema.ts'
import { runtimePrecisionSchema } from '../../model/precision.ts'
import type { RuntimePrecision } from '../../model/precision.ts'

/** The payload of hello and welcome: tokens are only correct if both sides have the same weights. */
const greetingSchema = z.strictObject({
  software: z.string().max(64),
  model: z.strictObject({ id: z.string().max(64), fingerprint: sha256Schema }),
  precision: runtimePrecisionSchema,
  /** Sequences in the cloud's decode batch; absent on an edge. */
  maxBatch: z.int().min(1).max(1024).optional(),
})

/** Payload of hello and welcome. */
export type HelloPayload = z.infer<typeof greetingSchema>

/** Creates this side's payload. */
export function helloPayload(
  software: string,
  model: HelloPayload['model'],
  precision: RuntimePrecision,
  maxBatch?: number,
): HelloPayload {
  return { software, model, precision, ...(maxBatch === undefined ? {} : { maxBatch }) }
}

/**
 * Reads the peer's payload, and says why the two cannot work together (null: they can). Precisions may differ, because
 * each side has its own. Throws InputError for an invalid payload.
 */
export function checkHello(
  peer: unknown,
  own: HelloPayload,
): { greeting: HelloPayload; mismatch: string | null } {
  const greeting = check(greetingSchema, peer, "the peer's greeting")
  const same = greeting.model.fingerprint === own.model.fingerprint
  const name = ({ id, fingerprint }: HelloPayload['model']) => `${id} (${fingerprint.slice(0, 12)})`
  return {
    greeting,
    mismatch: same ? null : `expected the model ${name(own.model)}, found ${name(greeting.model)}`,
  }
}
