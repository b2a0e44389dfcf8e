import type { RuntimePrecision } from '../../model/precision.ts'
import type { BoundaryBits } from '../../plan/plan.ts'

/** Loss of prediction quality, nats per token. */
export interface Loss {
  /**
   * Added log-perplexity on the text. May be negative, because the actual tokens are random and quantisation may happen
   * to favour them.
   */
  readonly nats: number
  /** Standard error of `nats` over the tokens. */
  readonly standardError: number
  /**
   * Mean Kullback-Leibler divergence from the reference predictions: the log-perplexity that would be added on text
   * from the model's own distribution. Never negative, and independent of the actual tokens.
   */
  readonly divergence: number
}

/** Loss of one crossing, everything else unquantised. */
export interface BoundaryLoss extends Loss {
  /** The layer that the crossing leads into; for the residual, `model.layers` is the crossing before the lm_head. */
  readonly layer: number
  readonly bits: BoundaryBits
}

/** Loss of several crossings together, and the sum of each alone. */
export interface Additivity extends Loss {
  readonly bits: BoundaryBits
  readonly crossings: number
  /** Sum of the losses of each alone, nats. */
  readonly summedNats: number
  readonly summedDivergence: number
  /** Divergence of all together over the sum of each alone; null if nothing diverged. */
  readonly ratio: number | null
}

/** Loss of crossing every boundary, each with its own bits. */
interface RankedLoss extends Loss {
  /** Bits of the crossing into each layer, then of the one before the lm_head. */
  readonly bits: readonly BoundaryBits[]
  readonly meanBits: number
}

/** Measurements of one exit at one threshold. */
export interface ExitQuality {
  readonly layer: number
  readonly threshold: number
  /** Share of tokens whose confidence reaches the threshold. */
  readonly leaveShare: number
  readonly leaving: number
  /** Loss if every token leaves here. */
  readonly standalone: Loss
  /** Loss if confident tokens leave here and the others run through the whole model. */
  readonly collaborative: Loss
}

/** Loss of one precision of the weights. */
interface PrecisionQuality extends Loss {
  readonly precision: RuntimePrecision
  readonly perplexity: number
}

/** Loss of sending one unit's share of an attention with UNIT_BITS. */
export interface UnitSensitivity extends Loss {
  readonly layer: number
  readonly unit: number
}

/** Everything measured on one model and text. */
export interface Assessment {
  readonly modelId: string
  readonly fingerprint: string
  /** Description of the text. */
  readonly text: string
  /** The engine that ran the graphs, e.g. `onnxruntime-node 1.30.0`. */
  readonly engine: string
  /** Number of scored predictions. */
  readonly tokens: number
  readonly windows: number
  /** Log-perplexity of the float32 weights without any crossing, nats per token. */
  readonly nats: number
  readonly perplexity: number
  /** Loss of the residual crossing at one layer boundary: layers 0..L at 16, 8 and 4 bits. */
  readonly boundaries: readonly BoundaryLoss[]
  /** Loss of the share of half of a layer's units crossing. */
  readonly partials: readonly BoundaryLoss[]
  readonly additivity: readonly Additivity[]
  readonly ranked: RankedLoss
  readonly exits: readonly ExitQuality[]
  readonly units: readonly UnitSensitivity[]
  readonly precisions: readonly PrecisionQuality[]
}
