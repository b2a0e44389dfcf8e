import { InputError } from '../core/errors.ts'
import type { RandomStream } from '../core/random.ts'
import { resample } from './resample.ts'
import { gapFreeSpans, measures, TRACE_COLUMNS } from './table.ts'
import type { GapFreeSpan, Trace, TraceColumn } from './table.ts'
import type { LinkSeries } from './types.ts'

/**
 * Source of one part of a link. `recording`: all recordings of a composition must be one trace, so that their parts
 * were measured at the same time. `paired`: another recording of the same kind of link, with a window chosen
 * independently. `ratio`: the other direction's rate times a declared number.
 */
export type LinkPart =
  | { readonly kind: 'constant'; /** bit/s, or seconds for the RTT */ readonly value: number }
  | { readonly kind: 'recording'; readonly trace: Trace }
  | { readonly kind: 'paired'; readonly trace: Trace }
  | { readonly kind: 'ratio'; readonly value: number }

/** Sources of all parts of a link. */
export interface LinkComposition {
  readonly uplink: LinkPart
  readonly downlink: LinkPart
  readonly rtt: LinkPart
}

/** Length and bin width of an episode. */
export interface EpisodeWindow {
  /** Length of the episode; default: the whole longest gap-free span. */
  readonly seconds?: number
  readonly binSeconds: number
}

/** A part of a link. */
export type Lane = keyof LinkComposition
const LANES: readonly Lane[] = ['uplink', 'downlink', 'rtt']
/** The column of a trace that a part of a link is read from. */
export const COLUMN: Readonly<Record<Lane, TraceColumn>> = {
  uplink: 'uplinkBitsPerSecond',
  downlink: 'downlinkBitsPerSecond',
  rtt: 'rttSeconds',
}

/**
 * Draws an episode of a declared composition: a window inside one gap-free span of each recording, uniform over all
 * windows that fit, resampled to equal bins. Nothing is interpolated over gaps.
 * @throws InputError if a part is missing, was not measured, or has no span that is long enough
 */
export function composeLink(parts: LinkComposition, window: EpisodeWindow, random: RandomStream): LinkSeries {
  checkParts(parts, window)
  const groups = groupByTrace(parts)
  const count = binCount(groups, window)
  const values: Partial<Record<Lane, Float64Array>> = {}
  const labels: Partial<Record<Lane, string>> = {}
  for (const { trace, lanes, kind } of groups) {
    const start = drawStart(trace, lanes, count, window.binSeconds, random)
    const [bins, binSeconds] = repeats(trace, lanes, window.binSeconds) ?? [count, window.binSeconds]
    for (const lane of lanes) {
      values[lane] = resample(trace, COLUMN[lane], start, binSeconds, bins)
      if (lane !== 'rtt') discountLoss(trace, values[lane], start, binSeconds)
      if (bins < count) values[lane] = new Float64Array(count).fill(values[lane][0])
      labels[lane] = `${kind} ${describe(trace)} from ${start.toFixed(1)} s`
    }
  }
  for (const lane of LANES) {
    const part = parts[lane]
    if (part?.kind !== 'constant') continue
    values[lane] = new Float64Array(count).fill(part.value)
    labels[lane] = `constant ${lane === 'rtt' ? `${1000 * part.value} ms` : `${part.value / 1e6} Mbit/s`}`
  }
  for (const [lane, other] of [['uplink', 'downlink'] as const, ['downlink', 'uplink'] as const]) {
    const part = parts[lane]
    if (part?.kind !== 'ratio') continue
    values[lane] = values[other]!.map((rate) => rate * part.value)
    labels[lane] = `${part.value} x the ${other}, declared`
  }
  return {
    timeSeconds: Float64Array.from({ length: count + 1 }, (_, i) => i * window.binSeconds),
    upBitsPerSecond: values.uplink!,
    downBitsPerSecond: values.downlink!,
    rttSeconds: values.rtt!,
    label: LANES.map((lane) => `${lane}: ${labels[lane]}`).join('; '),
  }
}

const describe = ({ meta }: Trace) =>
  [meta.kind === 'synthetic' ? 'synthetic' : '', meta.rateKind ?? '', `"${meta.name}"`]
    .filter(Boolean)
    .join(' ')

function checkParts(parts: LinkComposition, { binSeconds, seconds }: EpisodeWindow): void {
  if (!(binSeconds > 0 && binSeconds < Infinity) || (seconds !== undefined && !(seconds >= binSeconds))) {
    const found = `${binSeconds} s bins, ${seconds} s`
    throw new InputError({
      where: 'link: window',
      expected: 'bins above 0 s, an episode of one or more',
      found,
    })
  }
  for (const lane of LANES) {
    const part = parts[lane] as LinkPart | undefined
    if (part === undefined) {
      throw new InputError({
        where: `link: ${lane}`,
        expected: 'a recording, a paired recording, a constant or (for a rate) a ratio',
        found: 'nothing',
        remedy: `declare it, for instance as a constant: what is missing is never filled in`,
      })
    }
    if (part.kind === 'constant' || part.kind === 'ratio') checkNumber(parts, lane, part)
    else checkRecording(lane, part.trace, binSeconds)
  }
}

function checkNumber(parts: LinkComposition, lane: Lane, part: LinkPart & { value: number }): void {
  const bothRatios = parts.uplink?.kind === 'ratio' && parts.downlink?.kind === 'ratio'
  const allowed = part.kind === 'constant' || (lane !== 'rtt' && !bothRatios)
  if (allowed && part.value >= 0 && part.value < Infinity) return
  const expected = 'a finite number >= 0; a ratio only for one of the two rates'
  throw new InputError({ where: `link: ${lane}`, expected, found: `${part.kind} ${part.value}` })
}

