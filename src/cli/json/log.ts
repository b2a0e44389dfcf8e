import { z } from 'zod'
import type { LogSummary } from '../../core/journal/summary.ts'
import type { LoggedUse } from '../../serve/edge/loggedUse.ts'

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

/** What the decisions of a log give when a bundle decides them again. */
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

const resourceUse = z.strictObject({
  /** Mean a request; null where no request's was measured. */
  used: z.number().nullable(),
  /** Null where there is none. */
  budget: z.number().nullable(),
  /** Requests whose use was measured. */
  requests: count,
})

const useSchema = z.strictObject({
  sinceStartedAt: z.string(),
  /** Requests that ended since then. */
  ended: count,
  energyJoules: resourceUse,
  accuracyLoss: resourceUse,
  cloudSeconds: resourceUse,
}) satisfies z.ZodType<LoggedUse>

/** `edgewise log --json`. */
export const logJsonSchema = z.strictObject({
  log: z.string(),
  ...summarySchema.shape,
  /** Use against budgets; null where the log says nothing of budgets, as in its version 1. */
  use: useSchema.nullable(),
  /** Where the damaged lines are; the first hundred. */
  damaged: z.array(
    z.strictObject({ file: z.string(), line: count, offset: count, what: z.string(), detail: z.string() }),
  ),
  /** Null without --replay. */
  replay: replaySchema.nullable(),
})

/** What `edgewise log --json` prints. */
export type LogJson = z.infer<typeof logJsonSchema>
