import type { Precision } from '../../model/precision.ts'
import type { FfnPart, ModelSpec } from '../../model/spec.ts'

/** How a figure was obtained; figures of different kinds never share a column. */
export type ProvenanceKind = 'measured' | 'modelled' | 'assumed'

/** Kind and source of a figure. */
export interface Provenance {
  readonly kind: ProvenanceKind
  /** How it was obtained: the command, the data sheet, or the paper. */
  readonly source: string
}

/** A number with its provenance. */
export interface Figure {
  readonly value: number
  readonly provenance: Provenance
}

/** Seconds over one axis; linear between knots. */
export interface Curve {
  readonly knots: readonly number[]
  readonly seconds: readonly number[]
  /** Interquartile range over the median, for each knot; absent without repetitions. */
  readonly relativeSpread?: readonly number[]
  readonly provenance: Provenance
}

/** Seconds over (axis, placement units), row-major [knots, units]; linear in both. */
export interface Surface {
  readonly knots: readonly number[]
  readonly units: readonly number[]
  readonly seconds: readonly number[]
  readonly relativeSpread?: readonly number[]
  readonly provenance: Provenance
}

/** Format and version of a profile; another one is refused by name. */
export const PROFILE_SCHEMA = 'edgewise.profile/1'

/** `runtime.name` of profiles that are computed from a data sheet. */
export const ROOFLINE_RUNTIME = 'roofline'

/** Format and version of the calibration that a profile may carry. */
export const CALIBRATION_SCHEMA = 'edgewise.calibration/1'

/** Error of the simulator's predictions for one term on one link, compared with the real runtime. */
interface CalibrationTerm {
  /** E.g. `ttft`, `tpot`, `edge compute`. */
  readonly term: string
  readonly link: string
  /** (predicted - measured) / measured, with its sign. */
  readonly medianRelativeError: number
  /** 95th percentile of its absolute value. */
  readonly p95RelativeError: number
  /** The same median, absolute, between two measurements of the same thing (A/A). */
  readonly noise: number
  /** Number of comparisons. */
  readonly count: number
}

/** Result of `edgewise calibrate` for the profile in which it is stored. */
export interface Calibration {
  readonly schema: typeof CALIBRATION_SCHEMA
  /** Wall time of the run, ISO 8601. */
  readonly at: string
  /** Path of the whole result. */
  readonly file?: string
  readonly terms: readonly CalibrationTerm[]
  /** Whether every term met its target. */
  readonly verdict: 'met' | 'missed'
}

/** One model's blocks on one device. JSON on disk, schema `edgewise.profile/1`. */
export interface Profile {
  readonly schema: typeof PROFILE_SCHEMA
  readonly device: {
    readonly id: string
    readonly description: string
    readonly threads: number
    /** Memory that weights and K/V caches may take. */
    readonly memoryBytes: number
  }
  readonly runtime: { readonly name: string; readonly version: string }
  readonly precision: Precision
  readonly model: ModelSpec
  readonly blocks: {
    /** Embedding over tokens. */
    readonly embed: Curve
    readonly attention: {
      /** The whole prompt at once, over (tokens, units). */
      readonly prefill: Surface
      /** One token with a cache, over (context tokens, units). */
      readonly decode: Surface
    }
    /** FFN and halves over tokens; the first knot is 1 token (decode). */
    readonly ffn: Readonly<Record<FfnPart, Curve>>
    /** Final norm and LM head for one position, seconds. */
    readonly head: Figure
  }
  /**
   * Cost of one compute stage (one call of a session, however many blocks it fuses) besides its blocks, seconds.
   * Absent: contained in the block times.
   */
  readonly dispatchSeconds?: Figure
  /**
   * Additional cost of a call when its core was idle before: after a message, or at the start of a request. Processor
   * caches are cold, the clock is low, and a thread has to wake. Absent: not measured, taken as 0.
   */
  readonly wakeSeconds?: Figure
  /** Handling of one message by both ends, seconds, besides its bytes and the RTT. Absent: not measured. */
  readonly wire?: { readonly messageSeconds: Figure }
  /** Time to create one session besides reading its weights, seconds. Absent: contained in `loadBytesPerSecond`. */
  readonly load?: { readonly segmentSeconds: Figure }
  /** Bytes of one element of a K/V cache. Absent: float32, as this project's runtime holds it. */
  readonly kvCache?: { readonly bytesPerElement: Figure }
  /** Memory of a loaded block divided by the bytes of its weights; absent if not measured. */
  readonly memory?: { readonly residentBytesPerWeightByte: Figure }
  /** Reading weights from storage into memory, bytes per second. */
  readonly loadBytesPerSecond: Figure
  readonly power: {
    readonly busyWatts: Figure
    readonly idleWatts: Figure
    readonly radioJoulesPerByte: Figure
    readonly radioJoulesPerMessage: Figure
  }
  /** Step time over that of a batch of one, at batch sizes 1, 2, ...; for a cloud's continuous batching. */
  readonly batch: {
    readonly sizes: readonly number[]
    readonly factors: readonly number[]
    readonly provenance: Provenance
  }
  /** Time of one decision of the policy. */
  readonly decisionSeconds: Figure
  /**
   * Tokens of a prompt, and of the context of a decoded token, up to which the blocks were measured; the knots above are
   * extrapolated. Absent: every knot was measured, or modelled.
   */
  readonly measuredTokens?: { readonly prompt: number; readonly context: number }
  /** Written by `edgewise calibrate`; absent: never compared with the real runtime. */
  readonly calibration?: Calibration
}
