import type { Curve, Surface } from './types.ts'

/**
 * A profile covers every length of the model's context, but is measured only as far as memory and --max-tokens go. Above
 * that its knots are extrapolated, and the profile says so (`measuredTokens`): in proportion for what takes each token
 * alone, and with the curvature that was measured for a prompt's attention, where each token looks at all before it.
 */

/** Knots above the measured ones: doublings, up to `last`. */
function knotsAbove(measured: readonly number[], last: number): number[] {
  const above: number[] = []
  for (let knot = 2 * measured[measured.length - 1]; knot < last; knot *= 2) above.push(knot)
  return measured[measured.length - 1] < last ? [...above, last] : []
}

/** `seconds` at the measured knots, continued to the knots above. Never falls. */
function continued(
  knots: readonly number[],
  seconds: readonly number[],
  above: readonly number[],
  curved: boolean,
): number[] {
  const end = knots.length - 1
  if (end === 0) return above.map((knot) => (seconds[0] * knot) / knots[0])
  const slope = (i: number): number => (seconds[i] - seconds[i - 1]) / (knots[i] - knots[i - 1])
  const bend = end < 2 ? 0 : (slope(end) - slope(end - 1)) / (knots[end] - knots[end - 2])
  const last = Math.max(0, slope(end))
  return above.map((knot) => {
    const beyond = knot - knots[end]
    const curvature = curved ? Math.max(0, bend) * beyond * (knot - knots[end - 1]) : 0
    return seconds[end] + last * beyond + curvature
  })
}

/** The curve with knots up to `last`, continued from its last interval; as it is where it reaches so far. */
export function extendCurve(curve: Curve, last: number): Curve {
  const above = knotsAbove(curve.knots, last)
  if (above.length === 0) return curve
  return {
    ...curve,
    knots: [...curve.knots, ...above],
    seconds: [...curve.seconds, ...continued(curve.knots, curve.seconds, above, false)],
    ...spread(curve.relativeSpread, 1, above.length),
  }
}

/**
 * The surface with knots up to `last`, continued for each number of units; as it is where it reaches so far. `curved`: the
 * seconds rise with the square of the tokens, as a prompt's attention does.
 */
export function extendSurface(surface: Surface, last: number, curved: boolean): Surface {
  const { knots, units, seconds, relativeSpread } = surface
  const above = knotsAbove(knots, last)
  if (above.length === 0) return surface
  const columns = units.map((_, unit) =>
    continued(
      knots,
      knots.map((_, knot) => seconds[knot * units.length + unit]),
      above,
      curved,
    ),
  )
  return {
    ...surface,
    knots: [...knots, ...above],
    seconds: [...seconds, ...above.flatMap((_, i) => columns.map((column) => column[i]))],
    ...spread(relativeSpread, units.length, above.length),
  }
}

/** The spread of the last measured row stands for what was extrapolated from it. */
function spread(measured: readonly number[] | undefined, rowLength: number, rows: number) {
  if (measured === undefined) return {}
  const last = measured.slice(-rowLength)
  return { relativeSpread: [...measured, ...Array.from({ length: rows }, () => last).flat()] }
}
