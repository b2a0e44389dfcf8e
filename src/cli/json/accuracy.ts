import { z } from 'zod'
import { runtimePrecisionSchema } from '../../model/precision.ts'

const count = z.int().min(0)
const bits = z.union([z.literal(32), z.literal(16), z.literal(8), z.literal(4)])
/** Nats a token: added log-perplexity, which may lie below 0, and divergence from the exact model's predictions. */
const loss = { nats: z.number(), standardError: z.number().min(0), divergence: z.number().min(0) }
const crossing = z.strictObject({ layer: count, bits, ...loss })

/** `edgewise accuracy --json`: all of it measured. */
export const accuracyJsonSchema = z.strictObject({
  modelId: z.string(),
  fingerprint: z.string(),
  text: z.string(),
  engine: z.string(),
  tokens: z.int().min(1),
  windows: z.int().min(1),
  nats: z.number().min(0),
  perplexity: z.number().min(1),
  boundaries: z.array(crossing).readonly(),
  partials: z.array(crossing).readonly(),
  additivity: z
    .array(
      z.strictObject({
        bits,
        crossings: z.int().min(1),
        summedNats: z.number(),
        summedDivergence: z.number().min(0),
        ratio: z.number().nullable(),
        ...loss,
      }),
    )
    .readonly(),
  ranked: z.strictObject({ bits: z.array(bits).readonly(), meanBits: z.number(), ...loss }),
  exits: z
    .array(
      z.strictObject({
        layer: z.int().min(1),
        threshold: z.number(),
        leaveShare: z.number().min(0).max(1),
        leaving: count,
        standalone: z.strictObject(loss),
        collaborative: z.strictObject(loss),
      }),
    )
    .readonly(),
  units: z.array(z.strictObject({ layer: count, unit: count, ...loss })).readonly(),
  precisions: z
    .array(z.strictObject({ precision: runtimePrecisionSchema, perplexity: z.number().min(1), ...loss }))
    .readonly(),
})

/** What `edgewise accuracy --json` prints. */
export type AccuracyJson = z.infer<typeof accuracyJsonSchema>
