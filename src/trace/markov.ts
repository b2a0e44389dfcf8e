import { z } from 'zod'
import { InputError } from '../core/errors.ts'
import { RandomStream } from '../core/random.ts'
import { check, readConfig } from '../core/schema.ts'
import type { LinkSeries } from './types.ts'

/** Cumulative shares at which a state's distribution is stored; in between it is uniform in the logarithm. */
export const QUANTILE_SHARES = [0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 1] as const

const quantiles = (least: z.ZodNumber) =>
  z
    .array(least)
    .length(QUANTILE_SHARES.length)
    .refine((values) => values.every((value, i) => i === 0 || value >= values[i - 1]), 'ascending quantiles')
const laneSchema = z.strictObject({
  /** Share of the state's bins that carry nothing. */
  silentShare: z.number().min(0).max(1),
  /** Quantiles of the other bins at QUANTILE_SHARES; absent if there are no others. */
  quantilesMbps: quantiles(z.number().positive()).optional(),
})
const rttSchema = z.strictObject({ quantilesMs: quantiles(z.number().positive()) })
const stateSchema = z.strictObject({
  uplink: laneSchema.optional(),
  downlink: laneSchema.optional(),
  rtt: rttSchema.optional(),
})
const chainSchema = z.strictObject({
  states: z.array(stateSchema).min(1).max(64),
  /** transition[i][j]: probability of going from state i to state j in one bin. */
  transition: z.array(z.array(z.number().min(0).max(1))),
})
/** Source of a lane: a chain's states, a constant, or the other direction's rate times a ratio. */
const laneSource = z.union([
  z.strictObject({ chain: z.number().int().min(0) }),
  z.strictObject({ constantMs: z.number().positive(), reason: z.string() }),
  z.strictObject({ constantMbps: z.number().min(0), reason: z.string() }),
  z.strictObject({ timesUplink: z.number().positive(), reason: z.string() }),
  z.strictObject({ timesDownlink: z.number().positive(), reason: z.string() }),
])
const originSchema = z.strictObject({
  source: z.string(),
  url: z.string(),
  cite: z.string(),
  licence: z.string(),
  /** Which files and columns were used for the fit, and how much of them. */
  used: z.string(),
})

/** Schema of a link model. */
export const linkModelSchema = z.strictObject({
  schemaVersion: z.literal(1),
  kind: z.literal('synthetic'),
  name: z.string().regex(/^[a-z0-9-]{1,60}$/, 'lower-case letters, digits and dashes'),
  description: z.string().max(2000),
  place: z.string().max(200),
  split: z.enum(['train', 'validation', 'test']),
  /** How the parts belong together, in words. */
  composition: z.string().max(2000),
  origin: z.array(originSchema).min(1),
  binSeconds: z.number().positive().max(60),
  lanes: z.strictObject({ uplink: laneSource, downlink: laneSource, rtt: laneSource }),
  chains: z.array(chainSchema).max(8),
})

/** A Markov-modulated link whose parameters were fitted to recordings; links drawn from it are synthetic. */
export type LinkModel = z.infer<typeof linkModelSchema>
/** One chain of a link model. */
export type LinkChain = LinkModel['chains'][number]
/** Distribution of a rate within a state. */
export type LaneDistribution = z.infer<typeof laneSchema>
/** Distribution of the RTT within a state. */
export type RttDistribution = z.infer<typeof rttSchema>
type Lane = keyof LinkModel['lanes']
const LANES: readonly Lane[] = ['uplink', 'downlink', 'rtt']

/**
 * Reads a link model from a file.
 * @throws InputError naming file and field
 */
export function readLinkModel(path: string): LinkModel {
  return checkLinkModel(readConfig(linkModelSchema, path), path)
}

/**
 * Checks the schema, that transition matrices are square and stochastic, and that every lane's chain has the lane in
 * every state.
 */
export function checkLinkModel(value: unknown, where: string): LinkModel {
  const model: LinkModel = check(linkModelSchema, value, where)
  const fail = (place: string, expected: string, found: string) => {
    throw new InputError({ where: `${where}: ${place}`, expected, found })
  }
  model.chains.forEach(({ states, transition }, c) => {
    if (transition.length !== states.length)
      fail(`chains.${c}.transition`, `${states.length} rows`, `${transition.length}`)
    transition.forEach((row, i) => {
      const sum = row.reduce((total, p) => total + p, 0)
      if (row.length === states.length && Math.abs(sum - 1) < 1e-3) return
      const found = `${row.length}, sum ${sum}`
      fail(`chains.${c}.transition.${i}`, `${states.length} probabilities that sum to 1`, found)
    })
  })
  for (const lane of LANES) {
    const source = model.lanes[lane]
    if ('chain' in source) {
      const chain = model.chains[source.chain] as LinkChain | undefined
      if (!chain?.states.every((state) => state[lane] !== undefined)) {
        fail(`lanes.${lane}`, `a chain whose every state has ${lane}`, `chain ${source.chain}`)
      }
    } else {
      const allowed = suits(lane, model.lanes)
      if (!allowed) fail(`lanes.${lane}`, 'a source that fits the lane', Object.keys(source).join(', '))
    }
  }
  return model
}

