import { z } from 'zod'
import { runtimePrecisionSchema } from '../../model/precision.ts'
import type { ExecutionEvent } from '../../run/executor/types.ts'
import { planJsonSchema } from '../../plan/price/json.ts'
import { figuresSchema } from './request.ts'

const count = z.int().min(0)
const seconds = z.number()
const duration = z.number().min(0)

/** The line of `edgewise cloud --json`. */
export const listeningJsonSchema = z.strictObject({
  listening: z.strictObject({
    host: z.string(),
    port: z.int().min(1).max(65_535),
    model: z.string(),
    fingerprint: z.string(),
    precision: runtimePrecisionSchema,
    maxBatch: z.int().min(1),
  }),
})

/** The line that `edgewise cloud --json` prints once it listens. */
export type ListeningJson = z.infer<typeof listeningJsonSchema>

/** What one side did for a request, on the edge's clock, from the moment of dispatch. */
export const eventJsonSchema = z.strictObject({
  side: z.enum(['edge', 'cloud']),
  kind: z.enum(['load', 'compute', 'send', 'receive']),
  step: count,
  position: count,
  tokens: count,
  askedSeconds: seconds,
  startSeconds: seconds,
  endSeconds: seconds,
  bytes: count,
  batch: z.int().min(1),
}) satisfies z.ZodType<ExecutionEvent>

const bytesSchema = z.strictObject({ up: count, down: count }).nullable()

/** One request of `edgewise edge --json`. */
export const generationJsonSchema = z.strictObject({
  tokens: z.array(count),
  /** Null for a model without a tokenizer. */
  text: z.string().nullable(),
  end: z.enum(['length', 'stop', 'interrupted']),
  timing: z.strictObject({
    /** Null where no token came. */
    ttftSeconds: duration.nullable(),
    /** Null for one token. */
    tpotSeconds: duration.nullable(),
    endToEndSeconds: duration.nullable(),
  }),
  nearTies: count,
  /** Of the request's messages, headers included; null without a cloud, and for one request of several. */
  bytes: bytesSchema,
  plan: planJsonSchema,
  /** Of the weights on each side; the cloud's as it told it, null without one. */
  precision: z.strictObject({ edge: runtimePrecisionSchema, cloud: runtimePrecisionSchema.nullable() }),
  /** What the bundle decided on; null where a plan was named. */
  figures: figuresSchema.nullable(),
  /** With --explain. */
  events: z.array(eventJsonSchema).optional(),
})

/** One answer as `edgewise edge --json` prints it. */
export type GenerationJson = z.infer<typeof generationJsonSchema>

/** `edgewise edge --json` for several requests. */
export const generationsJsonSchema = z.strictObject({
  requests: z.array(generationJsonSchema),
  /** Of all requests together; null without a cloud. */
  bytes: bytesSchema,
})

/** Several answers as `edgewise edge --json` prints them. */
export type GenerationsJson = z.infer<typeof generationsJsonSchema>
