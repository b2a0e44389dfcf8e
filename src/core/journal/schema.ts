import { z } from 'zod'
import type { LogRecord } from './types.ts'

/** What is written. All of LOG_VERSIONS is read. */
export const LOG_VERSION = 2
export const LOG_VERSIONS = [1, LOG_VERSION] as const
const text = z.string().max(10_000)
const atSeconds = z.number().min(0).max(1e10)
const seconds = z.number().min(0).max(1e10)
const count = z.int().min(0)
const request = z.int().min(0)
const MAX_OBSERVATION = 4096

/** May be negative: a loss, and the energy of a device that takes less while it computes than while it idles. */
const figure = z.number().min(-1e10).max(1e10).nullable()

/** JSON has no NaN or infinity: both are written as null, and null is read as NaN. */
const element = z
  .number()
  .nullable()
  .transform((value) => value ?? NaN)

const header = z.strictObject({
  kind: z.literal('header'),
  version: z.literal(LOG_VERSIONS),
  software: text,
  model: z.strictObject({ id: text, fingerprint: text }),
  observationVersion: z.int().min(0),
  bundle: text.nullable(),
  budgets: z.strictObject({ energyJoules: figure, accuracyLoss: figure, cloudSeconds: figure }).optional(),
  startedAt: z.iso.datetime({ offset: true }),
})

const arrival = z.strictObject({
  kind: z.literal('arrival'),
  atSeconds,
  request,
  promptTokens: count,
  maxNewTokens: count,
})

const decision = z.strictObject({
  kind: z.literal('decision'),
  atSeconds,
  request,
  reason: z.enum(['dispatch', 'outage', 'return', 'better']),
  source: z.enum(['policy', 'shield', 'fallback', 'forced']),
  propensity: z.number().min(0).max(1),
  observation: z.array(element).max(MAX_OBSERVATION).nullable(),
  plan: z.unknown().transform((value) => value ?? null),
  fromToken: count,
  rebuild: z.enum(['start', 'boundary', 'ids']).nullable(),
  decideSeconds: seconds,
})

const transfer = z.strictObject({
  kind: z.literal('transfer'),
  atSeconds,
  direction: z.enum(['up', 'down']),
  bytes: count,
  seconds,
})

const heartbeat = z.strictObject({ kind: z.literal('heartbeat'), atSeconds, rttSeconds: seconds })
const load = z.strictObject({ kind: z.literal('load'), atSeconds, tenants: z.number().min(0).max(1e9) })

const event = z.strictObject({
  kind: z.literal('event'),
  atSeconds,
  name: z.string().min(1).max(200),
  request: request.nullable(),
  detail: text,
})

const outcome = z.strictObject({
  kind: z.literal('outcome'),
  atSeconds,
  request,
  end: z.enum(['stop', 'length', 'cancelled', 'error']),
  detail: text,
  outputTokens: count,
  queueSeconds: seconds,
  ttftSeconds: seconds.nullable(),
  tpotSeconds: seconds.nullable(),
  endToEndSeconds: seconds,
  upBytes: count,
  downBytes: count,
  messages: count.optional(),
  edgeSeconds: seconds.nullable(),
  energyJoules: figure.optional(),
  accuracyLoss: figure.optional(),
  cloudSeconds: figure.optional(),
})

/** Schema of one line of the decision log; unknown members are refused. */
export const logRecordSchema: z.ZodType<LogRecord> = z.discriminatedUnion('kind', [
  header,
  arrival,
  decision,
  transfer,
  heartbeat,
  load,
  event,
  outcome,
])

/** The version in a header, before the rest of it is validated; null if `value` is not a header. */
export function claimedVersion(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return null
  const { kind, version } = value as { kind?: unknown; version?: unknown }
  return kind === 'header' ? (version ?? 'none') : null
}
