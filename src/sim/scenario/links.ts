import type { RandomStream } from '../../core/random.ts'
import { composeLink, type LinkPart } from '../../trace/compose.ts'
import { readTrace } from '../../trace/file.ts'
import { constantSeries } from '../../trace/link.ts'
import type { Trace } from '../../trace/table.ts'
import { readLinkModel, sampleLink } from '../../trace/markov.ts'
import type { LinkSeries } from '../../trace/types.ts'
import { besideConfig } from './profiles.ts'
import type { LinkEntry } from './schema.ts'

/** Draws one episode's link. */
export interface LinkSource {
  readonly label: string
  sample(seconds: number, random: RandomStream): LinkSeries
}

/** Opens one entry of a scenario's list of links. */
export async function openLink(entry: LinkEntry, folder: string, binSeconds: number): Promise<LinkSource> {
  if (typeof entry === 'string') {
    const model = readLinkModel(besideConfig(folder, entry))
    return {
      label: `synthetic ${model.name}`,
      sample: (seconds, random) => sampleLink(model, seconds, random),
    }
  }
  if ('upMbps' in entry) {
    const series = constantSeries(entry.upMbps * 1e6, entry.downMbps * 1e6, entry.rttMs / 1e3)
    return { label: series.label, sample: () => series }
  }
  // A file that several parts name is one recording: its parts belong together in time.
  const opened = new Map<string, Promise<Trace>>()
  const open = (path: string): Promise<Trace> => {
    const full = besideConfig(folder, path)
    const trace = opened.get(full) ?? readTrace(full)
    opened.set(full, trace)
    return trace
  }
  const composition = {
    uplink: await openPart(entry.uplink, open, 1e6),
    downlink: await openPart(entry.downlink, open, 1e6),
    rtt: await openPart(entry.rtt, open, 1e-3),
  }
  const names = [entry.uplink, entry.downlink, entry.rtt].map((part) =>
    Object.entries(part)
      .map((pair) => pair.join(' '))
      .join(),
  )
  return {
    label: `recorded ${names.join(' / ')}`,
    // A recording shorter than the episode starts again from its beginning.
    sample: (_seconds, random) => composeLink(composition, { binSeconds }, random),
  }
}

type PartEntry = Extract<LinkEntry, { uplink: unknown }>['uplink']

/** Constants are Mbit/s or milliseconds in the config: `unit` turns them into bit/s or seconds. */
async function openPart(
  entry: PartEntry,
  open: (path: string) => Promise<Trace>,
  unit: number,
): Promise<LinkPart> {
  if ('constant' in entry) return { kind: 'constant', value: entry.constant * unit }
  if ('ratio' in entry) return { kind: 'ratio', value: entry.ratio }
  if ('paired' in entry) return { kind: 'paired', trace: await open(entry.paired) }
  return { kind: 'recording', trace: await open(entry.recording) }
}
