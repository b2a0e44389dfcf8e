import type { RandomStream } from '../../src/core/random.ts'
import type { LatencyForm } from '../../src/plan/price/objective.ts'
import type { DevicePair } from '../../src/plan/price/pair.ts'
import { EDGE, uniformPlan, type Plan } from '../../src/plan/plan.ts'
import { pairUnits } from '../../src/plan/price/pair.ts'
import { edgeMemory } from '../../src/plan/price/memory.ts'
import type { DecisionProblem } from '../../src/plan/price/problem.ts'
import type { Situation } from '../../src/plan/price/situation.ts'
import { ROW_FEATURE_SIZE, type PlanDecoder } from '../../src/policy/action/planDecoder.ts'
import { NO_BUDGETS } from '../../src/plan/price/budgets.ts'
import type { EpisodeTerms } from '../../src/sim/episode.ts'
import { cloudSlowdown } from '../../src/plan/price/cloud.ts'
import type { EpisodeInputs } from '../../src/sim/types.ts'
import { createLink } from '../../src/trace/link.ts'
import { randomPair, type RandomShape } from './randomPair.ts'

export const FORMS: readonly LatencyForm['form'][] = ['mean', 'qoe', 'convex']

const SLOTS = 3
const BATCH_FACTORS = [1, 1.2, 1.5]

function between(random: RandomStream, low: number, high: number): number {
  return low + (high - low) * random.uniform()
}

/** Log-uniform. */
function scaled(random: RandomStream, low: number, high: number): number {
  return low * (high / low) ** random.uniform()
}

/** A small pair with random weights; every option of a plan allowed. */
export function randomProblem(
  random: RandomStream,
  shape: RandomShape,
  form: LatencyForm['form'],
): DecisionProblem {
  // The time scale of these small models is milliseconds: a fast reader makes the stalls matter.
  const readingTokensPerSecond = scaled(random, 10, 1e4)
  const latency: LatencyForm =
    form === 'mean'
      ? { form }
      : form === 'qoe'
        ? { form, readingTokensPerSecond }
        : { form, deadlineSeconds: between(random, 0, 0.5) }
  return {
    pair: randomPair(random, shape),
    objective: {
      weights: {
        latency: 1,
        energy: between(random, 0, 0.3),
        cloud: between(random, 0, 2),
        bytes: between(random, 0, 1),
        accuracy: between(random, 0, 1),
      },
      latency,
    },
    budgets: NO_BUDGETS,
    readingTokensPerSecond,
    boundaryBits: [32, 16, 8, 4],
    earlyExit: true,
    exitThresholds: null,
    edgeLayersFirst: 0,
    edgeLayersLast: 0,
    cloudSlowdown: (active) => cloudSlowdown(BATCH_FACTORS, SLOTS, active),
  }
}

/** Bytes of the whole model on the edge, with K/V for `tokens`. */
export function wholeEdgeBytes(pair: DevicePair, tokens: number): number {
  const memory = edgeMemory(pair, uniformPlan(pair.model.layers, pairUnits(pair), EDGE))
  return memory.weightBytes + memory.kvBytesPerToken * tokens
}

/** Links that change and break, tenants that come and go, bursts and calm: on the time scale of the pair. */
export function randomWorld(random: RandomStream, problem: DecisionProblem, requests = 6): EpisodeInputs {
  const bins = 1 + random.integer(8)
  const binSeconds = scaled(random, 0.01, 1)
  const outages = random.uniform() < 0.5 ? 0.25 : 0
  const rates = (): Float64Array =>
    new Float64Array(bins).map((_, i) => (i > 0 && random.uniform() < outages ? 0 : scaled(random, 1e6, 1e9)))
  const link = createLink({
    timeSeconds: Float64Array.from({ length: bins + 1 }, (_, i) => i * binSeconds),
    upBitsPerSecond: rates(),
    downBitsPerSecond: rates(),
    rttSeconds: new Float64Array(bins).map(() => scaled(random, 1e-5, 0.05)),
    label: 'random',
  })
  const steps = 1 + random.integer(5)
  const tenants = {
    timeSeconds: Float64Array.from({ length: steps }, (_, i) => i * binSeconds),
    value: new Float64Array(steps).map(() => random.integer(8) / 2),
  }
  const gapSeconds = scaled(random, 1e-3, 1)
  let arrivalSeconds = 0
  const arrivals = Array.from({ length: requests }, () => {
    arrivalSeconds += random.exponential(gapSeconds)
    const outputTokens = random.uniform() < 0.1 ? 1 : 1 + random.integer(30)
    return {
      arrivalSeconds,
      promptTokens: 1 + random.integer(100),
      outputTokens,
      predictedOutputTokens: Math.max(1, outputTokens * between(random, 0.5, 2)),
      predictedOutputSd: 5,
    }
  })
  return {
    link,
    tenants,
    arrivals,
    maxInFlight: 1 + random.integer(4),
    cloudSlots: SLOTS,
    batchFactors: BATCH_FACTORS,
    network: problem.pair.network,
    readingTokensPerSecond: problem.readingTokensPerSecond,
    outageSeconds: null,
  }
}

/**
 * A world whose link breaks every few requests for a while, and comes back. Outages are on the scale of one
 * request's service, so that many are caught, some more than once.
 */
export function outageWorld(random: RandomStream, problem: DecisionProblem, requests = 6): EpisodeInputs {
  const world = randomWorld(random, problem, requests)
  const binSeconds = scaled(random, 0.01, 0.2)
  const bins = 4 + random.integer(8)
  const broken = new Uint8Array(bins).map((_, i) => (i > 0 && random.uniform() < 0.4 ? 1 : 0))
  broken[bins - 1] = 1
  const rates = (): Float64Array =>
    new Float64Array(bins).map((_, i) => (broken[i] === 1 ? 0 : scaled(random, 1e6, 1e9)))
  const link = createLink({
    timeSeconds: Float64Array.from({ length: bins + 1 }, (_, i) => i * binSeconds),
    upBitsPerSecond: rates(),
    downBitsPerSecond: rates(),
    rttSeconds: new Float64Array(bins).map(() => scaled(random, 1e-5, 0.05)),
    label: 'broken',
  })
  return { ...world, link, outageSeconds: binSeconds * between(random, 0.05, 0.9) }
}

/** Plenty of memory, unless said otherwise. */
export function sessionTerms(changes: Partial<EpisodeTerms> = {}): EpisodeTerms {
  return {
    memoryBytes: 1e12,
    maxNewTokens: 40,
    heartbeatSeconds: 1,
    reportPeriodSeconds: 0.1,
    reportDelaySeconds: 0.05,
    decisionSeconds: 0,
    preloaded: true,
    ...changes,
  }
}

/** A plan by uniform choices among what the decoder's masks allow, row by row. */
export function randomWalk(random: RandomStream, decoder: PlanDecoder, situation: Situation): Plan {
  const features = new Float32Array(ROW_FEATURE_SIZE)
  const mask = new Uint8Array(Math.max(decoder.choices.length, (decoder.units + 1) * 3))
  decoder.begin(situation)
  for (let row = 0; row < decoder.rows; row++) {
    let skip = random.integer(decoder.input(row, features, mask))
    let choice = 0
    while (mask[choice] === 0 || skip-- > 0) choice++
    decoder.choose(row, choice)
  }
  return decoder.plan()
}
