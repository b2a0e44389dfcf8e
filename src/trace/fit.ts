import { isCollection, parseDocument, stringify } from 'yaml'
import { InputError } from '../core/errors.ts'
import { quantile } from '../core/quantile.ts'
import type { LaneDistribution, LinkChain, LinkModel, RttDistribution } from './markov.ts'
import { checkLinkModel, QUANTILE_SHARES } from './markov.ts'
import { resample } from './resample.ts'
import { SILENT_BITS_PER_SECOND } from './statistics.ts'
import { gapFreeSpans } from './table.ts'
import type { Trace, TraceColumn } from './table.ts'

type Lane = 'uplink' | 'downlink' | 'rtt'
const COLUMN: Record<Lane, TraceColumn> = {
  uplink: 'uplinkBitsPerSecond',
  downlink: 'downlinkBitsPerSecond',
  rtt: 'rttSeconds',
}

/** State of a bin in which the first lane was not measured. */
const UNKNOWN = -1

/** Lanes that were recorded together; the first lane's value determines the state. */
interface ChainData {
  readonly traces: readonly Trace[]
  readonly lanes: readonly Lane[]
  /** Number of quantile states, without the silent state of a rate. */
  readonly states: number
}

/** Name, description and settings of a link model, without what is fitted. */
export type LinkModelText = Omit<LinkModel, 'schemaVersion' | 'kind' | 'chains'>

/**
 * Fits a Markov-modulated link. The states of each chain are quantile classes of its first lane (for a rate also a
 * silent state, below 10 kbit/s); transitions are counted between neighbouring bins of the same gap-free span; within a
 * state each lane has its empirical quantiles.
 * @throws InputError if there is nothing to fit
 */
export function fitMarkovLink(text: LinkModelText, data: readonly ChainData[]): LinkModel {
  const chains = data.map((chain, c) => fitChain(chain, text.binSeconds, `${text.name}: chain ${c}`))
  return checkLinkModel({ schemaVersion: 1, kind: 'synthetic', ...text, chains }, text.name)
}

function fitChain(data: ChainData, binSeconds: number, where: string): LinkChain {
  const spans = data.traces.flatMap((trace) => binned(trace, data.lanes, binSeconds))
  const [first] = data.lanes
  const silentBelow = first === 'rtt' ? -1 : SILENT_BITS_PER_SECOND
  const all = spans.flatMap((span) => [...span[first]!].filter((value) => !Number.isNaN(value)))
  const observed = Float64Array.from(all.filter((value) => value >= silentBelow)).sort()
  if (observed.length < 2 * data.states || !(data.states >= 1)) {
    const expected = `${2 * data.states} bins of ${binSeconds} s or more`
    throw new InputError({
      where,
      expected,
      found: `${observed.length}`,
      remedy: 'give more recordings or fewer states',
    })
  }
  const cuts: number[] = []
  for (let k = 1; k < data.states; k++) {
    const cut = quantile(observed, k / data.states)
    // A value that would fill several classes forms one.
    if (cut > (cuts.at(-1) ?? observed[0])) cuts.push(cut)
  }
  const silent = observed.length < all.length ? 1 : 0
  const stateOf = (value: number) =>
    Number.isNaN(value)
      ? UNKNOWN
      : value < silentBelow
        ? 0
        : silent + cuts.reduce((count, cut) => count + (value >= cut ? 1 : 0), 0)
  const paths = spans.map((span) => Array.from(span[first]!, stateOf))
  const count = cuts.length + 1 + silent
  const states: LinkChain['states'] = Array.from({ length: count }, () => ({}))
  for (const lane of data.lanes) {
    const values = (state: number | null) =>
      spans.flatMap((span, s) =>
        [...span[lane]!].filter((v, i) => !Number.isNaN(v) && (state === null || paths[s][i] === state)),
      )
    const whole = describe(lane, values(null), where)
    for (let state = 0; state < count; state++) {
      const own = values(state)
      const known = own.some((value) => lane !== 'rtt' || value > 0)
      Object.assign(states[state], { [lane]: known ? describe(lane, own, where) : whole })
    }
  }
  return { states, transition: transitions(paths, count) }
}

