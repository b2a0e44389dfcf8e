import { InputError, show } from '../../core/errors.ts'

/** What a column of figures is: its units, and what the figures mean. */
export type Quantity = 'time' | 'rate' | 'loss'

/** How figures in a unit become ours. */
export interface Unit {
  /** Size in seconds, bit/s or a share of 1; NaN for stamps, which are no figures. */
  readonly scale: number
  /** What was carried in each row, not per second: to be divided by the row's own length. */
  readonly perRow: boolean
}

const KIBI = 1024
const TIME = { s: 1, ms: 1e-3, us: 1e-6, ns: 1e-9, min: 60, h: 3600, datetime: NaN }
/** bit/s. */
const RATE = {
  'bit/s': 1,
  'kbit/s': 1e3,
  'Mbit/s': 1e6,
  'Gbit/s': 1e9,
  'Kibit/s': KIBI,
  'Mibit/s': KIBI ** 2,
  'byte/s': 8,
  'kB/s': 8e3,
  'MB/s': 8e6,
  'KiB/s': 8 * KIBI,
  'MiB/s': 8 * KIBI ** 2,
}
/** Bits. */
const VOLUME = { bit: 1, byte: 8, kB: 8e3, MB: 8e6, KiB: 8 * KIBI, MiB: 8 * KIBI ** 2 }
const LOSS = { share: 1, percent: 0.01 }

const UNITS: Readonly<Record<Quantity, Readonly<Record<string, Unit>>>> = {
  time: unitsOf(TIME, false),
  rate: { ...unitsOf(RATE, false), ...unitsOf(VOLUME, true) },
  loss: unitsOf(LOSS, false),
}

function unitsOf(sizes: Readonly<Record<string, number>>, perRow: boolean): Record<string, Unit> {
  return Object.fromEntries(Object.entries(sizes).map(([name, scale]) => [name, { scale, perRow }]))
}

/** Other spellings, in lower case. `kb` and `mb` alone are no units: they are read as bits and as bytes. */
const SPELLINGS: Readonly<Record<string, string>> = {
  sec: 's',
  secs: 's',
  second: 's',
  seconds: 's',
  msec: 'ms',
  msecs: 'ms',
  millis: 'ms',
  milliseconds: 'ms',
  usec: 'us',
  µs: 'us',
  microseconds: 'us',
  nanoseconds: 'ns',
  bps: 'bit/s',
  'bits/s': 'bit/s',
  'bits/sec': 'bit/s',
  bits_per_second: 'bit/s',
  'bit/sec': 'bit/s',
  kbps: 'kbit/s',
  'kbits/s': 'kbit/s',
  'kbits/sec': 'kbit/s',
  mbps: 'Mbit/s',
  'mbits/s': 'Mbit/s',
  'mbits/sec': 'Mbit/s',
  gbps: 'Gbit/s',
  'gbits/s': 'Gbit/s',
  'gbits/sec': 'Gbit/s',
  'bytes/s': 'byte/s',
  'bytes/sec': 'byte/s',
  bits: 'bit',
  bytes: 'byte',
  '%': 'percent',
  pct: 'percent',
}

/** A unit of this quantity by its name; undefined if it is none. */
export function findUnit(name: string, quantity: Quantity): Unit | undefined {
  const units = UNITS[quantity]
  if (Object.hasOwn(units, name)) return units[name]
  const lower = name.toLowerCase()
  const spelling = Object.hasOwn(SPELLINGS, lower) ? SPELLINGS[lower] : undefined
  // `MB/s` and `Mb/s` differ by eight: a name in other capitals counts only where no two units share it.
  const same = Object.keys(units).find(
    (unit) => unit.toLowerCase() === lower && !/^[km]i?b(\/s)?$/.test(lower),
  )
  const known = spelling ?? same
  return known !== undefined && Object.hasOwn(units, known) ? units[known] : undefined
}

/** A unit of this quantity by its name. @throws InputError that lists them */
export function requireUnit(name: string, quantity: Quantity, where: string): Unit {
  const unit = findUnit(name, quantity)
  if (unit !== undefined) return unit
  throw new InputError({ where, expected: `a unit among ${unitNames(quantity)}`, found: show(name) })
}

/** The units of this quantity, for an error. */
export function unitNames(quantity: Quantity): string {
  return Object.keys(UNITS[quantity]).join(', ')
}

/**
 * The unit that a header names: `delay(ms)`, `DL [kbit/s]`, `throughput_mbps`; null if it names none. `rtt_min` is the
 * smallest of several, not minutes.
 */
export function unitInHeader(header: string, quantity: Quantity): string | null {
  const inside = /[([]\s*([^)\]]+?)\s*[)\]]\s*$/.exec(header)?.[1]
  if (inside !== undefined) return findUnit(inside, quantity) === undefined ? null : inside
  const after = /_([A-Za-z]+)$/.exec(header)?.[1]
  if (after === undefined || after.length === 1 || after.toLowerCase() === 'min') return null
  return findUnit(after, quantity) === undefined ? null : after
}
