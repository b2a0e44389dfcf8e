import { basename } from 'node:path'
import { InputError, show } from '../../../core/errors.ts'
import { randomStream } from '../../../core/random.ts'
import type { LinkPart } from '../../../trace/compose.ts'
import { composeLink, mergeTraces } from '../../../trace/compose.ts'
import { constantSeries } from '../../../trace/link.ts'
import { readLinkModel, sampleLink } from '../../../trace/markov.ts'
import { measures } from '../../../trace/table.ts'
import type { Trace, TraceColumn } from '../../../trace/table.ts'
import type { LinkSeries } from '../../../trace/types.ts'
import { loadTrace } from '../trace/load.ts'

/** Options that name a link: one word, or its parts. */
export interface LinkOptions {
  readonly up?: string
  readonly down?: string
  readonly rtt?: string
  readonly upMbps?: number
  readonly downMbps?: number
  readonly rttMs?: number
  readonly binSeconds?: number
  readonly seed: number
  readonly modelSeconds: number
}

/** Bin width for recordings that do not require wider bins. */
const BIN_SECONDS = 0.1
const CONSTANT = 'constant:'

/**
 * Opens the link that `replay <trace>` and its options name: a constant (`constant:up=10,down=40,rtt=30` in Mbit/s and
 * ms), a synthetic model (.yaml), or recordings; parts that a recording lacks must be declared. @throws InputError
 */
export async function openLinkSource(trace: string | undefined, options: LinkOptions): Promise<LinkSeries> {
  if (trace?.startsWith(CONSTANT) === true) return constantOf(trace)
  if (trace !== undefined && /\.ya?ml$/.test(trace)) {
    return sampleLink(readLinkModel(trace), options.modelSeconds, randomStream(options.seed, 'link replay'))
  }
  const main = trace === undefined ? null : await loadTrace(trace, directionByName(options))
  const uplink = await partOf(main, 'uplinkBitsPerSecond', options.up, scaled(options.upMbps, 1e6), 'up')
  const downlink = await partOf(
    main,
    'downlinkBitsPerSecond',
    options.down,
    scaled(options.downMbps, 1e6),
    'down',
  )
  const rtt = await partOf(main, 'rttSeconds', options.rtt, scaled(options.rttMs, 1e-3))
  const parts = together({ uplink, downlink, rtt })
  const finest = Object.values(parts).map((part) => ('trace' in part ? part.trace.meta.minBinSeconds : 0))
  const binSeconds = options.binSeconds ?? Math.max(BIN_SECONDS, ...finest)
  return composeLink(parts, { binSeconds }, randomStream(options.seed, 'link replay'))
}

const scaled = (value: number | undefined, unit: number): number | undefined =>
  value === undefined ? undefined : value * unit

/** The importer refuses a single recording without a direction, unless its name or the options contain it. */
function directionByName(options: LinkOptions): { direction?: string } {
  const upElsewhere = options.up !== undefined || options.upMbps !== undefined
  const downElsewhere = options.down !== undefined || options.downMbps !== undefined
  if (upElsewhere === downElsewhere) return {}
  return { direction: upElsewhere ? 'down' : 'up' }
}

async function partOf(
  main: Trace | null,
  column: TraceColumn,
  file: string | undefined,
  constant: number | undefined,
  direction?: 'up' | 'down',
): Promise<LinkPart | null> {
  if (constant !== undefined) return { kind: 'constant', value: constant }
  if (file !== undefined) {
    return { kind: 'paired', trace: await loadTrace(file, direction === undefined ? {} : { direction }) }
  }
  return main !== null && measures(main, column) ? { kind: 'recording', trace: main } : null
}

type Parts<Part> = Readonly<Record<'uplink' | 'downlink' | 'rtt', Part>>

const FLAGS: Parts<string> = {
  uplink: '--up <recording> or --up-mbps <n>',
  downlink: '--down <recording> or --down-mbps <n>',
  rtt: '--rtt <recording> or --rtt-ms <n>',
}

/** All three parts; throws an error naming the flag of a missing part. */
function together(parts: Parts<LinkPart | null>): Parts<LinkPart> {
  for (const name of ['uplink', 'downlink', 'rtt'] as const) {
    if (parts[name] !== null) continue
    throw new InputError({
      where: `link: ${name}`,
      expected: 'a recording or a constant',
      found: 'nothing',
      remedy: `declare it by ${FLAGS[name]}: what is missing is never filled in`,
    })
  }
  return madeTogether(parts as Parts<LinkPart>)
}

/** `drive.up` and `drive.down` were recorded together, on one time axis: one recording, not a pair. */
function madeTogether(parts: Parts<LinkPart>): Parts<LinkPart> {
  const { uplink, downlink, rtt } = parts
  if (!('trace' in uplink) || !('trace' in downlink) || uplink.trace === downlink.trace) return parts
  const stem = (part: { trace: Trace }): string => part.trace.meta.name.replace(/\.(up|down)$/, '')
  if (!/\.up$/.test(uplink.trace.meta.name) || !/\.down$/.test(downlink.trace.meta.name)) return parts
  if (stem(uplink) !== stem(downlink)) return parts
  const trace = mergeTraces([uplink.trace, downlink.trace], basename(stem(uplink)))
  return { uplink: { kind: 'recording', trace }, downlink: { kind: 'recording', trace }, rtt }
}

/** `constant:up=10,down=40,rtt=30`: Mbit/s and milliseconds, each exactly once. */
function constantOf(text: string): LinkSeries {
  const values = new Map<string, number>()
  for (const part of text.slice(CONSTANT.length).split(',')) {
    const match = /^(up|down|rtt)=(\d+(?:\.\d+)?)$/.exec(part)
    if (match === null || values.has(match[1])) throw badConstant(text)
    values.set(match[1], Number(match[2]))
  }
  const [up, down, rtt] = ['up', 'down', 'rtt'].map((name) => values.get(name))
  if (up === undefined || down === undefined || rtt === undefined) throw badConstant(text)
  return constantSeries(up * 1e6, down * 1e6, rtt / 1e3)
}

function badConstant(text: string): InputError {
  return new InputError({
    where: 'link replay <trace>',
    expected: 'constant:up=<Mbit/s>,down=<Mbit/s>,rtt=<ms>',
    found: show(text),
  })
}
