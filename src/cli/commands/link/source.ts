import type { Command } from 'commander'
import { randomStream } from '../../../core/random.ts'
import type { Lane } from '../../../trace/compose.ts'
import { TRACE_FORMATS } from '../../../trace/import/detect.ts'
import { drawLink, openLink, wholeLink } from '../../../trace/import/openLink.ts'
import type { DeclaredParts } from '../../../trace/import/openLink.ts'
import type { LinkSeries } from '../../../trace/types.ts'
import { numberOption, requireChoice } from '../../options.ts'

/** Constants that take the place of recorded parts of a link. */
export interface PartOptions {
  readonly upMbps?: number
  readonly downMbps?: number
  readonly rttMs?: number
}

/** Options that name a link: one word, or its parts. */
export interface LinkOptions extends PartOptions {
  readonly up?: string
  readonly down?: string
  readonly rtt?: string
  readonly format?: string
  readonly binSeconds?: number
  readonly seed: number
  readonly modelSeconds: number
}

/** Bin width for recordings that do not require wider bins. */
const BIN_SECONDS = 0.1

const FLAGS = {
  uplink: '--up <recording> or --up-mbps <n>',
  downlink: '--down <recording> or --down-mbps <n>',
  rtt: '--rtt <recording> or --rtt-ms <n>',
}

const positive = numberOption({ min: 0, exclusiveMin: true })

/** Adds the constants for what a recording lacks; every command that takes a recorded link has them. */
export function addPartOptions(command: Command): Command {
  return command
    .option('--up-mbps <n>', 'a constant uplink', positive)
    .option('--down-mbps <n>', 'a constant downlink', positive)
    .option('--rtt-ms <n>', 'a constant round-trip time', numberOption({ min: 0 }))
}

/** The declared constants in bit/s and seconds. */
export function declaredParts({ upMbps, downMbps, rttMs }: PartOptions): DeclaredParts {
  const declared: { uplink?: number; downlink?: number; rtt?: number } = {}
  if (upMbps !== undefined) declared.uplink = upMbps * 1e6
  if (downMbps !== undefined) declared.downlink = downMbps * 1e6
  if (rttMs !== undefined) declared.rtt = rttMs * 1e-3
  return declared
}

/**
 * Opens the link that `replay <trace>` and its options name; parts that a recording lacks must be declared.
 * @throws InputError
 */
export async function openLinkSource(trace: string | undefined, options: LinkOptions): Promise<LinkSeries> {
  const { up, down, rtt, modelSeconds, seed } = options
  const files: Partial<Record<Lane, string>> = {}
  if (up !== undefined) files.uplink = up
  if (down !== undefined) files.downlink = down
  if (rtt !== undefined) files.rtt = rtt
  const { format } = options
  const read = format === undefined ? {} : { format: requireChoice('--format', format, TRACE_FORMATS) }
  const opened = await openLink({ argument: trace ?? null, files, declared: declaredParts(options), read })
  const random = randomStream(seed, 'link replay')
  if (opened.kind !== 'recorded') return drawLink(opened, { modelSeconds, binSeconds: BIN_SECONDS }, random)
  const { uplink, downlink, rtt: roundTrip } = wholeLink(opened.parts, FLAGS)
  const finest = [uplink, downlink, roundTrip].map((part) =>
    'trace' in part ? part.trace.meta.minBinSeconds : 0,
  )
  const binSeconds = options.binSeconds ?? Math.max(BIN_SECONDS, ...finest)
  return drawLink(opened, { modelSeconds, binSeconds }, random)
}
