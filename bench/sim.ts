import { systemClock } from '../src/core/clock.ts'
import type { RandomStream } from '../src/core/random.ts'
import { randomStream } from '../src/core/random.ts'
import { DEFAULT_NETWORK } from '../src/plan/price/network.ts'
import type { Program, Resource, Stage, StageList } from '../src/plan/price/program.ts'
import { RESOURCE } from '../src/plan/price/program.ts'
import { createFast } from '../src/sim/fast.ts'
import { createReference } from '../src/sim/reference.ts'
import type { Simulation, EpisodeInputs } from '../src/sim/types.ts'
import { createLink } from '../src/trace/link.ts'
import type { LinkSeries, RequestArrival } from '../src/trace/types.ts'

/** One figure of a benchmark. */
interface BenchResult {
  readonly name: string
  readonly value: number
  readonly unit: string
}

/** Durations are those of a 7B model on an embedded GPU and on a data-centre one, rounded. */
const EDGE_KNOTS = Float64Array.of(64, 256, 1024, 2048)
const EDGE_STEP = Float64Array.of(0.002, 0.004, 0.012, 0.022)
const CLOUD_STEP = Float64Array.of(0.0005, 0.0008, 0.002, 0.0035)
const { edge, up, cloud, down } = RESOURCE

function compute(
  resource: Resource,
  after: number[],
  seconds: number,
  curve: Float64Array | null = null,
): Stage {
  return { resource, after, seconds, curve, bytes: 0, express: false }
}

function transfer(resource: Resource, after: number[], bytes: number, express = false): Stage {
  return { resource, after, seconds: 0, curve: null, bytes, express }
}

function program(prefill: StageList, cycles: StageList[], askShare = 0): Program {
  const fixed = { accuracyLoss: 0, edgeWeightBytes: 0, edgeKvBytesPerToken: 0 }
  return { prefill, cycles, askShare, edgeKnots: EDGE_KNOTS, cloudKnots: EDGE_KNOTS, ...fixed }
}

const edgeOnly = program({ stages: [compute(edge, [], 1.1)], loop: 0, deliver: 0 }, [
  { stages: [compute(edge, [], 0.08, EDGE_STEP)], loop: 0, deliver: 0 },
])

const cloudOnly = program(
  {
    stages: [transfer(up, [], 2000, true), compute(cloud, [0], 0.09), transfer(down, [1], 36, true)],
    loop: 1,
    deliver: 2,
  },
  [{ stages: [compute(cloud, [], 0.014, CLOUD_STEP), transfer(down, [0], 36, true)], loop: 0, deliver: 1 }],
)

function chain(work: number, bytes: number, decode: boolean): StageList {
  const stages = [
    compute(edge, [], 0.04 * work, decode ? EDGE_STEP : null),
    transfer(up, [0], bytes),
    compute(cloud, [1], 0.007 * work, decode ? CLOUD_STEP : null),
    transfer(down, [2], 36, true),
  ]
  return { stages, loop: 3, deliver: 3 }
}

const layerCut = program(chain(10, 400_000, false), [chain(1, 8224, true)])

const upload = [compute(edge, [], 0.04, EDGE_STEP), transfer(up, [0], 8224)]
const earlyExit = program(
  { stages: [compute(edge, [], 0.5), transfer(up, [0], 400_000)], loop: 0, deliver: 0 },
  [{ stages: upload, loop: 0, deliver: 0 }, chain(1, 8224, true)],
  0.5,
)

/** Ten bins a minute of a rate and an RTT that wander. */
function wanderingLink(random: RandomStream): LinkSeries {
  const bins = 600
  const wander = (middle: number) =>
    new Float64Array(bins).map(() => middle * Math.exp(0.5 * random.normal()))
  const rates = { upBitsPerSecond: wander(2e7), downBitsPerSecond: wander(6e7), rttSeconds: wander(0.04) }
  return {
    timeSeconds: Float64Array.from({ length: bins + 1 }, (_, i) => 6 * i),
    ...rates,
    label: 'synthetic',
  }
}

function arrivals(random: RandomStream, count: number, gapSeconds: number): RequestArrival[] {
  let arrivalSeconds = 0
  return Array.from({ length: count }, () => {
    arrivalSeconds += random.exponential(gapSeconds)
    const outputTokens = 1 + Math.min(800, Math.floor(random.exponential(200)))
    const promptTokens = 64 + random.integer(900)
    return { arrivalSeconds, promptTokens, outputTokens, predictedOutputTokens: 200, predictedOutputSd: 200 }
  })
}

function makeWorld(requests: number, gapSeconds: number): EpisodeInputs {
  const random = randomStream(1, 'bench sim')
  const timeSeconds = Float64Array.from({ length: 200 }, (_, i) => 20 * i)
  return {
    link: createLink(wanderingLink(random)),
    tenants: { timeSeconds, value: timeSeconds.map(() => random.integer(4)) },
    arrivals: arrivals(random, requests, gapSeconds),
    maxInFlight: 4,
    cloudSlots: 4,
    batchFactors: [1, 1.05, 1.12, 1.2],
    network: DEFAULT_NETWORK,
    readingTokensPerSecond: 10,
    outageSeconds: 3,
  }
}

function drain(simulation: Simulation, programs: readonly Program[]): number {
  for (;;) {
    const request = simulation.advance()
    if (request < 0) return simulation.totals.stageEvents
    simulation.dispatch(programs[request % programs.length])
  }
}

/** Runs episodes for at least `seconds` and reports stage events and time per request. */
function measure(name: string, seconds: number, requests: number, episode: () => number): BenchResult[] {
  const clock = systemClock
  episode()
  let events = 0
  let episodes = 0
  const start = clock.nowSeconds()
  let elapsed = 0
  while (elapsed < seconds) {
    events += episode()
    episodes++
    elapsed = clock.nowSeconds() - start
  }
  return [
    { name: `${name}: stage events`, value: events / elapsed, unit: '1/s' },
    { name: `${name}: one request`, value: (1e6 * elapsed) / (episodes * requests), unit: 'us' },
  ]
}

/** Stage events per second of both simulators, on one mix of plans and on each plan alone. */
export function run(): Promise<BenchResult[]> {
  const mix = [edgeOnly, cloudOnly, earlyExit, cloudOnly, layerCut, cloudOnly]
  const busy = makeWorld(300, 4)
  const quiet = makeWorld(100, 200)
  const results = measure('reference, mix', 0.5, 300, () => drain(createReference(busy), mix))
  const cases = Object.entries({ edgeOnly, cloudOnly, layerCut, earlyExit })
  const fast = createFast(busy)
  const again = (world: EpisodeInputs, programs: readonly Program[]) => () => {
    fast.reset(world)
    return drain(fast, programs)
  }
  results.push(...measure('fast, mix', 1, 300, again(busy, mix)))
  for (const [name, one] of cases)
    results.push(...measure(`fast, ${name} alone`, 0.5, 100, again(quiet, [one])))
  return Promise.resolve(results)
}
