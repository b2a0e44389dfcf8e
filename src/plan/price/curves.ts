import { curveAt } from './program.ts'

/**
 * Sum of a piecewise-linear curve over the integers from..to (inclusive), interval by interval in closed form. Above
 * the last knot the last interval continues; below the first knot the first value holds.
 */
export function sumCurve(knots: Float64Array, values: Float64Array, from: number, to: number): number {
  let sum = 0
  let x = from
  while (x <= to) {
    const end = Math.min(to, lastIntegerInSegment(knots, x))
    sum += 0.5 * (end - x + 1) * (curveAt(knots, values, x) + curveAt(knots, values, end))
    x = end + 1
  }
  return sum
}

/** The last integer y >= x such that the curve is linear on [x, y]. */
export function lastIntegerInSegment(knots: Float64Array, x: number): number {
  for (let i = 0; i < knots.length - 1; i++) {
    if (knots[i] >= x) return Math.max(x, Math.floor(knots[i]))
  }
  return Infinity
}
