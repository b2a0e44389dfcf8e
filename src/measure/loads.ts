import type { LoadReading } from './blocks.ts'

/** What making a session costs: seconds = segmentSeconds + weightBytes / bytesPerSecond. */
export interface LoadFit {
  readonly segmentSeconds: number
  readonly bytesPerSecond: number
}

/**
 * Least squares of the relative errors over sessions of different sizes (a large session's seconds must not drown
 * a small one's). Where all are of about one size and the line runs below nothing, the quickest session stands for
 * the fixed part.
 */
export function fitLoads(readings: readonly LoadReading[]): LoadFit {
  const line = relativeLine(readings)
  if (line !== null && line.segmentSeconds > 0 && line.bytesPerSecond > 0) return line
  const least = Math.min(...readings.map(({ seconds }) => seconds))
  const bytes = readings.reduce((sum, { weightBytes }) => sum + weightBytes, 0)
  const seconds = readings.reduce((sum, reading) => sum + reading.seconds, 0)
  // Half of the quickest, so that bytes keep a price.
  const segmentSeconds = least / 2
  return { segmentSeconds, bytesPerSecond: bytes / (seconds - readings.length * segmentSeconds) }
}

function relativeLine(readings: readonly LoadReading[]): LoadFit | null {
  let [n, x, xx, y, xy] = [0, 0, 0, 0, 0]
  for (const { weightBytes, seconds } of readings) {
    const weight = 1 / (seconds * seconds)
    n += weight
    x += weight * weightBytes
    xx += weight * weightBytes * weightBytes
    y += weight * seconds
    xy += weight * weightBytes * seconds
  }
  const determinant = n * xx - x * x
  if (!(determinant > 0)) return null
  const slope = (n * xy - x * y) / determinant
  return { segmentSeconds: (y - slope * x) / n, bytesPerSecond: 1 / slope }
}
