/** Levels of a sparkline, lowest first. */
const LEVELS = '▁▂▃▄▅▆▇█'

/**
 * Draws the means of `values` over `width` equal parts as bars from 0 to the largest mean. A part without known values
 * is a space and a part of zeros is the lowest bar, so that a gap and an outage look different.
 */
export function sparkline(values: ArrayLike<number>, width: number): string {
  const parts = Math.min(width, values.length)
  const means: number[] = []
  for (let part = 0; part < parts; part++) {
    means.push(
      knownMean(
        values,
        Math.floor((part * values.length) / parts),
        Math.floor(((part + 1) * values.length) / parts),
      ),
    )
  }
  const largest = Math.max(...means.filter((mean) => !Number.isNaN(mean)))
  return means.map((mean) => bar(mean, largest)).join('')
}

function bar(mean: number, largest: number): string {
  if (Number.isNaN(mean)) return ' '
  if (mean === 0) return '_'
  return LEVELS[Math.min(LEVELS.length - 1, Math.floor((mean / largest) * LEVELS.length))]
}

/** Mean of the values that are not NaN; NaN if there are none. */
function knownMean(values: ArrayLike<number>, from: number, to: number): number {
  let sum = 0
  let count = 0
  for (let i = from; i < to; i++) {
    if (Number.isNaN(values[i])) continue
    sum += values[i]
    count++
  }
  return count === 0 ? Number.NaN : sum / count
}
