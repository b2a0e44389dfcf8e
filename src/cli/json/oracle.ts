import { z } from 'zod'
import { addParts, explainPlan, type Explanation, type Phase } from '../../plan/oracle/explain.ts'
import { edgeMemory } from '../../plan/price/memory.ts'
import { planJsonSchema, planToJson } from '../../plan/price/json.ts'
import { planCost } from '../../plan/oracle/value.ts'
import { fitsEdge } from '../../plan/price/memory.ts'
import { optimalPlan } from '../../plan/oracle/oracle.ts'
import type { OracleInput } from '../../plan/price/question.ts'
import { pairUnits } from '../../plan/price/pair.ts'
import { CLOUD, EDGE, cutPlan, uniformPlan, type Plan } from '../../plan/plan.ts'
import { layerCut } from '../../plan/planners/fixed.ts'
import type { PlanCost } from '../../plan/price/evaluate.ts'
import { formatBytes } from '../../report/numbers.ts'
import { stateJson, stateSchema } from './request.ts'

const amount = z.number().min(0)

/** A plan and what it takes for one request alone. */
export const planFiguresSchema = z.strictObject({
  plan: planJsonSchema,
  cost: amount,
  ttftSeconds: amount,
  /** Null for an answer of one token. */
  tpotSeconds: amount.nullable(),
  e2eSeconds: amount,
  edgeJoules: amount,
  cloudSeconds: amount,
  upBytes: amount,
  downBytes: amount,
  accuracyLoss: amount,
})

type PlanFigures = z.infer<typeof planFiguresSchema>

const phaseSchema = z.strictObject({
  seconds: z.strictObject({
    edgeComputeSeconds: amount,
    cloudComputeSeconds: amount,
    uplinkSeconds: amount,
    downlinkSeconds: amount,
    roundTripSeconds: amount,
  }),
  use: z.strictObject({
    edgeBusySeconds: amount,
    cloudBusySeconds: amount,
    upBytes: amount,
    downBytes: amount,
    messages: amount,
  }),
  joules: z.strictObject({
    idleJoules: amount,
    computeJoules: amount,
    radioUpJoules: amount,
    radioDownJoules: amount,
    messageJoules: amount,
  }),
})

/** Where the seconds, joules and bytes of a request go, by phase, and its cost by term. */
export const explanationSchema = z.strictObject({
  prefill: phaseSchema,
  decode: phaseSchema,
  cost: z.strictObject({ latency: amount, energy: amount, cloud: amount, bytes: amount, accuracy: amount }),
})

const CANDIDATES = ['optimum', 'edgeOnly', 'cloudOnly', 'bestLayerCut'] as const
/** The plans that `edgewise oracle` compares. */
export type CandidateName = (typeof CANDIDATES)[number]

const figures = planFiguresSchema.nullable()

/** `edgewise oracle --json`. */
export const oracleJsonSchema = z.strictObject({
  state: stateSchema,
  optimum: figures,
  edgeOnly: figures,
  cloudOnly: figures,
  bestLayerCut: figures,
  /** Why a candidate is null. */
  reasons: z.partialRecord(z.enum(CANDIDATES), z.string()),
  /** Where each second, joule and byte of a candidate goes. */
  why: z.partialRecord(z.enum(CANDIDATES), explanationSchema),
})

type OracleJson = z.infer<typeof oracleJsonSchema>

/** A plan, or why there is none. */
type Found = { readonly plan: Plan } | { readonly reason: string }

/** A candidate of the comparison, priced and explained. */
export interface Candidate {
  readonly name: CandidateName
  readonly plan: Plan | null
  readonly reason: string | null
  readonly cost: PlanCost | null
  readonly why: Explanation | null
}

/** The optimum beside edge-only, cloud-only and the best layer cut. */
export function compareCandidates(input: OracleInput): Candidate[] {
  const found: Record<CandidateName, Found> = {
    optimum: optimum(input),
    edgeOnly: onTheEdge(input),
    cloudOnly: inTheCloud(input),
    bestLayerCut: bestCut(input),
  }
  return CANDIDATES.map((name) => {
    const answer = found[name]
    if ('reason' in answer) return { name, plan: null, reason: answer.reason, cost: null, why: null }
    const { plan } = answer
    return { name, plan, reason: null, cost: planCost(input, plan), why: explainPlan(input, plan) }
  })
}

/** What `edgewise oracle --json` prints. */
export function oracleJson(input: OracleInput, candidates: readonly Candidate[]): OracleJson {
  const entry = (name: CandidateName): PlanFigures | null => {
    const { plan, cost } = candidates.find((candidate) => candidate.name === name) as Candidate
    return plan === null || cost === null ? null : figuresJson(input, plan, cost)
  }
  return {
    state: stateJson(input),
    optimum: entry('optimum'),
    edgeOnly: entry('edgeOnly'),
    cloudOnly: entry('cloudOnly'),
    bestLayerCut: entry('bestLayerCut'),
    reasons: Object.fromEntries(candidates.flatMap(({ name, reason }) => (reason ? [[name, reason]] : []))),
    why: Object.fromEntries(candidates.flatMap(({ name, why }) => (why ? [[name, why]] : []))),
  }
}

