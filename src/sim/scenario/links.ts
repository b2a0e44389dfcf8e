import type { RandomStream } from '../../core/random.ts'
import type { Lane, LinkPart } from '../../trace/compose.ts'
import { drawLink, openLink, openRecording, wholeLink } from '../../trace/import/openLink.ts'
import type { OpenedLink } from '../../trace/import/openLink.ts'
import { constantSeries } from '../../trace/link.ts'
import type { Trace } from '../../trace/table.ts'
import type { Direction, LinkSeries } from '../../trace/types.ts'
import { besideConfig } from './profiles.ts'
import type { LinkEntry } from './schema.ts'

/** Draws one episode's link. */
export interface LinkSource {
  readonly label: string
  sample(seconds: number, random: RandomStream): LinkSeries
}

/** Opens one entry of a scenario's list of links. */
export async function openEntry(entry: LinkEntry, folder: string, binSeconds: number): Promise<LinkSource> {
  const opened = await open(entry, folder)
  // A part that is missing is an error of the file, not of the episode that draws it first.
  if (opened.kind === 'recorded') wholeLink(opened.parts)
  return {
    label: labelOf(opened, entry),
    // A recording shorter than the episode starts again from its beginning.
    sample: (modelSeconds, random) => drawLink(opened, { modelSeconds, binSeconds }, random),
  }
}

async function open(entry: LinkEntry, folder: string): Promise<OpenedLink> {
  const place = (path: string): string => besideConfig(folder, path)
  if (typeof entry === 'string') return openLink({ argument: entry, place })
  if ('link' in entry) {
    const { link, upMbps, downMbps, rttMs } = entry
    const declared: Partial<Record<Lane, number>> = {}
    if (upMbps !== undefined) declared.uplink = upMbps * 1e6
    if (downMbps !== undefined) declared.downlink = downMbps * 1e6
    if (rttMs !== undefined) declared.rtt = rttMs / 1e3
    return openLink({ argument: link, declared, place })
  }
  if ('upMbps' in entry) {
    return {
      kind: 'constant',
      series: constantSeries(entry.upMbps * 1e6, entry.downMbps * 1e6, entry.rttMs / 1e3),
    }
  }
  return { kind: 'recorded', parts: await openParts(entry, place) }
}

function labelOf(opened: OpenedLink, entry: LinkEntry): string {
  if (opened.kind === 'constant') return opened.series.label
  if (opened.kind === 'model') return `synthetic ${opened.model.name}`
  if (typeof entry === 'string') return `recorded ${entry}`
  if ('link' in entry) {
    const { link, ...declared } = entry
    return `recorded ${[link, ...Object.entries(declared).map((pair) => pair.join(' '))].join(' / ')}`
  }
  if ('upMbps' in entry) throw new Error('scenario: a constant was opened as a recording')
  const parts = [entry.uplink, entry.downlink, entry.rtt].map((part) =>
    Object.entries(part)
      .map((pair) => pair.join(' '))
      .join(),
  )
  return `recorded ${parts.join(' / ')}`
}

type RecordedEntry = Extract<LinkEntry, { uplink: unknown }>
type PartEntry = RecordedEntry['uplink']

/** A file that several parts name is one recording: its parts belong together in time. */
async function openParts(
  entry: RecordedEntry,
  place: (path: string) => string,
): Promise<Record<Lane, LinkPart>> {
  const fileOf = (part: PartEntry): string | null =>
    'paired' in part ? part.paired : 'recording' in part ? part.recording : null
  const [up, down] = [fileOf(entry.uplink), fileOf(entry.downlink)]
  const opened = new Map<string, Promise<Trace>>()
  const openOnce = (path: string): Promise<Trace> => {
    const direction: Direction | undefined =
      up === down ? undefined : path === up ? 'up' : path === down ? 'down' : undefined
    const trace = opened.get(path) ?? openRecording(place(path), { source: { direction } })
    opened.set(path, trace)
    return trace
  }
  return {
    uplink: await openPart(entry.uplink, openOnce, 1e6),
    downlink: await openPart(entry.downlink, openOnce, 1e6),
    rtt: await openPart(entry.rtt, openOnce, 1e-3),
  }
}

/** Constants are Mbit/s or milliseconds in the config: `unit` turns them into bit/s or seconds. */
async function openPart(
  entry: PartEntry,
  openOnce: (path: string) => Promise<Trace>,
  unit: number,
): Promise<LinkPart> {
  if ('constant' in entry) return { kind: 'constant', value: entry.constant * unit }
  if ('ratio' in entry) return { kind: 'ratio', value: entry.ratio }
  if ('paired' in entry) return { kind: 'paired', trace: await openOnce(entry.paired) }
  return { kind: 'recording', trace: await openOnce(entry.recording) }
}