/** Whether a lane's source fits: a ratio must not refer to another ratio, and a constant must have the lane's unit. */
function suits(lane: Lane, lanes: LinkModel['lanes']): boolean {
  const source = lanes[lane]
  if ('timesUplink' in source) return lane === 'downlink' && !('timesDownlink' in lanes.uplink)
  if ('timesDownlink' in source) return lane === 'uplink' && !('timesUplink' in lanes.downlink)
  return (lane === 'rtt') === 'constantMs' in source
}

/**
 * Draws a synthetic link of `seconds` in the model's bins. Each chain starts in its long-run distribution and has a
 * random stream of its own, so that uncoupled parts stay independent.
 */
export function sampleLink(model: LinkModel, seconds: number, random: RandomStream): LinkSeries {
  const count = Math.max(1, Math.ceil(seconds / model.binSeconds - 1e-9))
  if (!(count < 1e8)) {
    throw new InputError({
      where: `link ${model.name}`,
      expected: 'a length in seconds',
      found: `${seconds}`,
    })
  }
  const streams = model.chains.map(() => fork(random))
  const paths = model.chains.map((chain, c) => sampleStates(chain, count, streams[c]))
  const values = {
    uplink: new Float64Array(count),
    downlink: new Float64Array(count),
    rtt: new Float64Array(count),
  }
  for (const lane of LANES) {
    const source = model.lanes[lane]
    if ('chain' in source) {
      const { states } = model.chains[source.chain]
      const path = paths[source.chain]
      for (let i = 0; i < count; i++) values[lane][i] = draw(states[path[i]][lane]!, streams[source.chain])
    } else if ('constantMs' in source) values[lane].fill(source.constantMs / 1000)
    else if ('constantMbps' in source) values[lane].fill(source.constantMbps * 1e6)
  }
  const { uplink, downlink } = model.lanes
  if ('timesDownlink' in uplink) values.uplink = values.downlink.map((rate) => rate * uplink.timesDownlink)
  if ('timesUplink' in downlink) values.downlink = values.uplink.map((rate) => rate * downlink.timesUplink)
  return {
    timeSeconds: Float64Array.from({ length: count + 1 }, (_, i) => i * model.binSeconds),
    upBitsPerSecond: values.uplink,
    downBitsPerSecond: values.downlink,
    rttSeconds: values.rtt,
    label: `synthetic ${model.name} (fitted to ${model.origin.map(({ source }) => source).join(', ')})`,
  }
}

/** Creates a stream that is seeded by the given one. */
export function fork(random: RandomStream): RandomStream {
  const word = () => random.nextUint32()
  return new RandomStream([word() | 1, word(), word(), word()])
}

/** Cached long-run distributions: a link is drawn for every episode, and the matrix powers cost as much as the draw. */
const longRuns = new WeakMap<LinkChain, readonly number[]>()

function longRunOf(chain: LinkChain): readonly number[] {
  const known = longRuns.get(chain) ?? longRun(chain.transition)
  longRuns.set(chain, known)
  return known
}

/** Draws the chain's state in each of `count` bins. */
function sampleStates(chain: LinkChain, count: number, random: RandomStream): Uint8Array {
  const path = new Uint8Array(count)
  let state = pick(longRunOf(chain), random)
  for (let i = 0; i < count; i++) {
    path[i] = state
    state = pick(chain.transition[state], random)
  }
  return path
}

/** Draws an index with the given weights. */
export function pick(weights: readonly number[], random: RandomStream): number {
  let rest = random.uniform() * weights.reduce((sum, weight) => sum + weight, 0)
  for (let i = 0; i < weights.length; i++) {
    if (rest < weights[i]) return i
    rest -= weights[i]
  }
  return weights.findLastIndex((weight) => weight > 0)
}

/** The long-run distribution of a chain, from powers of its lazy version, which converges for periodic chains too. */
export function longRun(transition: readonly (readonly number[])[]): number[] {
  const n = transition.length
  let share: number[] = new Array<number>(n).fill(1 / n)
  for (let step = 0; step < 20_000; step++) {
    const next = share.map((p) => 0.5 * p)
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) next[j] += 0.5 * share[i] * transition[i][j]
    const total = next.reduce((sum, p) => sum + p, 0)
    const moved = next.reduce((sum, p, i) => sum + Math.abs(p / total - share[i]), 0)
    share = next.map((p) => p / total)
    if (moved < 1e-13) break
  }
  return share
}

/** Draws a value in bit/s or seconds. */
function draw(lane: LaneDistribution | RttDistribution, random: RandomStream): number {
  if ('quantilesMs' in lane) return atShare(lane.quantilesMs, random.uniform()) / 1000
  const silent = random.uniform() < lane.silentShare
  // Drawn even where it is not used, so that every bin takes exactly two numbers from the stream.
  const share = random.uniform()
  return silent || lane.quantilesMbps === undefined ? 0 : atShare(lane.quantilesMbps, share) * 1e6
}

/** Inverse of the distribution function that is uniform in the logarithm between the quantiles. */
function atShare(quantiles: readonly number[], share: number): number {
  let i = 0
  while (i < quantiles.length - 2 && share >= QUANTILE_SHARES[i + 1]) i++
  const within = (share - QUANTILE_SHARES[i]) / (QUANTILE_SHARES[i + 1] - QUANTILE_SHARES[i])
  return quantiles[i] * (quantiles[i + 1] / quantiles[i]) ** within
}