function figuresJson(input: Pick<OracleInput, 'pair'>, plan: Plan, cost: PlanCost): PlanFigures {
  return {
    plan: planToJson(input.pair, plan),
    cost: cost.cost,
    ttftSeconds: cost.ttftSeconds,
    tpotSeconds: cost.tpotSeconds,
    e2eSeconds: cost.e2eSeconds,
    edgeJoules: cost.edgeJoules,
    cloudSeconds: cost.cloudSeconds,
    upBytes: cost.upBytes,
    downBytes: cost.downBytes,
    accuracyLoss: cost.accuracyLoss,
  }
}

/** Both phases together. */
export function wholeOf({ prefill, decode }: Explanation): Phase {
  return {
    seconds: addParts(prefill.seconds, decode.seconds),
    use: addParts(prefill.use, decode.use),
    joules: addParts(prefill.joules, decode.joules),
  }
}

function isDead(input: OracleInput): boolean {
  const { link } = input.state
  return link.upBitsPerSecond === 0 || link.downBitsPerSecond === 0
}

const DEAD_LINK = 'the link carries nothing in one direction'

function optimum(input: OracleInput): Found {
  const answer = optimalPlan(input)
  if (answer !== null) return { plan: answer.plan }
  const pinned = input.options.edgeLayersFirst + input.options.edgeLayersLast > 0
  const allowed = isDead(input) ? `${DEAD_LINK}, and on the edge ` : pinned ? 'with the pinned layers, ' : ''
  return { reason: `${allowed}no plan fits ${formatBytes(input.options.memoryBytes)} of edge memory` }
}

/** Null if a plan fits the edge, else why not. */
export function misfit(input: Pick<OracleInput, 'pair' | 'options'>, plan: Plan): string | null {
  const { pair, options } = input
  if (fitsEdge(pair, plan, options)) return null
  const { weightBytes, kvBytesPerToken } = edgeMemory(pair, plan)
  const kv = kvBytesPerToken * options.reservedTokens
  return (
    `does not fit edge memory: ${formatBytes(weightBytes)} of weights and ${formatBytes(kv)} of K/V ` +
    `for ${options.reservedTokens} tokens, against ${formatBytes(options.memoryBytes)}`
  )
}

function onTheEdge(input: OracleInput): Found {
  const { pair } = input
  const plan = uniformPlan(pair.model.layers, pairUnits(pair), EDGE, input.options.boundaryBits[0])
  const reason = misfit(input, plan)
  return reason === null ? { plan } : { reason }
}

function inTheCloud(input: OracleInput): Found {
  const { edgeLayersFirst, edgeLayersLast, boundaryBits } = input.options
  if (edgeLayersFirst + edgeLayersLast > 0) {
    return { reason: `layers are pinned to the edge: first ${edgeLayersFirst}, last ${edgeLayersLast}` }
  }
  if (isDead(input)) return { reason: DEAD_LINK }
  return { plan: uniformPlan(input.pair.model.layers, pairUnits(input.pair), CLOUD, boundaryBits[0]) }
}

/** The cheapest contiguous cut, both ends included; with pinned ends the cloud takes a stretch in between. */
function bestCut(input: OracleInput): Found {
  const { edgeLayersFirst, edgeLayersLast, boundaryBits } = input.options
  const { layers } = input.pair.model
  let best: Plan | null = null
  let least = Infinity
  for (let cut = edgeLayersFirst; cut <= layers - edgeLayersLast; cut++) {
    for (const bits of boundaryBits) {
      const plan = cutAt(input, cut, bits)
      const isEdge = plan.ffn.every((mode) => mode === 0)
      if ((isDead(input) && !isEdge) || !fitsEdge(input.pair, plan, input.options)) continue
      const { cost } = planCost(input, plan)
      if (cost < least) {
        least = cost
        best = plan
      }
    }
  }
  return best === null ? { reason: 'no layer cut fits edge memory and the link' } : { plan: best }
}

function cutAt(input: OracleInput, cut: number, bits: Plan['boundaryBits']): Plan {
  const { edgeLayersFirst, edgeLayersLast } = input.options
  if (edgeLayersFirst + edgeLayersLast === 0) return layerCut(input, cut, bits)
  const { layers } = input.pair.model
  const plan = cutPlan(layers, pairUnits(input.pair), cut, bits, EDGE, EDGE)
  plan.unitsOnCloud.fill(0, layers - edgeLayersLast)
  plan.ffn.fill(0, layers - edgeLayersLast)
  return plan
}
