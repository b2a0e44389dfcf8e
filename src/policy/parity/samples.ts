import { randomStream } from '../../core/random.ts'
import type { RandomStream } from '../../core/random.ts'
import { OBSERVATION_SIZE, encodeObservation } from '../observation/observation.ts'
import { PlanDecoder, ROW_FEATURE_SIZE } from '../action/planDecoder.ts'
import { Residency } from '../../plan/price/residency.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import type { Situation } from '../../plan/price/situation.ts'
import { ActorKernel } from '../actor/kernel.ts'
import type { PolicyNumbers } from '../actor/learned.ts'

/** Rows of samples: an observation, and one row of every head. Shapes [N, D], [N, S], for each head [N, C], [N]. */
export interface ParitySamples {
  readonly label: string
  /** Whether equal logits are equal to the last bit on every engine, so that no disagreement is due to rounding. */
  readonly exactTies: boolean
  readonly rows: number
  /** Number of distinct observations among the rows. */
  readonly distinct: number
  readonly observations: Float32Array
  readonly features: Float32Array
  readonly masks: readonly Uint8Array[]
  readonly uniforms: Float32Array
}

/** Largest float32, and steps of one unit in the last place around the clip. */
const LARGEST = 3.4028234663852886e38
const EDGES = [0, -0, 1e-45, -1e-45, 1, -1, 1e6, -1e6, 1e20, -1e20, LARGEST, -LARGEST]
const UNIFORM_EDGES = [0, 2 ** -24, 0.5, 1 - 2 ** -24]
const FEATURE_EDGES = [0, 1, -1, 4]

/** `count` observations around the normaliser's distribution, with random features and masks. */
export function randomSamples(numbers: PolicyNumbers, count: number, seed: number): ParitySamples {
  const stream = randomStream(seed, 'parity/random')
  const { mean, scale } = numbers.normaliser
  const samples = blank('random', numbers, count)
  samples.observations.forEach((_, at) => {
    const i = at % mean.length
    // Twice as wide as in training, so that some elements are clipped while others are not.
    samples.observations[at] = mean[i] + (2 * stream.normal()) / scale[i]
  })
  return fillRows(samples, numbers, stream)
}

/**
 * Zeros, extremes, and the clip's boundary approached from both sides: as whole observations, and one element at a
 * time.
 */
export function edgeSamples(numbers: PolicyNumbers, seed: number): ParitySamples {
  const stream = randomStream(seed, 'parity/edges')
  const { mean, scale } = numbers.normaliser
  const clip = numbers.spec.observationClip
  const size = mean.length
  const boundary = [1 - 2 ** -23, 1, 1 + 2 ** -22].flatMap((factor) => [clip * factor, -clip * factor])
  const values = (i: number): number[] => [...EDGES, ...boundary.map((at) => mean[i] + at / scale[i])]
  const kinds = EDGES.length + boundary.length
  const samples = blank('edges', numbers, kinds * (size + 1) + 256)
  for (let row = 0; row < samples.rows; row++) {
    for (let i = 0; i < size; i++) {
      const ordinary = mean[i] + stream.normal() / scale[i]
      const kind = row % kinds
      const element = Math.floor(row / kinds)
      const edge = element > size ? stream.integer(kinds) : element === size || element === i ? kind : -1
      samples.observations[row * size + i] = edge < 0 ? ordinary : values(i)[edge]
    }
  }
  return fillRows(samples, numbers, stream)
}

/** The limits of a device in service: memory in bytes, and the longest answer in tokens. */
export interface SampleService {
  readonly memoryBytes: number
  readonly maxNewTokens: number
}

/** Realistic observations, features and masks: `count` random situations, each with a whole plan chosen row by row. */
export function walkedSamples(
  problem: DecisionProblem,
  service: SampleService,
  numbers: PolicyNumbers,
  count: number,
  seed: number,
): ParitySamples {
  const stream = randomStream(seed, 'parity/walks')
  const decoder = new PlanDecoder(problem)
  const kernel = new ActorKernel(numbers.spec)
  kernel.load(numbers.parameters, numbers.normaliser)
  const samples = fillRows(blank('walks', numbers, count * decoder.rows), numbers, stream)
  for (let planIndex = 0; planIndex < count; planIndex++) {
    const situation = randomSituation(problem, service, stream)
    fillPlanRows(decoder, kernel, situation, problem, samples, planIndex, stream)
  }
  return { ...samples, distinct: count }
}

/** Chooses one plan and writes its rows; half of the plans follow the policy, the others are random. */
function fillPlanRows(
  decoder: PlanDecoder,
  kernel: ActorKernel,
  situation: Situation,
  problem: DecisionProblem,
  samples: ParitySamples,
  planIndex: number,
  stream: RandomStream,
): void {
  const observation = new Float32Array(OBSERVATION_SIZE)
  encodeObservation(problem, situation, observation)
  kernel.encode(observation)
  decoder.begin(situation)
  for (let row = 0; row < decoder.rows; row++) {
    const at = planIndex * decoder.rows + row
    const head = row === 0 ? 0 : 1
    const { choices } = kernel.spec.heads[head]
    const features = samples.features.subarray(at * ROW_FEATURE_SIZE, (at + 1) * ROW_FEATURE_SIZE)
    const mask = samples.masks[head].subarray(at * choices, (at + 1) * choices)
    decoder.input(row, features, mask)
    samples.observations.set(observation, at * OBSERVATION_SIZE)
    const anywhere = planIndex % 2 === 0
    decoder.choose(
      row,
      anywhere ? anyAllowed(mask, stream) : kernel.sample(head, features, mask, stream.uniform()),
    )
  }
}

