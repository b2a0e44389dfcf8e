import { z } from 'zod'
import { InputError } from '../../core/errors.ts'
import { readText } from '../../core/files.ts'
import { parseJson } from '../../core/schema.ts'
import { edgeJoules as edgeJoulesOf, type EnergyUse } from '../../plan/price/energy.ts'
import type { PlanCost } from '../../plan/price/evaluate.ts'
import { compileProgram } from '../../plan/price/compile.ts'
import { latencyTerm, requestCost } from '../../plan/price/objective.ts'
import type { OracleInput } from '../../plan/price/question.ts'
import type { DevicePair } from '../../plan/price/pair.ts'
import type { Plan } from '../../plan/plan.ts'
import { planFromJson, planJsonSchema } from '../../plan/price/json.ts'
import { createFast } from '../../sim/fast.ts'
import { createReference } from '../../sim/reference.ts'
import type { SimulationFactory, EpisodeInputs } from '../../sim/types.ts'
import { constantLink } from '../../trace/link.ts'
import { constantStep } from '../../trace/step.ts'
import { explanationSchema, planFiguresSchema } from './oracle.ts'
import { stateSchema } from './request.ts'

const amount = z.number().min(0)

/** What a simulator says of the request alone. */
const aloneSchema = planFiguresSchema.omit({ plan: true })
export type AloneFigures = z.infer<typeof aloneSchema>

/** `edgewise simulate --plan ... --json`, a request alone. */
export const simulateAloneSchema = z.strictObject({
  state: stateSchema,
  plan: planJsonSchema,
  fits: z.boolean(),
  /** Why it does not fit; null where it does. */
  reason: z.string().nullable(),
  analytic: aloneSchema,
  reference: aloneSchema,
  fast: aloneSchema,
  /** Largest relative difference of any figure between the three. */
  maxRelativeDifference: amount,
  why: explanationSchema,
})

/** What `edgewise simulate --plan ... --json` prints of a request alone. */
export type SimulateAloneJson = z.infer<typeof simulateAloneSchema>

/** Mean and quantiles of one figure of many requests. */
export const distributionSchema = z.strictObject({ mean: amount, p50: amount, p95: amount, p99: amount })

/** `edgewise simulate --plan ... --scenario ... --json`: the plan for every request of an episode. */
export const simulateRunSchema = z.strictObject({
  scenario: z.string(),
  scenarioHash: z.string(),
  links: z.enum(['train', 'validation', 'test', 'given']),
  seed: z.int().min(0),
  plan: planJsonSchema,
  requests: z.int(),
  durationSeconds: amount,
  cost: amount,
  ttftSeconds: distributionSchema.nullable(),
  tpotSeconds: distributionSchema.nullable(),
  e2eSeconds: distributionSchema.nullable(),
  edgeJoules: amount,
  cloudSeconds: amount,
  upBytes: amount,
  downBytes: amount,
  accuracyLoss: amount,
  queue: z.strictObject({ mean: amount, max: amount }),
  provenance: z.strictObject({
    figures: z.literal('simulated'),
    edge: z.string(),
    cloud: z.string(),
    links: z.string(),
  }),
})

/** What `edgewise simulate --plan ... --scenario ... --json` prints. */
export type SimulateRunJson = z.infer<typeof simulateRunSchema>

const MAX_PLAN_BYTES = 4 * 1024 * 1024

/** Reads a plan: bare, as `{ plan }`, or the optimum in what `oracle --json` printed. */
export function readPlan(path: string, pair: DevicePair): Plan {
  const value = parseJson(readText(path, MAX_PLAN_BYTES), path)
  const inner = planWithin(value)
  if (inner === null) {
    throw new InputError({
      where: path,
      expected: 'a plan: { embed, layers, head, boundaryBits, exit }',
      found: 'an answer of `edgewise oracle` without an optimum',
    })
  }
  return planFromJson(pair, inner, path)
}

