/** Expected length of an answer, tokens. */
interface LengthPrediction {
  readonly mean: number
  readonly sd: number
}

/** The expectation for every bucket before any request, and how many observed requests it counts as. */
export interface LengthPrior extends LengthPrediction {
  readonly weight: number
}

/** Default prior. */
const DEFAULT_LENGTH_PRIOR: LengthPrior = { mean: 128, sd: 96, weight: 8 }

/** Largest length that is accepted in tokens, so that sums over tokens end and squares stay finite. */
export const MOST_TOKENS = 1e9

/** Prompts of up to 1, 2, 4, .. 2^20 tokens. */
const BUCKETS = 21

/**
 * Predicts an answer's length from earlier prompts of about the same length (powers of two): the bucket's mean and
 * spread, shrunk towards the prior as if the prior were `weight` earlier requests (conjugate normal mean; the spread
 * pools the prior's variance, the bucket's and the distance of their means). Deterministic.
 */
export class LengthPredictor {
  private readonly prior: LengthPrior
  private readonly counts = new Float64Array(BUCKETS)
  private readonly sums = new Float64Array(BUCKETS)
  private readonly squares = new Float64Array(BUCKETS)

  constructor(prior: LengthPrior = DEFAULT_LENGTH_PRIOR) {
    this.prior = prior
  }

  add(promptTokens: number, outputTokens: number): void {
    if (!(outputTokens >= 1 && outputTokens <= MOST_TOKENS)) return
    const bucket = bucketOf(promptTokens)
    this.counts[bucket]++
    this.sums[bucket] += outputTokens
    this.squares[bucket] += outputTokens * outputTokens
  }

  /** Predicts the length of a whole answer of at most `maxNewTokens` tokens; the mean is at least 1. */
  predict(promptTokens: number, maxNewTokens: number): LengthPrediction {
    const { mean, sd, weight } = this.prior
    const bucket = bucketOf(promptTokens)
    const total = this.counts[bucket] + weight
    if (total === 0) return { mean: 1, sd: 0 }
    const pooled = (this.sums[bucket] + weight * mean) / total
    const square = (this.squares[bucket] + weight * (sd * sd + mean * mean)) / total
    const cap = Math.max(1, maxNewTokens)
    const capped = Math.min(cap, Math.max(1, pooled))
    // The spread is reduced in proportion to what the cap cuts off the mean.
    const spread = Math.sqrt(Math.max(0, square - pooled * pooled)) * (capped / Math.max(1, pooled))
    return { mean: capped, sd: spread }
  }
}

function bucketOf(promptTokens: number): number {
  const tokens = promptTokens >= 1 ? promptTokens : 1
  return Math.min(BUCKETS - 1, Math.ceil(Math.log2(tokens)))
}
