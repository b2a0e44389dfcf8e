import { randomStream } from '../../core/random.ts'
import type { SamplingParams } from './types.ts'

/** Two logits closer than this are a near-tie: another order of float32 sums may choose the other one. */
export const NEAR_TIE_MARGIN = 1e-3

/** A sampled token. */
interface SamplerOutput {
  readonly id: number
  readonly nearTie: boolean
}

/**
 * Draws a token from `logits` [vocabulary]. Greedy takes the first of the largest. Otherwise: temperature, then the top
 * k, then the fewest tokens whose probabilities reach top p (the nucleus of arXiv 1904.09751), then the inverse of the
 * cumulative distribution at a uniform number that depends only on (seed, position).
 */
export function sampleToken(logits: Float32Array, sampling: SamplingParams, position: number): SamplerOutput {
  const { first, margin } = topTwo(logits)
  const nearTie = margin < NEAR_TIE_MARGIN
  if (sampling.temperature === 0) return { id: first, nearTie }
  const kept = nucleus(candidates(logits, sampling), sampling.topP)
  const uniform = randomStream(sampling.seed, `token ${position}`).uniform()
  return { id: draw(kept, uniform), nearTie }
}

/** The largest probability of softmax(logits): an exit's confidence (CE-CoLLM, arXiv 2411.02829). */
export function confidence(logits: Float32Array): number {
  const { largest } = topTwo(logits)
  let sum = 0
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - largest)
  return 1 / sum
}

function topTwo(logits: Float32Array): { first: number; largest: number; margin: number } {
  let first = 0
  let largest = -Infinity
  let second = -Infinity
  for (let i = 0; i < logits.length; i++) {
    const value = logits[i]
    if (value > largest) {
      second = largest
      largest = value
      first = i
    } else if (value > second) second = value
  }
  return { first, largest, margin: largest - second }
}

interface Candidate {
  readonly id: number
  readonly weight: number
}

/** Most likely first; equal ones by id, so that every machine agrees. */
function candidates(logits: Float32Array, { temperature, topK }: SamplingParams): Candidate[] {
  const { largest } = topTwo(logits)
  const all = Array.from(logits, (value, id) => ({ id, weight: Math.exp((value - largest) / temperature) }))
  all.sort((a, b) => b.weight - a.weight || a.id - b.id)
  return topK > 0 ? all.slice(0, topK) : all
}

function nucleus(sorted: readonly Candidate[], topP: number): readonly Candidate[] {
  if (topP >= 1) return sorted
  const reach = topP * sorted.reduce((sum, { weight }) => sum + weight, 0)
  let sum = 0
  let count = 0
  while (count < sorted.length && sum < reach) sum += sorted[count++].weight
  return sorted.slice(0, Math.max(1, count))
}

function draw(kept: readonly Candidate[], uniform: number): number {
  let rest = uniform * kept.reduce((sum, { weight }) => sum + weight, 0)
  for (const { id, weight } of kept) {
    rest -= weight
    if (rest < 0) return id
  }
  return kept[kept.length - 1].id
}
