import type { Figure, Provenance } from './types.ts'

/**
 * Published figures of early exits and assumed losses, with the basis of each. CE-CoLLM is arXiv 2411.02829: LLaMA-7B
 * with two exits on the edge.
 */
export type ShareSource = 'alpaca' | 'xsum'

/** Confidences for which published tables say how many tokens leave at an exit. */
export const EXIT_THRESHOLDS = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95] as const

const assumed = (value: number, source: string): Figure => ({
  value,
  provenance: { kind: 'assumed', source },
})

/**
 * Added log-perplexity of one crossing. No figure is published for single crossings; the order of magnitude is that of
 * rounding to the given bits.
 */
export const BOUNDARY_LOSS = [
  { bits: 32, lossPerCrossing: assumed(0, 'exact: the runtime computes in 32 bits') },
  { bits: 16, lossPerCrossing: assumed(1e-5, 'assumed: below what perplexity can show') },
  { bits: 8, lossPerCrossing: assumed(5e-4, 'assumed: int8 per token, small') },
  { bits: 4, lossPerCrossing: assumed(1e-2, 'assumed: 4 bits per token, larger') },
] as const

/**
 * Share of tokens that leave at threshold 0.8 with both exits in place: 1 minus the share asked of the cloud (49.58 %
 * on Alpaca, 27.73 % on XSum). Confidence above 0.8 at one exit: 47.89 % and 68.26 %.
 */
const PUBLISHED = {
  alpaca: { asked: 0.4958, confident: 0.4789 },
  xsum: { asked: 0.2773, confident: 0.6826 },
} as const

/** Alpaca's confidence at one exit: median 0.77, upper quartile 0.98 (published); ends assumed. */
const CONFIDENCE_KNOTS = [0, 0.77, 0.8, 0.98, 1]

/** Assumed: an exit at a quarter of the depth is confident this many times as often as one at the half. */
const QUARTER_SHARE = 0.6
/** Losses at a quarter of the depth over those at the half, assumed. */
const QUARTER_LOSS = 2
/**
 * Mean of ln(cloud score / standalone score) over BoolQ .646/.490, QuAC .291/.274, IMDB .724/.684 and XSum .2275/.1917;
 * used in place of added log-perplexity.
 */
const STANDALONE_LOSS = 0.141
/** ln(.2275 / .2250) of XSum, the largest collaborative loss of the four, at threshold 0.8. */
const COLLABORATIVE_LOSS = 0.011

/** Figures of one exit; all `assumed`, because LLaMA-7B's published figures are used for `modelId`. */
export function exitFigures(
  depth: 'quarter' | 'half',
  threshold: number,
  shares: ShareSource,
  modelId: string,
): { leaveShare: Figure; standaloneLoss: Figure; collaborativeLoss: Figure } {
  const quarter = depth === 'quarter'
  const published = depth === 'half' && threshold === 0.8
  const basis = `CE-CoLLM (arXiv 2411.02829), LLaMA-7B, ${shares}`
  const taken = (detail: string): Provenance => ({
    kind: 'assumed',
    source: `${basis}: ${detail}; taken over for ${modelId}`,
  })
  const share = leaveShare(threshold, shares) * (quarter ? QUARTER_SHARE : 1)
  const relief = (1 - threshold) / (1 - 0.8)
  return {
    leaveShare: {
      value: share,
      provenance: taken(
        published
          ? `published, ${PUBLISHED[shares].asked} of tokens asked of the cloud at 0.8`
          : `interpolated through its published quantiles${quarter ? `, times an assumed ${QUARTER_SHARE} at the earlier exit` : ''}`,
      ),
    },
    standaloneLoss: {
      value: STANDALONE_LOSS * (quarter ? QUARTER_LOSS : 1),
      provenance: taken('mean log ratio of four published task scores, standing in for log-perplexity'),
    },
    collaborativeLoss: {
      value: COLLABORATIVE_LOSS * relief * (quarter ? QUARTER_LOSS : 1),
      provenance: taken('log ratio of the published XSum scores at 0.8, assumed to fall linearly to 0 at 1'),
    },
  }
}

/** Linear through the quantiles of confidence, scaled so that 0.8 gives the published share. */
function leaveShare(threshold: number, shares: ShareSource): number {
  const { asked, confident } = PUBLISHED[shares]
  const scale = (1 - asked) / confident
  // Alpaca's quantiles at 0.77 and 0.98 are 0.5 and 0.25; another data set keeps their ratio to its share at 0.8.
  const relative = confident / PUBLISHED.alpaca.confident
  const values = [1, 0.5 * relative * scale, 1 - asked, 0.25 * relative * scale, 0]
  let at = 0
  while (at < CONFIDENCE_KNOTS.length - 2 && CONFIDENCE_KNOTS[at + 1] <= threshold) at++
  const weight = (threshold - CONFIDENCE_KNOTS[at]) / (CONFIDENCE_KNOTS[at + 1] - CONFIDENCE_KNOTS[at])
  return values[at] + weight * (values[at + 1] - values[at])
}
