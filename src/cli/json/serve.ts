import { z } from 'zod'
import { runtimePrecisionSchema } from '../../model/precision.ts'
import { figuresSchema } from './request.ts'

/** The first line of `edgewise edge --listen --json`. */
export const servingJsonSchema = z.strictObject({
  serving: z.strictObject({
    /** Of the API, without `/v1`. */
    url: z.string(),
    host: z.string(),
    port: z.int().min(1).max(65_535),
    model: z.string(),
    fingerprint: z.string(),
    precision: runtimePrecisionSchema,
    decider: z.string(),
    /** What it decides on; null where a plan was named, and for the static fallback. */
    figures: figuresSchema.nullable(),
    log: z.string(),
  }),
})

/** The line that `edgewise edge --listen --json` prints once it serves. */
export type ServingJson = z.infer<typeof servingJsonSchema>

const seconds = z.number()
const count = z.int().min(0)

/** Every further line: a transition. Which fields it has, its kind says. */
export const serviceEventJsonSchema = z.strictObject({
  kind: z.string(),
  atSeconds: seconds,
  request: count.optional(),
  reason: z.string().optional(),
  source: z.string().optional(),
  /** In words, e.g. `cut:3@8`. */
  plan: z.string().optional(),
  decideSeconds: seconds.optional(),
  fromToken: count.optional(),
  rebuild: z.string().optional(),
  tokens: count.optional(),
  bytes: count.optional(),
  position: count.optional(),
  code: z.string().optional(),
  attempt: count.optional(),
  attempts: count.optional(),
  delaySeconds: seconds.optional(),
  awaySeconds: seconds.optional(),
  end: z.string().optional(),
  detail: z.string().optional(),
  part: z.string().optional(),
})
