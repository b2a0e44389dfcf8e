import { z } from 'zod'
import type { LogSummary } from '../../core/journal/summary.ts'

const count = z.int().min(0)
const counts = z.record(z.string(), count)
const seconds = z.number().min(0)
const quantiles = z.strictObject({ count, p50: seconds, p95: seconds, p99: seconds }).nullable()

/** With --replay: whether this build would read the observations as they were meant. */
export const replaySchema = z.strictObject({
  /** Decisions with an observation. */
  observations: count,
  /** Of them: of the version and the size that this build encodes, every element finite. */
  usable: count,
  otherVersion: count,
  otherSize: count,
  notFinite: count,
})

export type ReplayJson = z.infer<typeof replaySchema>

const summarySchema = z.strictObject({
  starts: count,
  firstStartedAt: z.string().nullable(),
  lastStartedAt: z.string().nullable(),
  software: z.array(z.string()).readonly(),
  models: z.array(z.string()).readonly(),
  bundles: z.array(z.string().nullable()).readonly(),
  records: counts,
  requests: z.strictObject({ arrived: count, ended: counts, withoutOutcome: count }),
  decisions: z.strictObject({
    bySource: counts,
    byReason: counts,
    rebuilds: counts,
    plans: z.array(z.strictObject({ plan: z.unknown(), count, share: z.number().min(0).max(1) })).readonly(),
    otherPlans: count,
    stayed: count,
    decideSeconds: quantiles,
  }),
  events: counts,
  ttftSeconds: quantiles,
  tpotSeconds: quantiles,
  endToEndSeconds: quantiles,
  queueSeconds: quantiles,
  outputTokens: count,
  upBytes: count,
  downBytes: count,
  problems: counts,
}) satisfies z.ZodType<LogSummary>

/** `edgewise log --json`. */
export const logJsonSchema = z.strictObject({
  log: z.string(),
  ...summarySchema.shape,
  /** Where the damaged lines are; the first hundred. */
  damaged: z.array(
    z.strictObject({ file: z.string(), line: count, offset: count, what: z.string(), detail: z.string() }),
  ),
  /** Null without --replay. */
  replay: replaySchema.nullable(),
})

export type LogJson = z.infer<typeof logJsonSchema>