/** Each lane's bins for every span of the first lane without a gap of a bin or more; NaN = not measured. */
function binned(
  trace: Trace,
  lanes: readonly Lane[],
  binSeconds: number,
): Partial<Record<Lane, Float64Array>>[] {
  const spans: { startSeconds: number; endSeconds: number }[] = []
  for (const { startSeconds, endSeconds } of gapFreeSpans(trace, [COLUMN[lanes[0]]])) {
    const last = spans.at(-1)
    // A lost ping does not end a recording: its bin has other samples, or becomes NaN.
    if (last !== undefined && startSeconds - last.endSeconds < binSeconds) last.endSeconds = endSeconds
    else spans.push({ startSeconds, endSeconds })
  }
  return spans.flatMap(({ startSeconds, endSeconds }) => {
    const count = Math.floor((endSeconds - startSeconds) / binSeconds + 1e-9)
    if (count === 0) return []
    const bins = (lane: Lane) => resample(trace, COLUMN[lane], startSeconds, binSeconds, count)
    return [Object.fromEntries(lanes.map((lane) => [lane, bins(lane)]))]
  })
}

/**
 * Transition probabilities from counts between neighbouring bins. Half a count, distributed like all bins over the
 * states, is added so that every state can be left.
 */
function transitions(paths: readonly number[][], count: number): number[][] {
  const counts = Array.from({ length: count }, () => new Float64Array(count))
  const visits = new Float64Array(count)
  for (const path of paths) {
    path.forEach((state, i) => {
      if (state === UNKNOWN) return
      visits[state]++
      if (i > 0 && path[i - 1] !== UNKNOWN) counts[path[i - 1]][state]++
    })
  }
  const total = visits.reduce((sum, n) => sum + n, 0)
  return counts.map((row) => {
    const out = row.reduce((sum, n) => sum + n, 0) + 0.5
    return Array.from(row, (n, j) => round((n + (0.5 * visits[j]) / total) / out, 5))
  })
}

function describe(lane: Lane, values: readonly number[], where: string): LaneDistribution | RttDistribution {
  const scale = lane === 'rtt' ? 1000 : 1e-6
  const observed = values.filter((value) => (lane === 'rtt' ? value > 0 : value >= SILENT_BITS_PER_SECOND))
  if (observed.length === 0 && lane === 'rtt') {
    throw new InputError({ where: `${where}: rtt`, expected: 'measured round trips', found: 'none' })
  }
  if (observed.length === 0) return { silentShare: 1 }
  const sorted = Float64Array.from(observed).sort()
  const quantiles = QUANTILE_SHARES.map((share) => digits(quantile(sorted, share) * scale))
  if (lane === 'rtt') return { quantilesMs: quantiles }
  return { silentShare: round(1 - observed.length / values.length, 4), quantilesMbps: quantiles }
}

const round = (value: number, places: number) => Math.round(value * 10 ** places) / 10 ** places
const digits = (value: number) => Number(value.toPrecision(4))

/** Formats a model as YAML, with one line for each state and each row of the transition matrix. */
export function formatLinkModel(model: LinkModel): string {
  const document = parseDocument(stringify(model))
  const flow = (path: (string | number)[]) => {
    const node = document.getIn(path)
    if (isCollection(node)) node.flow = true
  }
  model.chains.forEach(({ states, transition }, c) => {
    states.forEach((state, s) => {
      for (const lane of Object.keys(state)) flow(['chains', c, 'states', s, lane])
    })
    transition.forEach((_, row) => flow(['chains', c, 'transition', row]))
  })
  for (const lane of Object.keys(model.lanes)) flow(['lanes', lane])
  return document.toString({ lineWidth: 0, flowCollectionPadding: true })
}
