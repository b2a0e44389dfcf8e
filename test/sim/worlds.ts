import type { RandomStream } from '../../src/core/random.ts'
import { randomStream } from '../../src/core/random.ts'
import type { Program, Resource, Stage, StageList } from '../../src/plan/price/program.ts'
import { RESOURCE } from '../../src/plan/price/program.ts'
import type { EpisodeInputs } from '../../src/sim/types.ts'
import { createLink } from '../../src/trace/link.ts'
import type { Link, RequestArrival, StepSeries } from '../../src/trace/types.ts'

/** A world and the program of each of its requests. */
export interface Case {
  readonly world: EpisodeInputs
  readonly programs: readonly Program[]
  readonly label: string
}

export function stage(resource: Resource, after: readonly number[], fields: Partial<Stage> = {}): Stage {
  return { resource, after, seconds: 0, curve: null, bytes: 0, express: false, ...fields }
}

export const { edge: EDGE, up: UP, cloud: CLOUD, down: DOWN } = RESOURCE

const EDGE_KNOTS = Float64Array.of(8, 16, 24, 64)
const CLOUD_KNOTS = Float64Array.of(4, 20, 40)

export function program(prefill: StageList, cycles: readonly StageList[], askShare = 0): Program {
  return {
    prefill,
    cycles,
    askShare,
    edgeKnots: EDGE_KNOTS,
    cloudKnots: CLOUD_KNOTS,
    accuracyLoss: 0.01,
    edgeWeightBytes: 0,
    edgeKvBytesPerToken: 0,
  }
}

export function list(
  stages: readonly Stage[],
  loop = stages.length - 1,
  deliver = stages.length - 1,
): StageList {
  return { stages, loop, deliver }
}

function between(random: RandomStream, low: number, high: number): number {
  return low + (high - low) * random.uniform()
}

/** Log-uniform. */
function scaled(random: RandomStream, low: number, high: number): number {
  return low * (high / low) ** random.uniform()
}

function chance(random: RandomStream, probability: number): boolean {
  return random.uniform() < probability
}

/** Draws stages of one case; its time scale is the same for compute and transfers, so that queues form everywhere. */
class ProgramMaker {
  private readonly random: RandomStream
  private readonly scaleSeconds: number
  /** Durations are eighths of a second, many equal: events coincide, and sums are exact. */
  private readonly grid: boolean

  constructor(random: RandomStream, grid: boolean) {
    this.random = random
    this.scaleSeconds = scaled(random, 0.003, 0.06)
    this.grid = grid
  }

  compute(resource: Resource, after: readonly number[], decode: boolean, work = 1): Stage {
    const { random } = this
    if (this.grid) return stage(resource, after, { seconds: random.integer(4) / 8 })
    const knots = resource === EDGE ? EDGE_KNOTS : CLOUD_KNOTS
    const zero = chance(random, 0.08)
    const seconds = zero ? 0 : work * this.scaleSeconds * scaled(random, 0.2, 3)
    const bend = decode && !zero && chance(random, 0.6)
    const curve = bend ? knots.map((knot) => seconds * (0.2 + 0.01 * knot) * between(random, 0.8, 1.2)) : null
    return stage(resource, after, { seconds, curve })
  }

  transfer(resource: Resource, after: readonly number[], work = 1): Stage {
    if (this.grid) return stage(resource, after, { bytes: 125 * this.random.integer(4) })
    return stage(resource, after, { bytes: work * scaled(this.random, 200, 9000) })
  }

  token(resource: Resource, after: readonly number[]): Stage {
    if (this.grid) return stage(resource, after, { bytes: 125 * this.random.integer(2), express: true })
    return stage(resource, after, { bytes: between(this.random, 30, 60), express: true })
  }

  /** Now and then, work after stage 0 that the tokens do not wait for. */
  leftovers(): Stage[] {
    if (chance(this.random, 0.8)) return []
    const resource = this.random.integer(4) as Resource
    if (resource === EDGE || resource === CLOUD) return [this.compute(resource, [0], false, 5)]
    return [chance(this.random, 0.5) ? this.transfer(resource, [0], 5) : this.token(resource, [0])]
  }

  edgeOnly(): Program {
    const prompt = [this.compute(EDGE, [], false, 4), ...this.leftovers()]
    const cycle = list([this.compute(EDGE, [], true)])
    if (chance(this.random, 0.1)) return program(cycle, [cycle])
    if (chance(this.random, 0.9)) return program(list(prompt, 0, 0), [cycle])
    return program(list([prompt[0], this.transfer(DOWN, [0], 9)], 0, 1), [cycle])
  }

