import type { Fetched } from '../../core/engine/types.ts'
import { MASKED_LOGIT } from '../actor/graph.ts'
import type { ActorKernel } from '../actor/kernel.ts'
import type { ParitySamples } from './samples.ts'

/** Largest error of a logit over max(1, |logit|). */
const LOGIT_TOLERANCE = 1e-5

/** Running comparison of one engine with the kernel. */
export interface ParityTally {
  /** Largest absolute difference of a logit. */
  maxRawError: number
  /** Largest difference divided by max(1, |logit|): absolute up to 1, relative above. */
  maxAbsError: number
  greedyDisagreements: number
  greedyBorderline: number
  greedyBorderlineDifferences: number
  sampledDisagreements: number
  sampledBorderline: number
  sampledBorderlineDifferences: number
  worst: string | null
  /** Rank of the worst case: 3 and more for a greedy disagreement, 2 for a sampled one, below that the error. */
  worstRank: number
  readonly ok: boolean
}

/** An empty comparison; `ok` is derived from its counts. */
export function tallyOf(): ParityTally {
  return {
    maxRawError: 0,
    maxAbsError: 0,
    greedyDisagreements: 0,
    greedyBorderline: 0,
    greedyBorderlineDifferences: 0,
    sampledDisagreements: 0,
    sampledBorderline: 0,
    sampledBorderlineDifferences: 0,
    worst: null,
    worstRank: 0,
    get ok(): boolean {
      return (
        this.maxAbsError <= LOGIT_TOLERANCE &&
        this.greedyDisagreements === 0 &&
        this.sampledDisagreements === 0
      )
    },
  }
}

/** Compares one row on every engine; `first` is the row with which the outputs begin. */
export function compareRow(
  kernel: ActorKernel,
  samples: ParitySamples,
  row: number,
  first: number,
  answers: readonly Fetched[],
  tallies: readonly ParityTally[],
): void {
  const { spec } = kernel
  const features = samples.features.subarray(row * spec.rowFeatureSize, (row + 1) * spec.rowFeatureSize)
  kernel.encode(samples.observations, row * spec.observationSize)
  spec.heads.forEach(({ name, choices }, head) => {
    const mask = samples.masks[head].subarray(row * choices, (row + 1) * choices)
    const greedy = kernel.greedy(head, features, mask)
    const sampled = kernel.sample(head, features, mask, samples.uniforms[row])
    const borderline = isBorderline(kernel.logits, choices, samples.uniforms[row])
    const near = samples.exactTies ? null : nearTie(kernel.logits, choices, greedy)
    const place = `${samples.label} row ${row}, head ${name}`
    answers.forEach((answer, engine) => {
      const tally = tallies[engine]
      const at = row - first
      const logits = answer[`logits.${name}`].data as Float32Array
      compareLogits(tally, logits, at, kernel.logits, choices, place)
      const itsGreedy = Number(answer[`greedy.${name}`].data[at])
      if (near !== null && near.length > 0) tally.greedyBorderline++
      if (itsGreedy !== greedy) {
        // Whatever its logits are, an engine must choose its own largest one, and the first of equal ones.
        const excused =
          near !== null && near.includes(itsGreedy) && itsGreedy === firstLargest(logits, at, choices)
        if (excused) tally.greedyBorderlineDifferences++
        else {
          tally.greedyDisagreements++
          note(tally, 3, `${place}: greedy ${itsGreedy}, expected ${greedy}`)
        }
      }
      const itsSample = Number(answer[`sampled.${name}`].data[at])
      if (borderline) tally.sampledBorderline++
      if (itsSample === sampled) return
      if (borderline && mask[itsSample] === 1) tally.sampledBorderlineDifferences++
      else {
        tally.sampledDisagreements++
        note(
          tally,
          2,
          `${place}: sampled ${itsSample} at uniform ${samples.uniforms[row]}, expected ${sampled}`,
        )
      }
    })
  })
}

/** Other choices whose logits are within the tolerance of the greedy one's: rounding decides between them. */
function nearTie(logits: Float32Array, choices: number, greedy: number): number[] {
  const margin = LOGIT_TOLERANCE * Math.max(1, Math.abs(logits[greedy]))
  const near: number[] = []
  for (let c = 0; c < choices; c++) {
    if (c !== greedy && logits[greedy] - logits[c] <= margin) near.push(c)
  }
  return near
}

function firstLargest(logits: Float32Array, row: number, choices: number): number {
  let best = 0
  for (let c = 1; c < choices; c++) if (logits[row * choices + c] > logits[row * choices + best]) best = c
  return best
}

function compareLogits(
  tally: ParityTally,
  values: Float32Array,
  row: number,
  expected: Float32Array,
  choices: number,
  place: string,
): void {
  for (let c = 0; c < choices; c++) {
    const value = values[row * choices + c]
    const masked = expected[c] === -Infinity
    // A masked choice must have probability 0, so its logit may be anything below MASKED_LOGIT. NaN is always an error.
    const error = masked ? (value <= MASKED_LOGIT ? 0 : Infinity) : Math.abs(value - expected[c])
    const absolute = Number.isNaN(error) ? Infinity : error
    const scaled =
      absolute === Infinity ? Infinity : absolute / (masked ? 1 : Math.max(1, Math.abs(expected[c])))
    if (absolute > tally.maxRawError) tally.maxRawError = absolute
    if (scaled > tally.maxAbsError) {
      tally.maxAbsError = scaled
      const rank = scaled / (1 + scaled)
      note(tally, scaled === Infinity ? 1 : rank, `${place}: logit ${c} is ${value}, expected ${expected[c]}`)
    }
  }
}

function note(tally: ParityTally, rank: number, text: string): void {
  if (tally.worst !== null && rank <= tally.worstRank) return
  tally.worst = text
  tally.worstRank = rank
}

/**
 * Whether the uniform is so near a boundary of the distribution function that errors within the tolerance may move it
 * to the other side: a cumulative probability changes by at most half the logits' error, and each of C sums in float32
 * rounds by 2^-24.
 */
function isBorderline(logits: Float32Array, choices: number, uniform: number): boolean {
  let largest = -Infinity
  for (let c = 0; c < choices; c++) largest = Math.max(largest, logits[c])
  let total = 0
  let last = -1
  let magnitude = 1
  for (let c = 0; c < choices; c++) {
    const share = Math.exp(logits[c] - largest)
    if (share === 0) continue
    total += share
    last = c
    magnitude = Math.max(magnitude, Math.abs(logits[c]))
  }
  const margin = 0.5 * LOGIT_TOLERANCE * magnitude + choices * 2 ** -24
  let cumulated = 0
  for (let c = 0; c < last; c++) {
    cumulated += Math.exp(logits[c] - largest)
    if (cumulated > 0 && Math.abs(cumulated / total - uniform) <= margin) return true
  }
  return false
}
