/** Linear interpolation on ascending knots; above the last knot the last interval continues. */
export function curveAt(knots: Float64Array, values: Float64Array, x: number): number {
  const last = knots.length - 1
  if (last === 0 || x <= knots[0]) return values[0]
  let low = 0
  let high = last
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (knots[middle] <= x) low = middle
    else high = middle
  }
  return curveIn(knots, values, low, x)
}

/** The segment of `knots` that curveAt uses for `x`, found from an earlier (smaller) x's; -1: before the first knot. */
export function segmentAt(knots: Float64Array, from: number, x: number): number {
  const last = knots.length - 1
  if (last <= 0 || x <= knots[0]) return -1
  let segment = from < 0 ? 0 : from
  while (segment + 1 < last && knots[segment + 1] <= x) segment++
  return segment
}

/** curveAt with its segment known; the same operations in the same order. */
export function curveIn(knots: Float64Array, values: Float64Array, segment: number, x: number): number {
  if (segment < 0) return values[0]
  const low = values[segment]
  const slope = (values[segment + 1] - low) / (knots[segment + 1] - knots[segment])
  return low + slope * (x - knots[segment])
}

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