  cloudOnly(): Program {
    const first = chance(this.random, 0.8) ? this.token(DOWN, [1]) : this.transfer(DOWN, [1], 5)
    const prompt = [this.token(UP, []), this.compute(CLOUD, [0], false, 4), first, ...this.leftovers()]
    const cycle = list([this.compute(CLOUD, [], true), this.token(DOWN, [0])], 0, 1)
    return program(chance(this.random, 0.1) ? cycle : list(prompt, 1, 2), [cycle])
  }

  cut(): Program {
    const pass = (decode: boolean, work: number) => {
      const parts = [this.compute(EDGE, [], decode, work), this.transfer(UP, [0], work)]
      parts.push(this.compute(CLOUD, [1], decode, work), this.transfer(DOWN, [2]))
      return list(chance(this.random, 0.5) ? [...parts, this.compute(EDGE, [3], decode)] : parts)
    }
    return program(pass(false, 5), [pass(true, 1)])
  }

  /** Heads on both sides: x goes up while the edge works, and a partial sum joins. */
  forks(): Program {
    const pass = (decode: boolean, work: number) => {
      const stages: Stage[] = []
      let tail: number[] = []
      const layers = 1 + this.random.integer(3)
      for (let layer = 0; layer < layers; layer++) {
        const at = stages.length
        stages.push(this.transfer(UP, tail, work), this.compute(EDGE, tail, decode, work))
        stages.push(this.compute(CLOUD, [at], decode, work))
        const back = chance(this.random, 0.7)
        stages.push(back ? this.transfer(DOWN, [at + 2], work) : this.transfer(UP, [at + 1], work))
        stages.push(
          this.compute(back ? EDGE : CLOUD, back ? [at + 1, at + 3] : [at + 2, at + 3], decode, work),
        )
        tail = [at + 4]
        if (back) continue
        stages.push(this.transfer(DOWN, tail, work))
        tail = [at + 5]
      }
      return list(stages)
    }
    return program(pass(false, 3), [pass(true, 1)])
  }

  /** Early exit: uploads beside the loop; some tokens are asked of the cloud, in one variant with catching up. */
  collaborative(): Program {
    const catchUp = chance(this.random, 0.5)
    const pass = (decode: boolean, work: number, asks: boolean) => {
      const stages = [this.compute(EDGE, [], decode, work), this.transfer(UP, [0], work)]
      if (asks || catchUp) stages.push(this.compute(CLOUD, [1], decode, work))
      if (!asks) return list(stages, 0, 0)
      return list([...stages, this.token(DOWN, [2])])
    }
    const cycles = [pass(true, 1, false), pass(true, 1, true)]
    const few = chance(this.random, 0.2) ? cycles.slice(0, 1) : cycles
    return program(pass(false, 4, false), few, chance(this.random, 0.1) ? 0 : this.random.uniform())
  }

  /** Any acyclic list, with a loop and a delivery anywhere. */
  anything(): Program {
    const { random } = this
    const pass = (decode: boolean, work: number) => {
      const stages: Stage[] = []
      const count = 1 + random.integer(7)
      for (let i = 0; i < count; i++) {
        const after: number[] = []
        for (let j = 0; j < i; j++) if (chance(random, 0.35)) after.push(j)
        const resource = random.integer(4) as Resource
        if (resource === EDGE || resource === CLOUD) stages.push(this.compute(resource, after, decode, work))
        else
          stages.push(
            chance(random, 0.25) ? this.token(resource, after) : this.transfer(resource, after, work),
          )
      }
      return list(stages, random.integer(count), random.integer(count))
    }
    const cycles = [pass(true, 1), pass(true, 1)].slice(0, 1 + random.integer(2))
    return program(pass(false, 3), cycles, random.uniform())
  }

  any(): Program {
    const kind = this.random.integer(7)
    if (kind <= 1) return this.edgeOnly()
    if (kind <= 3) return kind === 2 ? this.cloudOnly() : this.collaborative()
    return kind === 4 ? this.cut() : kind === 5 ? this.forks() : this.anything()
  }
}

function randomSteps(
  random: RandomStream,
  count: number,
  meanSeconds: number,
  draw: () => number,
): StepSeries {
  const timeSeconds = new Float64Array(count)
  for (let i = 1; i < count; i++) timeSeconds[i] = timeSeconds[i - 1] + 0.01 + random.exponential(meanSeconds)
  return { timeSeconds, value: timeSeconds.map(draw) }
}

