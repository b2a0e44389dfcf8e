import type { Engine, Session } from '../../core/engine/types.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import { ActorKernel } from '../actor/kernel.ts'
import type { PolicyNumbers } from '../actor/learned.ts'
import { compareRow, tallyOf } from './compare.ts'
import type { ParityTally } from './compare.ts'
import { edgeSamples, randomSamples, walkedSamples } from './samples.ts'
import type { ParitySamples, SampleService } from './samples.ts'
import { policyFeeds } from './feeds.ts'
import { tiedTwin } from './ties.ts'

/** Comparison of one engine's outputs with the kernel's. */
interface EngineParity extends ParityTally {
  readonly engine: string
  readonly version: string
}

/** Whether policy.onnx computes what the policy's numbers say. */
export interface ParityReport {
  readonly ok: boolean
  /** Number of distinct observations given to every engine. */
  readonly observations: number
  /** Number of rows compared on every engine; each has one choice of every head. */
  readonly rows: number
  /** Largest |logit - kernel's logit| over all engines. */
  readonly maxRawError: number
  /** The same divided by max(1, |logit|); must be at most LOGIT_TOLERANCE. */
  readonly maxAbsError: number
  /** Greedy choices that differ although the two logits differ by more than the tolerance. */
  readonly greedyDisagreements: number
  /**
   * Rows whose two largest logits differ by less than the tolerance, and how many of these choices differ. Exact ties
   * are not included.
   */
  readonly greedyBorderline: number
  readonly greedyBorderlineDifferences: number
  /** Sampled choices that differ although the uniform is clear of every boundary of the distribution. */
  readonly sampledDisagreements: number
  /** Samples whose uniform is within float32 rounding of a boundary, and how many of them differ. */
  readonly sampledBorderline: number
  readonly sampledBorderlineDifferences: number
  /** The worst case in words; null if everything is equal. */
  readonly worst: string | null
  readonly engines: readonly EngineParity[]
}

/** Numbers of samples. The defaults take about a second for each engine on one core. */
export interface ParitySizes {
  readonly random: number
  readonly walks: number
  readonly ties: number
  readonly seed: number
}

/** Default numbers of samples. */
const PARITY_SIZES: ParitySizes = { random: 2048, walks: 512, ties: 512, seed: 1 }

/**
 * Rows per call. As many rows of each kind are also run one by one, as on a device, because the runtime then multiplies
 * by a different method.
 */
const BATCH_ROWS = 2048
const SINGLE_ROWS = 48

/**
 * Runs policy.onnx's bytes on every engine, and the kernel on `numbers`, over random, extreme and realistic
 * observations; then, for ties, a twin of the model whose last layers make many logits exactly equal.
 */
export async function checkParity(
  model: Uint8Array,
  numbers: PolicyNumbers,
  problem: DecisionProblem,
  service: SampleService,
  engines: readonly Engine[],
  sizes: Partial<ParitySizes> = {},
): Promise<ParityReport> {
  const { random, walks, ties, seed } = { ...PARITY_SIZES, ...sizes }
  const tallies = engines.map(() => tallyOf())
  const asked = [
    randomSamples(numbers, random, seed),
    edgeSamples(numbers, seed),
    walkedSamples(problem, service, numbers, walks, seed),
  ]
  await compareModel(model, numbers, asked, engines, tallies)
  const twin = tiedTwin(model, numbers)
  const tied = { ...randomSamples(twin.numbers, ties, seed + 1), label: 'ties', exactTies: true }
  await compareModel(twin.model, twin.numbers, [tied], engines, tallies)
  return reportOf([...asked, tied], engines, tallies)
}

async function compareModel(
  model: Uint8Array,
  numbers: PolicyNumbers,
  asked: readonly ParitySamples[],
  engines: readonly Engine[],
  tallies: readonly ParityTally[],
): Promise<void> {
  const kernel = new ActorKernel(numbers.spec)
  kernel.load(numbers.parameters, numbers.normaliser)
  const sessions: Session[] = []
  try {
    for (const engine of engines) sessions.push(await engine.create(model))
    for (const samples of asked) {
      const singles = Math.min(SINGLE_ROWS, samples.rows)
      for (let at = 0; at < singles; at++) await compareRows(kernel, samples, at, at + 1, sessions, tallies)
      for (let from = 0; from < samples.rows; from += BATCH_ROWS) {
        const to = Math.min(samples.rows, from + BATCH_ROWS)
        await compareRows(kernel, samples, from, to, sessions, tallies)
      }
    }
  } finally {
    for (const session of sessions) await session.dispose()
  }
}

/** Compares rows from..to, run as one batch. */
async function compareRows(
  kernel: ActorKernel,
  samples: ParitySamples,
  from: number,
  to: number,
  sessions: readonly Session[],
  tallies: readonly ParityTally[],
): Promise<void> {
  const feeds = policyFeeds(kernel.spec, samples, from, to)
  const answers = []
  for (const session of sessions) answers.push(await session.run(feeds))
  for (let row = from; row < to; row++) compareRow(kernel, samples, row, from, answers, tallies)
}

function reportOf(
  asked: readonly ParitySamples[],
  engines: readonly Engine[],
  tallies: readonly ParityTally[],
): ParityReport {
  const sum = (pick: (tally: ParityTally) => number): number =>
    tallies.reduce((total, tally) => total + pick(tally), 0)
  const most = (pick: (tally: ParityTally) => number): number =>
    tallies.reduce((largest, tally) => Math.max(largest, pick(tally)), 0)
  const ordered = [...tallies.keys()].sort((a, b) => tallies[b].worstRank - tallies[a].worstRank)
  const worstAt = ordered.find((i) => tallies[i].worst !== null)
  return {
    ok: tallies.length > 0 && tallies.every((tally) => tally.ok),
    observations: asked.reduce((total, samples) => total + samples.distinct, 0),
    rows: asked.reduce((total, samples) => total + samples.rows, 0),
    maxRawError: most((tally) => tally.maxRawError),
    maxAbsError: most((tally) => tally.maxAbsError),
    greedyDisagreements: sum((tally) => tally.greedyDisagreements),
    greedyBorderline: sum((tally) => tally.greedyBorderline),
    greedyBorderlineDifferences: sum((tally) => tally.greedyBorderlineDifferences),
    sampledDisagreements: sum((tally) => tally.sampledDisagreements),
    sampledBorderline: sum((tally) => tally.sampledBorderline),
    sampledBorderlineDifferences: sum((tally) => tally.sampledBorderlineDifferences),
    worst: worstAt === undefined ? null : `${nameOf(engines[worstAt])}: ${tallies[worstAt].worst}`,
    engines: tallies.map((tally, i) => ({
      ...tally,
      engine: engines[i].info.name,
      version: engines[i].info.version,
    })),
  }
}

function nameOf(engine: Engine): string {
  return `${engine.info.name} ${engine.info.version}`
}
