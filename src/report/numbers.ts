/** Formats numbers with units for people. Values that were not measured are printed as such, never as 0. */
const NOT_MEASURED = 'not measured'

/** A measured value; null or undefined: not measured. */
type Measured = number | null | undefined

/** Three significant digits; integers and large numbers in full, with thousands separated. */
export function formatNumber(value: Measured, digits = 3): string {
  if (isMissing(value)) return NOT_MEASURED
  if (!Number.isFinite(value)) return value > 0 ? 'unbounded' : '-unbounded'
  const size = Math.abs(value)
  if (size >= 10 ** digits || Number.isInteger(value)) return group(Math.round(value))
  if (size < 1e-4) return value.toExponential(digits - 1)
  return plain(value, digits)
}

/** Seconds as s, ms, us or ns; minutes and hours from two minutes on. */
export function formatSeconds(value: Measured): string {
  if (isMissing(value)) return NOT_MEASURED
  const size = Math.abs(value)
  if (size >= 7200) return `${plain(value / 3600, 3)} h`
  if (size >= 120) return `${plain(value / 60, 3)} min`
  return scaled(value, [
    [1, 's'],
    [1e-3, 'ms'],
    [1e-6, 'us'],
    [1e-9, 'ns'],
  ])
}

/** Bytes in decimal units: 1 kB = 1000 B. */
export function formatBytes(value: Measured): string {
  if (isMissing(value)) return NOT_MEASURED
  if (Math.abs(value) < 1000) return `${formatNumber(value)} B`
  return scaled(value, [
    [1e12, 'TB'],
    [1e9, 'GB'],
    [1e6, 'MB'],
    [1e3, 'kB'],
  ])
}

/** Bits per second with a decimal prefix. */
export function formatBitsPerSecond(value: Measured): string {
  return scaled(value, [
    [1e9, 'Gbit/s'],
    [1e6, 'Mbit/s'],
    [1e3, 'kbit/s'],
    [1, 'bit/s'],
  ])
}

/** Joules with a decimal prefix. */
export function formatJoules(value: Measured): string {
  return scaled(value, [
    [1e3, 'kJ'],
    [1, 'J'],
    [1e-3, 'mJ'],
  ])
}

/** Watts with a decimal prefix. */
export function formatWatts(value: Measured): string {
  return scaled(value, [
    [1, 'W'],
    [1e-3, 'mW'],
  ])
}

/** A share as per cent: 0.123 -> "12.3 %". */
export function formatShare(value: Measured): string {
  return isMissing(value) ? NOT_MEASURED : `${plain(100 * value, 3)} %`
}

/** A mean with the half-width of its interval: "4.71 ± 0.12". */
export function formatInterval(mean: Measured, low: Measured, high: Measured): string {
  if (isMissing(mean)) return NOT_MEASURED
  if (isMissing(low) || isMissing(high)) return formatNumber(mean)
  return `${formatNumber(mean)} ± ${formatNumber((high - low) / 2, 2)}`
}

function isMissing(value: Measured): value is null | undefined {
  return value === null || value === undefined || Number.isNaN(value)
}

function scaled(value: Measured, units: readonly (readonly [number, string])[]): string {
  if (isMissing(value)) return NOT_MEASURED
  if (value === 0) return `0 ${units.find(([size]) => size === 1)?.[1] ?? units[units.length - 1][1]}`
  if (!Number.isFinite(value)) return value > 0 ? 'unbounded' : '-unbounded'
  const [size, name] = units.find(([unit]) => Math.abs(value) >= unit * 0.9995) ?? units[units.length - 1]
  return `${plain(value / size, 3)} ${name}`
}

/** Fixed notation with `digits` significant digits; trailing zeros are kept, because they show the precision. */
function plain(value: number, digits: number): string {
  if (value === 0) return '0'
  const magnitude = Math.floor(Math.log10(Math.abs(Number(value.toPrecision(digits)))))
  const decimals = Math.min(20, Math.max(0, digits - 1 - magnitude))
  return decimals === 0 ? group(Math.round(value)) : value.toFixed(decimals)
}

function group(value: number): string {
  const text = Math.abs(value).toFixed(0)
  const spaced = text.length <= 4 ? text : text.replace(/\B(?=(\d{3})+$)/g, ',')
  return value < 0 && value !== 0 ? `-${spaced}` : spaced
}