/** A situation that a device may meet: rates, load and memory over their whole range, and occasional outages. */
export function randomSituation(
  problem: DecisionProblem,
  { memoryBytes, maxNewTokens }: SampleService,
  stream: RandomStream,
): Situation {
  const { contextTokens } = problem.pair.model
  const between = (low: number, high: number): number => low * (high / low) ** stream.uniform()
  const mostly = (value: number, otherwise: number): number => (stream.uniform() < 0.8 ? value : otherwise)
  const promptTokens = Math.max(1, Math.round(between(1, contextTokens - 1)))
  const longest = Math.min(maxNewTokens, contextTokens - promptTokens)
  const predicted = between(1, Math.max(1, longest))
  const rate = () => ({
    shortBitsPerSecond: mostly(between(1e4, 1e9), 0),
    longBitsPerSecond: between(1e4, 1e9),
    relativeSpread: stream.uniform(),
  })
  const whole = new Residency(problem.pair).wholeBytes()
  const replanning = stream.uniform() < 0.2
  const pinned = problem.edgeLayersFirst + problem.edgeLayersLast > 0
  // Little memory makes the masks take effect; where ends are fixed, too little memory would leave no plan.
  const freeMemoryBytes = pinned || stream.uniform() < 0.5 ? memoryBytes : whole * 1.2 * stream.uniform()
  return {
    nowSeconds: 1000 * stream.uniform(),
    replanning,
    deliveredTokens: replanning ? stream.integer(promptTokens) : 0,
    promptTokens,
    predictedOutputTokens: predicted,
    predictedOutputSd: predicted * stream.uniform(),
    waitedSeconds: mostly(between(0.01, 100), 0),
    waitingRequests: 1 + stream.integer(20),
    inFlight: stream.integer(4),
    arrivalsPerSecond: mostly(between(0.001, 10), 0),
    edgeBacklogSeconds: mostly(between(0.01, 300), 0),
    cloudBacklogSeconds: mostly(between(0.01, 300), 0),
    edgeSecondsPerRequest: mostly(between(0.01, 60), 0),
    uplinkQueuedBytes: mostly(between(1, 1e8), 0),
    up: rate(),
    down: rate(),
    rttSeconds: between(0.0005, 1),
    rttSpreadSeconds: mostly(between(0.0001, 0.5), 0),
    sinceHeartbeatSeconds: between(0.01, 60),
    sinceTransferSeconds: between(0.01, 600),
    tenantsHeard: mostly(stream.integer(200), 0),
    tenantsAgeSeconds: between(0.1, 600),
    edgeSlowdown: between(0.5, 3),
    cloudSlowdown: between(0.5, 30),
    cloudSlowdownAgeSeconds: between(0.1, 600),
    recentEdgeSecondsPerToken: mostly(between(0.001, 10), NaN),
    recentCloudSecondsPerToken: mostly(between(0.001, 10), NaN),
    freeMemoryBytes: Math.min(memoryBytes, freeMemoryBytes),
    memoryBytes,
    residentBytes: whole * stream.uniform(),
    reservedTokens: Math.min(contextTokens, promptTokens + maxNewTokens),
    virtual: { energy: 3 * stream.uniform(), accuracy: mostly(0, 2), money: 3 * stream.uniform() },
  }
}

function blank(label: string, numbers: PolicyNumbers, rows: number): ParitySamples {
  const { spec } = numbers
  return {
    label,
    exactTies: false,
    rows,
    distinct: rows,
    observations: new Float32Array(rows * spec.observationSize),
    features: new Float32Array(rows * spec.rowFeatureSize),
    masks: spec.heads.map((head) => new Uint8Array(rows * head.choices)),
    uniforms: new Float32Array(rows),
  }
}

/** Random features, masks of every density with at least one choice, and uniforms including their limits. */
function fillRows(samples: ParitySamples, { spec }: PolicyNumbers, stream: RandomStream): ParitySamples {
  const { rows, features, masks, uniforms } = samples
  features.forEach((_, at) => {
    features[at] =
      stream.uniform() < 0.3 ? FEATURE_EDGES[stream.integer(FEATURE_EDGES.length)] : stream.uniform()
  })
  for (let row = 0; row < rows; row++) {
    uniforms[row] = row % 16 === 0 ? UNIFORM_EDGES[(row / 16) % UNIFORM_EDGES.length] : stream.uniform()
    // Rounding to float32 may give 1, which is not a valid uniform.
    if (uniforms[row] >= 1) uniforms[row] = 1 - 2 ** -24
    spec.heads.forEach(({ choices }, head) => {
      const share = stream.uniform() * 1.2
      const mask = masks[head].subarray(row * choices, (row + 1) * choices)
      mask.forEach((_, i) => (mask[i] = stream.uniform() < share ? 1 : 0))
      mask[stream.integer(choices)] = 1
    })
  }
  return samples
}

function anyAllowed(mask: Uint8Array, stream: RandomStream): number {
  let choice = stream.integer(mask.length)
  while (mask[choice] === 0) choice = (choice + 1) % mask.length
  return choice
}
