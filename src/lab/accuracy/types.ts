import type { RuntimePrecision } from '../../model/precision.ts'
import type { BoundaryBits } from '../../plan/plan.ts'

/** What something costs in predictions, nats a token. */
export interface Loss {
  /** Added log-perplexity on the text. May be below 0: which token came is chance, and quantisation may guess luckily. */
  readonly nats: number
  /** Of `nats`, over the tokens. */
  readonly standardError: number
  /**
   * Mean Kullback-Leibler divergence from what the exact model predicts: the log-perplexity that would be added on text
   * with the exact model's own distribution. Never below 0, and free of the chance of which token came.
   */
  readonly divergence: number
}

/** One crossing of the boundary, everything else exact. */
export interface BoundaryLoss extends Loss {
  /** The crossing leads into this layer; for the residual, `model.layers` is the one before the LM head. */
  readonly layer: number
  readonly bits: BoundaryBits
}

/** Several crossings at once against the sum of each alone. */
export interface Additivity extends Loss {
  readonly bits: BoundaryBits
  readonly crossings: number
  /** The sums of each alone. */
  readonly summedNats: number
  readonly summedDivergence: number
  /** Divergence of all over the sum of each; null where nothing diverged. */
  readonly ratio: number | null
}

/** Every boundary crossed, each at a width of its own. */
export interface RankedLoss extends Loss {
  /** Of the crossing into each layer, then of the one before the LM head. */
  readonly bits: readonly BoundaryBits[]
  readonly meanBits: number
}

export interface ExitQuality {
  readonly layer: number
  readonly threshold: number
  /** Share of tokens whose confidence reaches the threshold. */
  readonly leaveShare: number
  readonly leaving: number
  /** Every token leaves here. */
  readonly standalone: Loss
  /** The confident ones leave here, the others are scored by the whole model. */
  readonly collaborative: Loss
}

export interface PrecisionQuality extends Loss {
  readonly precision: RuntimePrecision
  readonly perplexity: number
}

/** What carrying one unit's share of an attention at UNIT_BITS costs. */
export interface UnitSensitivity extends Loss {
  readonly layer: number
  readonly unit: number
}

/** What was measured on one model and text. */
export interface Assessment {
  readonly modelId: string
  readonly fingerprint: string
  /** Which text, in words. */
  readonly text: string
  /** What ran the graphs, e.g. `onnxruntime-node 1.30.0`. */
  readonly engine: string
  /** Predictions that were scored. */
  readonly tokens: number
  readonly windows: number
  /** Of the float32 weights without any crossing, nats a token. */
  readonly nats: number
  readonly perplexity: number
  /** The residual crosses at one layer boundary: layers 0..L at 16, 8 and 4 bits. */
  readonly boundaries: readonly BoundaryLoss[]
  /** The share of half of a layer's units crosses. */
  readonly partials: readonly BoundaryLoss[]
  readonly additivity: readonly Additivity[]
  readonly ranked: RankedLoss
  readonly exits: readonly ExitQuality[]
  readonly units: readonly UnitSensitivity[]
  readonly precisions: readonly PrecisionQuality[]
}