function checkRecording(lane: Lane, trace: Trace, binSeconds: number): void {
  const where = `link: ${lane}: ${trace.meta.name}`
  if (!measures(trace, COLUMN[lane])) {
    const measured = TRACE_COLUMNS.filter((name) => measures(trace, name)).join(', ')
    throw new InputError({
      where,
      expected: `a recording of ${COLUMN[lane]}`,
      found: `one of ${measured || 'nothing'}`,
      remedy: 'pair another recording, or declare a constant',
    })
  }
  if (binSeconds < trace.meta.minBinSeconds) {
    throw new InputError({
      where,
      expected: `bins of ${trace.meta.minBinSeconds} s or more: finer ones show the measuring tool`,
      found: `${binSeconds} s`,
      remedy: 'choose wider bins',
    })
  }
}

interface Group {
  readonly trace: Trace
  readonly lanes: Lane[]
  readonly kind: 'recorded' | 'paired'
}

/** Groups the lanes that share a window: all `recording` ones, and `paired` ones of the same trace. */
function groupByTrace(parts: LinkComposition): Group[] {
  const groups: Group[] = []
  for (const lane of LANES) {
    const part = parts[lane]
    if (part.kind !== 'recording' && part.kind !== 'paired') continue
    const kind = part.kind === 'recording' ? 'recorded' : 'paired'
    const known = groups.find((group) => group.trace === part.trace && group.kind === kind)
    if (known !== undefined) known.lanes.push(lane)
    else groups.push({ trace: part.trace, lanes: [lane], kind })
  }
  const recorded = groups.filter(({ kind }) => kind === 'recorded')
  if (recorded.length > 1) {
    throw new InputError({
      where: 'link',
      expected: 'one recording that holds all parts declared as recorded together',
      found: recorded
        .map(({ trace, lanes }) => `${lanes.join(' and ')} from "${trace.meta.name}"`)
        .join(', '),
      remedy: 'merge recordings made at the same time (mergeTraces), or declare the others paired',
    })
  }
  return groups
}

function binCount(groups: readonly Group[], { seconds, binSeconds }: EpisodeWindow): number {
  if (seconds !== undefined) return Math.max(1, Math.round(seconds / binSeconds))
  if (groups.length === 0) return 1
  const longest = groups
    .filter(({ trace, lanes }) => repeats(trace, lanes, binSeconds) === null)
    .map(({ trace, lanes }) => largest(spanBins(trace, lanes, binSeconds)))
  return Math.max(1, longest.length === 0 ? 1 : Math.min(...longest))
}

/** Spread arguments have a limit; a recording with many gaps has more spans. */
const largest = (values: readonly number[]): number =>
  values.reduce((most, value) => Math.max(most, value), 0)

/**
 * A link starts again after its end, so a recording shorter than a bin fills every bin with its mean: one bin of its own
 * length. null for a recording that has a whole bin somewhere, or nothing.
 */
function repeats(trace: Trace, lanes: readonly Lane[], binSeconds: number): [number, number] | null {
  const spans = spansOf(trace, lanes)
  if (spans.length !== 1) return null
  const seconds = spans[0].endSeconds - spans[0].startSeconds
  return seconds < binSeconds * (1 - 1e-9) ? [1, seconds] : null
}

const spansOf = (trace: Trace, lanes: readonly Lane[]): GapFreeSpan[] =>
  gapFreeSpans(
    trace,
    lanes.map((lane) => COLUMN[lane]),
  )

/** Number of whole bins in each gap-free span. */
const spanBins = (trace: Trace, lanes: readonly Lane[], binSeconds: number): number[] =>
  spansOf(trace, lanes).map((s) => Math.floor((s.endSeconds - s.startSeconds) / binSeconds + 1e-9))

function drawStart(
  trace: Trace,
  lanes: readonly Lane[],
  count: number,
  binSeconds: number,
  random: RandomStream,
): number {
  if (repeats(trace, lanes, binSeconds) !== null) return spansOf(trace, lanes)[0].startSeconds
  const fits = spanBins(trace, lanes, binSeconds).map((bins) => Math.max(0, bins - count + 1))
  const total = fits.reduce((sum, n) => sum + n, 0)
  if (total === 0) {
    const longest = largest(spanBins(trace, lanes, binSeconds)) * binSeconds
    throw new InputError({
      where: `link: ${lanes.join(' and ')}: ${trace.meta.name}`,
      expected: `${count * binSeconds} s without a gap`,
      found: `${longest} s at most`,
      remedy: 'ask for shorter episodes or take a longer recording; an episode never spans a gap',
    })
  }
  let draw = random.integer(total)
  const span = fits.findIndex((n) => (draw < n ? true : ((draw -= n), false)))
  return spansOf(trace, lanes)[span].startSeconds + draw * binSeconds
}

/**
 * Lost packets are retransmitted, so a raw capacity leaves the share 1 - loss. Recorded TCP goodput contains the losses
 * already, and where loss was not measured nothing is discounted.
 */
function discountLoss(trace: Trace, rates: Float64Array, start: number, binSeconds: number): void {
  if (trace.meta.rateKind !== 'raw-capacity' || !measures(trace, 'lossRatio')) return
  const loss = resample(trace, 'lossRatio', start, binSeconds, rates.length)
  for (let i = 0; i < rates.length; i++) if (!Number.isNaN(loss[i])) rates[i] *= 1 - loss[i]
}
