import { InputError } from '../../core/errors.ts'
import { attentionUnits } from '../../model/spec.ts'
import type { FfnPart, ModelSpec } from '../../model/spec.ts'
import type { Curve, Profile, Surface } from './types.ts'

/**
 * A profile as planners read it: seconds of each block, linear between the profile's knots in tokens, context and
 * units; 0 units take 0 seconds. Throws InputError outside the grid: nothing is extrapolated.
 */
export class BlockCosts {
  readonly profile: Profile
  readonly model: ModelSpec
  /** Placement units of one attention block. */
  readonly units: number
  /** Tokens in the cache before the decoded one, ascending. */
  readonly contextKnots: Float64Array
  private readonly decodeCurves: (Float64Array | undefined)[]

  constructor(profile: Profile) {
    this.profile = profile
    this.model = profile.model
    this.units = attentionUnits(profile.model)
    this.contextKnots = Float64Array.from(profile.blocks.attention.decode.knots)
    this.decodeCurves = new Array<Float64Array | undefined>(this.units + 1)
  }

  /** Cost of one call of a session besides its blocks; 0 if the block times contain it. */
  get dispatchSeconds(): number {
    return this.profile.dispatchSeconds?.value ?? 0
  }

  /** Additional cost of a call after a pause; 0 if the profile has no such figure. */
  get wakeSeconds(): number {
    return this.profile.wakeSeconds?.value ?? 0
  }

  /** Embedding of `tokens` tokens. */
  embedSeconds(tokens: number): number {
    return curveSeconds(this.profile.blocks.embed, tokens, 'embed')
  }

  /** `units` of one layer's attention over a prompt of `tokens`. */
  attentionPrefillSeconds(tokens: number, units: number): number {
    this.checkUnits(units)
    if (units === 0) return 0
    const surface = this.profile.blocks.attention.prefill
    const place = locate(surface.knots, tokens, 'attention.prefill')
    const low = unitSeconds(surface, place.index, units)
    return place.weight === 0
      ? low
      : low + place.weight * (unitSeconds(surface, place.index + 1, units) - low)
  }

  /** The same for 0, 1, .. all units: length units + 1. */
  attentionPrefillRow(tokens: number): Float64Array {
    return Float64Array.from({ length: this.units + 1 }, (_, units) =>
      this.attentionPrefillSeconds(tokens, units),
    )
  }

  /**
   * Seconds of `units` of one layer's attention for one token at each of contextKnots. Made non-decreasing by isotonic
   * regression, because a longer cache is never faster and decreases are noise. Cached: do not modify.
   */
  attentionDecodeCurve(units: number): Float64Array {
    this.checkUnits(units)
    const cached = this.decodeCurves[units]
    if (cached !== undefined) return cached
    const surface = this.profile.blocks.attention.decode
    const raw = Float64Array.from(surface.knots, (_, knot) =>
      units === 0 ? 0 : unitSeconds(surface, knot, units),
    )
    const curve = nonDecreasing(raw)
    this.decodeCurves[units] = curve
    return curve
  }

  /** attentionDecodeCurve at one context length. */
  attentionDecodeSeconds(context: number, units: number): number {
    const curve = this.attentionDecodeCurve(units)
    const place = locate(this.profile.blocks.attention.decode.knots, context, 'attention.decode')
    const low = curve[place.index]
    return place.weight === 0 ? low : low + place.weight * (curve[place.index + 1] - low)
  }

  /** One layer's FFN or a half of it; 1 token is a decode step. */
  ffnSeconds(part: FfnPart, tokens: number): number {
    return curveSeconds(this.profile.blocks.ffn[part], tokens, `ffn.${part}`)
  }

  /** Final norm and LM head of one position. */
  headSeconds(): number {
    return this.profile.blocks.head.value
  }

  /**
   * Step time at `batch` sequences over that of one; at least 1, because a larger batch is never faster and less is
   * noise.
   */
  batchFactor(batch: number): number {
    const { sizes, factors } = this.profile.batch
    return Math.max(1, curveSeconds({ knots: sizes, seconds: factors }, batch, 'batch'))
  }

  private checkUnits(units: number): void {
    if (!Number.isInteger(units) || units < 0 || units > this.units) {
      throw new InputError({
        where: `profile of ${this.model.id} on ${this.profile.device.id}: attention units`,
        expected: `an integer in 0..${this.units}`,
        found: String(units),
      })
    }
  }
}

/**
 * The non-decreasing sequence nearest to `values` in least squares: pool adjacent violators
 * (Barlow et al., Statistical Inference under Order Restrictions, 1972).
 */
export function nonDecreasing(values: Float64Array): Float64Array {
  const means: number[] = []
  const sizes: number[] = []
  for (const value of values) {
    means.push(value)
    sizes.push(1)
    while (means.length > 1 && means[means.length - 2] > means[means.length - 1]) {
      const size = sizes.pop()!
      const mean = means.pop()!
      const last = means.length - 1
      means[last] = (means[last] * sizes[last] + mean * size) / (sizes[last] + size)
      sizes[last] += size
    }
  }
  const result = new Float64Array(values.length)
  let at = 0
  for (const [pool, mean] of means.entries()) {
    result.fill(mean, at, at + sizes[pool])
    at += sizes[pool]
  }
  return result
}

function curveSeconds(curve: Pick<Curve, 'knots' | 'seconds'>, x: number, block: string): number {
  const place = locate(curve.knots, x, block)
  const low = curve.seconds[place.index]
  return place.weight === 0 ? low : low + place.weight * (curve.seconds[place.index + 1] - low)
}

function unitSeconds(surface: Surface, knot: number, units: number): number {
  const place = locate(surface.units, units, 'units')
  const at = knot * surface.units.length + place.index
  const low = surface.seconds[at]
  return place.weight === 0 ? low : low + place.weight * (surface.seconds[at + 1] - low)
}

/** The knot at or before x, and how far x is towards the next one. */
function locate(knots: readonly number[], x: number, block: string): { index: number; weight: number } {
  const last = knots.length - 1
  if (!(x >= knots[0] && x <= knots[last])) {
    throw new InputError({
      where: `profile: ${block}`,
      expected: `a value inside the profiled grid, ${knots[0]}..${knots[last]}`,
      found: String(x),
      remedy: 'shorten the request to the model context, or profile a wider grid',
    })
  }
  let low = 0
  let high = last
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (knots[middle] <= x) low = middle
    else high = middle
  }
  if (x === knots[high]) return { index: high, weight: 0 }
  return { index: low, weight: high === low ? 0 : (x - knots[low]) / (knots[high] - knots[low]) }
}
