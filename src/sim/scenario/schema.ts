import { z } from 'zod'
import { budgetsSchema, objectiveWeightsSchema } from '../../plan/price/json.ts'
import { precisionSchema } from '../../model/precision.ts'

export const SCENARIO_SCHEMA = 'edgewise.scenario/1'

const positive = z.number().positive().max(1e12)
const notNegative = z.number().min(0).max(1e12)
const name = z.string().min(1).max(200)

/** A constant link without a rate would never carry anything: outages are a recording's or a model's. */
const constantLink = z.strictObject({ upMbps: positive, downMbps: positive, rttMs: notNegative })

/**
 * Where links come from: what names a link on the command line, too (a synthetic model, a trace file, recordings joined
 * by `+`), the same with constants for what the recordings lack, or a constant alone.
 */
const linkSource = z.union([
  name,
  z.strictObject({
    link: name,
    upMbps: positive.optional(),
    downMbps: positive.optional(),
    rttMs: notNegative.optional(),
  }),
  constantLink,
])

/** A recorded link: each part a trace file or a recording, a constant, or the other direction times a ratio. */
const recordedPart = z.union([
  z.strictObject({ recording: name }),
  z.strictObject({ paired: name }),
  z.strictObject({ constant: notNegative }),
  z.strictObject({ ratio: positive }),
])

const recordedLink = z.strictObject({ uplink: recordedPart, downlink: recordedPart, rtt: recordedPart })

const linkList = z
  .array(z.union([linkSource, recordedLink]))
  .min(1)
  .max(200)

const arrivals = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('poisson') }),
  z.strictObject({
    kind: z.literal('mmpp'),
    burstRatio: positive,
    meanCalmSeconds: positive,
    meanBurstSeconds: positive,
  }),
  z.strictObject({ kind: z.literal('recorded'), file: name }),
  /** The word for `recorded` from when Azure's traces were the only ones. */
  z.strictObject({ kind: z.literal('azure'), file: name }),
])

const lengths = z.union([
  z.strictObject({ model: name }),
  z.strictObject({ recorded: name }),
  z.strictObject({ azure: name }),
  z.strictObject({ promptTokens: z.int().min(1).max(1e6), outputTokens: z.int().min(1).max(1e6) }),
])

const latency = z.discriminatedUnion('form', [
  z.strictObject({ form: z.literal('mean') }),
  z.strictObject({ form: z.literal('qoe') }),
  z.strictObject({ form: z.literal('convex'), deadlineSeconds: positive }),
])

const bits = z.union([z.literal(32), z.literal(16), z.literal(8), z.literal(4)])

/** One scenario: what is decided, on which pair, over which links, under which load, and what counts as good. */
export const scenarioSchema = z.strictObject({
  schema: z.literal(SCENARIO_SCHEMA),
  name,
  description: z.string().max(4000),
  model: name,
  /** A device id, a device YAML, or a profile JSON. */
  edge: name,
  cloud: name,
  /**
   * What the sides run; a profile of another precision is refused, a data sheet is modelled at it. Left out: the
   * profile's own, or the data sheet's.
   */
  precision: z
    .strictObject({ edge: precisionSchema.optional(), cloud: precisionSchema.optional() })
    .optional(),
  /** A file that replaces the built-in accuracy table. */
  accuracy: name.optional(),
  links: z.strictObject({
    train: linkList,
    validation: linkList,
    test: linkList,
    binSeconds: positive.default(1),
  }),
  workload: z.strictObject({
    arrivals,
    lengths,
    predictorLogSd: notNegative,
    /** Mean arrival rate over the rate at which the edge alone could serve. */
    load: positive,
    requestsPerEpisode: z.int().min(1).max(100_000),
    maxNewTokens: z.int().min(1).max(100_000),
  }),
  tenants: z
    .strictObject({
      levels: z.array(notNegative).min(1).max(64),
      meanSojournSeconds: z.array(positive).min(1).max(64),
    })
    .refine(({ levels, meanSojournSeconds }) => levels.length === meanSojournSeconds.length, {
      path: ['meanSojournSeconds'],
      message: 'as many as levels',
    }),
  cloudSlots: z.int().min(1).max(256),
  service: z.strictObject({
    maxInFlight: z.int().min(1).max(64),
    edgeMemoryGb: positive.optional(),
    heartbeatSeconds: positive.default(1),
    loadReportPeriodSeconds: positive.default(5),
    loadReportDelaySeconds: notNegative.default(0),
    preloaded: z.boolean().default(true),
    /** Requests in flight are re-planned when the link has been out for so long; 0 or null: never. */
    replanAfterOutageSeconds: notNegative.nullable().default(3),
  }),
  objective: z.strictObject({
    weights: objectiveWeightsSchema,
    latency,
    readingTokensPerSecond: positive.default(10),
    budgets: budgetsSchema.default({ energyJoules: null, accuracyLoss: null, cloudSeconds: null }),
  }),
  plans: z.strictObject({
    boundaryBits: z.array(bits).min(1).max(4),
    earlyExit: z.boolean(),
    exitThresholds: z.array(z.number().gt(0).max(1)).max(16).optional(),
    edgeLayersFirst: z.int().min(0).max(255).default(0),
    edgeLayersLast: z.int().min(0).max(255).default(0),
  }),
})

export type ScenarioConfig = z.infer<typeof scenarioSchema>
export type LinkEntry = ScenarioConfig['links']['train'][number]