function planWithin(value: unknown): unknown {
  if (value === null || typeof value !== 'object') return value
  if ('optimum' in value) return value.optimum === null ? null : planWithin(value.optimum)
  return 'plan' in value ? value.plan : value
}

/** The three figures for one request alone, e.g. for comparison. */
function aloneFigures(input: OracleInput, plan: Plan, create: SimulationFactory): AloneFigures {
  const { pair, state, objective } = input
  const world = aloneWorld(input)
  const simulation = create(world)
  const program = compileProgram(pair, plan, {
    promptTokens: state.promptTokens,
    loadBytes: 0,
    decisionSeconds: 0,
  })
  simulation.advance()
  simulation.dispatch(program)
  simulation.advance()
  const outcome = simulation.outcomes[0]
  const { upBytes, downBytes, messages, accuracyLoss, stallSeconds } = outcome
  const ttftSeconds = outcome.firstTokenSeconds
  const e2eSeconds = outcome.lastTokenSeconds
  const cloudSeconds = outcome.cloudBusySeconds
  const use: EnergyUse = { edgeSeconds: outcome.edgeBusySeconds, upBytes, downBytes, messages }
  const edgeJoules = edgeJoulesOf(pair.power, use, e2eSeconds)
  const latencySeconds = latencyTerm(objective.latency, ttftSeconds, e2eSeconds, stallSeconds)
  return {
    cost: requestCost(objective.weights, { latencySeconds, edgeJoules, cloudSeconds, upBytes, accuracyLoss }),
    ttftSeconds,
    tpotSeconds: state.outputTokens > 1 ? (e2eSeconds - ttftSeconds) / (state.outputTokens - 1) : null,
    e2eSeconds,
    edgeJoules,
    cloudSeconds,
    upBytes,
    downBytes,
    accuracyLoss,
  }
}

/** Nobody else in the queue or in the cloud, and a warm connection: what the oracle plans for. */
function aloneWorld({ pair, state, readingTokensPerSecond }: OracleInput): EpisodeInputs {
  const { link, promptTokens, outputTokens } = state
  return {
    link: constantLink(link.upBitsPerSecond, link.downBitsPerSecond, link.rttSeconds),
    tenants: constantStep(0),
    arrivals: [
      {
        arrivalSeconds: 0,
        promptTokens,
        outputTokens,
        predictedOutputTokens: outputTokens,
        predictedOutputSd: 0,
      },
    ],
    maxInFlight: 1,
    cloudSlots: 1,
    batchFactors: [1],
    network: { ...pair.network, coldRtts: 0 },
    readingTokensPerSecond,
    outageSeconds: null,
  }
}

function analyticFigures(cost: PlanCost): AloneFigures {
  const { ttftSeconds, tpotSeconds, e2eSeconds, edgeJoules, cloudSeconds, upBytes, downBytes, accuracyLoss } =
    cost
  return {
    cost: cost.cost,
    ttftSeconds,
    tpotSeconds,
    e2eSeconds,
    edgeJoules,
    cloudSeconds,
    upBytes,
    downBytes,
    accuracyLoss,
  }
}

/** Both simulators' figures and the analytic ones, and how far apart any two are. */
export function threeWays(input: OracleInput, plan: Plan, cost: PlanCost) {
  const analytic = analyticFigures(cost)
  const reference = aloneFigures(input, plan, createReference)
  const fast = aloneFigures(input, plan, createFast)
  let maxRelativeDifference = 0
  for (const name of Object.keys(analytic) as (keyof AloneFigures)[]) {
    const values = [analytic[name], reference[name], fast[name]].map((value) => value ?? 0)
    const largest = Math.max(...values.map(Math.abs))
    const spread = Math.max(...values) - Math.min(...values)
    if (largest > 0) maxRelativeDifference = Math.max(maxRelativeDifference, spread / largest)
  }
  return { analytic, reference, fast, maxRelativeDifference }
}
