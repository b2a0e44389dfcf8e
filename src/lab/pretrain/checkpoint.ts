import { createHash } from 'node:crypto'
import { z } from 'zod'
import { InputError, IntegrityError, show } from '../../core/errors.ts'
import { canonicalJson } from '../../core/files.ts'
import { check, parseJson } from '../../core/schema.ts'

const FORMAT = 'edgewise-pretrain-1'
const HASH_BYTES = 32
const LENGTH_BYTES = 4

const headerSchema = z.strictObject({
  format: z.literal(FORMAT),
  /** What was trained, how, and by which engine; a checkpoint fits no other training. */
  identity: z.unknown(),
  step: z.int().min(0),
  powers: z.tuple([z.number(), z.number()]),
})

/** State of a training. Batches follow from the step's number, so there is no random state. */
export interface TrainingState {
  /** Number of steps done. */
  step: number
  /** beta1^t and beta2^t. */
  powers: [number, number]
  parameters: Float32Array
  firstMoment: Float32Array
  secondMoment: Float32Array
}

/** Encodes a checkpoint: header length (uint32), header (JSON), three arrays (float32), SHA-256; little-endian. */
export function packState(identity: unknown, state: TrainingState): Uint8Array {
  const { step, powers } = state
  const json = Buffer.from(canonicalJson({ format: FORMAT, identity, step, powers }))
  const length = Buffer.alloc(LENGTH_BYTES)
  length.writeUInt32LE(json.length)
  const body = Buffer.concat([length, json, ...arraysOf(state).map(bytesOf)])
  return Buffer.concat([body, hashOf(body)])
}

/**
 * Reads a checkpoint of the training `identity` with vectors of `size`. Throws IntegrityError for damaged bytes and
 * InputError for a checkpoint of another training.
 */
export function unpackState(
  bytes: Uint8Array,
  identity: unknown,
  size: number,
  where: string,
): TrainingState {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const body = buffer.subarray(0, Math.max(0, buffer.length - HASH_BYTES))
  const [expected, found] = [buffer.subarray(body.length), hashOf(body)].map((hash) => hash.toString('hex'))
  if (body.length < LENGTH_BYTES || expected !== found)
    throw new IntegrityError(where, `SHA-256 ${expected}`, found)
  const headerEnd = LENGTH_BYTES + body.readUInt32LE(0)
  const json = parseJson(body.toString('utf8', LENGTH_BYTES, headerEnd), where)
  const header = check(headerSchema, json, where)
  if (canonicalJson(header.identity) !== canonicalJson(identity) || body.length !== headerEnd + 12 * size) {
    throw new InputError({
      where,
      expected: show(canonicalJson(identity), 600),
      found: show(canonicalJson(header.identity), 600),
      remedy: 'resume with the settings and the engine it was written with, or start again without --resume',
    })
  }
  const vector = (i: number): Float32Array => {
    const copy = new Float32Array(size)
    bytesOf(copy).set(body.subarray(headerEnd + 4 * size * i, headerEnd + 4 * size * (i + 1)))
    return copy
  }
  const { step, powers } = header
  return { step, powers, parameters: vector(0), firstMoment: vector(1), secondMoment: vector(2) }
}

/** Upper bound on the bytes of a checkpoint with `size` parameters. */
export function stateBytesLimit(size: number): number {
  return 12 * size + 65_536
}

function arraysOf({ parameters, firstMoment, secondMoment }: TrainingState): Float32Array[] {
  return [parameters, firstMoment, secondMoment]
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
}

function hashOf(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest()
}
