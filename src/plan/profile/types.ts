import type { Precision } from '../../model/precision.ts'
import type { FfnPart, ModelSpec } from '../../model/spec.ts'

/** Where a figure comes from; figures of different kinds never share a column. */
export type ProvenanceKind = 'measured' | 'modelled' | 'assumed'

export interface Provenance {
  readonly kind: ProvenanceKind
  /** How it was obtained: the command, the data sheet, or the paper. */
  readonly source: string
}

export interface Figure {
  readonly value: number
  readonly provenance: Provenance
}

/** Seconds over one axis; linear between knots. */
export interface Curve {
  readonly knots: readonly number[]
  readonly seconds: readonly number[]
  /** Interquartile range over the median, per knot; absent where nothing was repeated. */
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

export const PROFILE_SCHEMA = 'edgewise.profile/1'

/** `runtime.name` of profiles that are computed from a data sheet. */
export const ROOFLINE_RUNTIME = 'roofline'

export const CALIBRATION_SCHEMA = 'edgewise.calibration/1'

/** How far the simulator's predictions were from the real runtime, for one term on one link. */
export interface CalibrationTerm {
  /** E.g. `ttft`, `tpot`, `edge compute`. */
  readonly term: string
  readonly link: string
  /** (predicted - measured) / measured, its sign kept. */
  readonly medianRelativeError: number
  /** 95th percentile of its absolute value. */
  readonly p95RelativeError: number
  /** The same median, absolute, between two measurements of one thing (A/A). */
  readonly noise: number
  /** Comparisons made. */
  readonly count: number
}

/** What `edgewise calibrate` found with the profile it is stored with. */
export interface Calibration {
  readonly schema: typeof CALIBRATION_SCHEMA
  /** Wall time of the run, ISO 8601. */
  readonly at: string
  /** Where the whole result was written. */
  readonly file?: string
  readonly terms: readonly CalibrationTerm[]
  /** Whether every term met its target. */
  readonly verdict: 'met' | 'missed'
}

/** One model's sub-blocks on one device. JSON on disk, schema `edgewise.profile/1`. */
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
      /** Whole prompt at once: over (tokens, units). */
      readonly prefill: Surface
      /** One token against a cache: over (context tokens, units). */
      readonly decode: Surface
    }
    /** FFN and halves over tokens; the first knot is 1 token (decode). */
    readonly ffn: Readonly<Record<FfnPart, Curve>>
    /** Final norm and LM head for one position, seconds. */
    readonly head: Figure
  }
  /**
   * What one compute stage (one call of a session, however many blocks it fuses) takes beside its blocks, seconds.
   * Absent: contained in the block times.
   */
  readonly dispatchSeconds?: Figure
  /**
   * What a call costs more when its core was idle before: after a message, or at the start of a request. Caches
   * and clock are cold, and a thread has to be woken. Absent: not measured, taken as 0.
   */
  readonly wakeSeconds?: Figure
  /** Handling of one message on the wire by both ends, seconds beside its bytes and the RTT. Absent: not measured. */
  readonly wire?: { readonly messageSeconds: Figure }
  /** What making one session takes beside reading its weights, seconds. Absent: contained in `loadBytesPerSecond`. */
  readonly load?: { readonly segmentSeconds: Figure }
  /** Bytes of one element of a K/V cache. Absent: float32, as this project's runtime holds it. */
  readonly kvCache?: { readonly bytesPerElement: Figure }
  /** What a loaded block takes of memory over the bytes of its weights; absent where not measured. */
  readonly memory?: { readonly residentBytesPerWeightByte: Figure }
  /** Weights from storage into memory, bytes per second. */
  readonly loadBytesPerSecond: Figure
  readonly power: {
    readonly busyWatts: Figure
    readonly idleWatts: Figure
    readonly radioJoulesPerByte: Figure
    readonly radioJoulesPerMessage: Figure
  }
  /** Step time over that of a batch of one, at batch sizes 1, 2, ...; a cloud's continuous batching. */
  readonly batch: {
    readonly sizes: readonly number[]
    readonly factors: readonly number[]
    readonly provenance: Provenance
  }
  /** One decision of the policy. */
  readonly decisionSeconds: Figure
  /** Written by `edgewise calibrate`; absent: never compared with the real runtime. */
  readonly calibration?: Calibration
}