function randomLink(random: RandomStream): Link {
  const bins = 1 + random.integer(12)
  const edges = randomSteps(random, bins + 1, scaled(random, 0.05, 2), () => 0).timeSeconds
  const outage = chance(random, 0.5) ? 0.25 : 0
  const rates = () => {
    const series = new Float64Array(bins)
    for (let i = 1; i < bins; i++) series[i] = chance(random, outage) ? 0 : scaled(random, 2e5, 5e7)
    series[0] = scaled(random, 2e5, 5e7)
    return series
  }
  const rtt = new Float64Array(bins).map(() => scaled(random, 0.001, 0.2))
  const [upBitsPerSecond, downBitsPerSecond] = [rates(), rates()]
  return createLink({
    timeSeconds: edges,
    upBitsPerSecond,
    downBitsPerSecond,
    rttSeconds: rtt,
    label: 'random',
  })
}

function randomArrivals(random: RandomStream): RequestArrival[] {
  const gapSeconds = scaled(random, 0.02, 5)
  const long = chance(random, 0.2) ? 150 : 25
  let arrivalSeconds = chance(random, 0.2) ? 0 : random.exponential(gapSeconds)
  return Array.from({ length: 1 + random.integer(10) }, () => {
    const outputTokens = chance(random, 0.15) ? 1 : 1 + random.integer(long)
    const promptTokens = random.integer(40)
    const at = arrivalSeconds
    arrivalSeconds += random.exponential(gapSeconds)
    return { arrivalSeconds: at, promptTokens, outputTokens, predictedOutputTokens: 10, predictedOutputSd: 5 }
  })
}

/** A world in which everything happens at multiples of 1/16 s, so that much happens at once. */
export function gridCase(seed: number): Case {
  const random = randomStream(seed, 'grid')
  const bins = 1 + random.integer(6)
  const edges = Float64Array.from({ length: bins + 1 }, (_, i) => i)
  const rate = () => new Float64Array(bins).map((_, i) => (i === 0 ? 8000 : 8000 * random.integer(3)))
  const [upBitsPerSecond, downBitsPerSecond] = [rate(), rate()]
  const rttSeconds = new Float64Array(bins).map(() => random.integer(3) / 4)
  const steps = Float64Array.from({ length: 1 + random.integer(4) }, (_, i) => 2 * i)
  let arrivalSeconds = 0
  const world: EpisodeInputs = {
    link: createLink({ timeSeconds: edges, upBitsPerSecond, downBitsPerSecond, rttSeconds, label: 'grid' }),
    tenants: { timeSeconds: steps, value: steps.map(() => random.integer(3)) },
    arrivals: Array.from({ length: 1 + random.integer(8) }, () => {
      arrivalSeconds += random.integer(8) / 8
      const outputTokens = 1 + random.integer(12)
      return { arrivalSeconds, promptTokens: 5, outputTokens, predictedOutputTokens: 6, predictedOutputSd: 3 }
    }),
    maxInFlight: 1 + random.integer(4),
    cloudSlots: 1 + random.integer(3),
    batchFactors: [1, 1, 1.5],
    network: {
      frameBytes: 0,
      messageSeconds: 0,
      windowBytes: 249,
      beyondWindowRtts: 0.5,
      coldRtts: 1,
      coldAfterSeconds: 1 + random.integer(3),
    },
    readingTokensPerSecond: 4,
    outageSeconds: null,
  }
  const maker = new ProgramMaker(random, true)
  return { world, programs: world.arrivals.map(() => maker.any()), label: `grid seed ${seed}` }
}

/** A random world with a program for each request, the same for the same seed. */
export function randomCase(seed: number): Case {
  const random = randomStream(seed, 'sim')
  const arrivals = randomArrivals(random)
  const cloudSlots = 1 + random.integer(4)
  const batchFactors = [1]
  while (batchFactors.length < cloudSlots)
    batchFactors.push(batchFactors[batchFactors.length - 1] * between(random, 1, 1.4))
  const world: EpisodeInputs = {
    link: randomLink(random),
    tenants: randomSteps(random, 1 + random.integer(8), scaled(random, 0.1, 5), () => random.integer(6) / 2),
    arrivals,
    maxInFlight: 1 + random.integer(4),
    cloudSlots,
    batchFactors,
    network: {
      frameBytes: 32,
      messageSeconds: 50e-6,
      windowBytes: 14_600,
      beyondWindowRtts: 0.5,
      coldRtts: 3,
      coldAfterSeconds: scaled(random, 0.05, 30),
    },
    readingTokensPerSecond: scaled(random, 5, 40),
    outageSeconds: null,
  }
  const maker = new ProgramMaker(random, false)
  const few = Array.from({ length: 1 + random.integer(4) }, () => maker.any())
  const programs = arrivals.map(() => (chance(random, 0.7) ? few[random.integer(few.length)] : maker.any()))
  return { world, programs, label: `seed ${seed}` }
}
