import { existsSync } from 'node:fs'
import { basename } from 'node:path'
import { InputError, show } from '../../core/errors.ts'
import { readHead } from '../../core/foreign.ts'
import type { RandomStream } from '../../core/random.ts'
import { COLUMN, composeLink } from '../compose.ts'
import type { Lane, LinkComposition, LinkPart } from '../compose.ts'
import { readTrace } from '../file.ts'
import { constantSeries } from '../link.ts'
import { readLinkModel, sampleLink } from '../markov.ts'
import type { LinkModel } from '../markov.ts'
import { areOneDrive, keepColumns, mergeTraces } from '../merge.ts'
import { measures } from '../table.ts'
import type { Trace } from '../table.ts'
import type { Direction, LinkSeries } from '../types.ts'
import { importTraceFile } from './detect.ts'
import type { ImportOptions } from './detect.ts'
import type { SourceInfo } from './source.ts'

/** What an argument that names a link may be, for help texts. */
export const LINK_ARGUMENT =
  'a trace file, a recording, several joined by + (drive.up+drive.down, up=a.csv+rtt=ping.txt), a synthetic link (.yaml), or constant:up=10,down=40,rtt=30'

const CONSTANT = 'constant:'
const LANE_OF = { up: 'uplink', down: 'downlink', rtt: 'rtt' } as const
const LANES: readonly Lane[] = ['uplink', 'downlink', 'rtt']

/** A recording that an argument names, and which part of the link it is for, where the argument says so. */
interface LinkFile {
  readonly path: string
  readonly lane: Lane | null
}

/** Parts of a link that are declared as constants, in bit/s and seconds: they take the place of recorded ones. */
export type DeclaredParts = Readonly<Partial<Record<Lane, number>>>

/** How the recordings of a link are read, where their content does not say. */
export interface ReadSettings extends ImportOptions {
  readonly source?: Partial<SourceInfo>
}

/** A link, opened from whatever names it. */
export type OpenedLink =
  | { readonly kind: 'constant'; readonly series: LinkSeries }
  | { readonly kind: 'model'; readonly model: LinkModel }
  | { readonly kind: 'recorded'; readonly parts: RecordedParts }

/** Where the parts of a recorded link come from; null: from nowhere yet. */
type RecordedParts = Readonly<Record<Lane, LinkPart | null>>

/** What names a link. */
interface LinkNames {
  /** As LINK_ARGUMENT, or such of several files; null: the link has only the parts named here. */
  readonly argument: string | readonly string[] | null
  /** Files for single parts. */
  readonly files?: Readonly<Partial<Record<Lane, string>>>
  readonly declared?: DeclaredParts
  readonly read?: ReadSettings
  /** Where a path is found; default: as it stands. */
  readonly place?: (path: string) => string
}

/**
 * Opens a link, for every command and scenario that asks for one. Files are told apart by content; parts that are
 * declared take the place of recorded ones.
 * @throws InputError naming the file or the part
 */
export async function openLink(names: LinkNames): Promise<OpenedLink> {
  const { argument, files = {}, declared = {}, read = {}, place = (path: string) => path } = names
  const named = Object.entries(files).map(([lane, path]) => ({ path: place(path), lane: lane as Lane }))
  const words = argument === null ? [] : typeof argument === 'string' ? [argument] : argument
  const constant = words.find((word) => word.startsWith(CONSTANT))
  if (constant !== undefined) {
    refuseParts(
      constant,
      [...words.filter((word) => word !== constant).flatMap((word) => filesOf(word, place)), ...named],
      declared,
    )
    return { kind: 'constant', series: constantOf(constant) }
  }
  const all = [...words.flatMap((word) => filesOf(word, place)), ...named]
  const model = all.find(isModel)
  if (model === undefined) return { kind: 'recorded', parts: await openParts(all, declared, read) }
  refuseParts(
    model.path,
    all.filter((file) => file !== model),
    declared,
  )
  return { kind: 'model', model: readLinkModel(model.path) }
}

/** A constant or a synthetic link has all parts already: what else is named would be ignored. */
function refuseParts(argument: string, files: readonly LinkFile[], declared: DeclaredParts): void {
  const more = [
    ...files.map(({ path }) => path),
    ...Object.keys(declared).map((lane) => `a constant ${lane}`),
  ]
  if (more.length === 0) return
  throw new InputError({
    where: `link ${argument}`,
    expected: 'no more parts: this link has all of them',
    found: more.join(', '),
    remedy: 'leave them out, or name recordings',
  })
}

const isModel = ({ path, lane }: LinkFile): boolean => lane === null && /\.ya?ml$/.test(path)

/** The argument with its paths put elsewhere: what a config keeps of a link that was named on the command line. */
export function placeLink(argument: string, place: (path: string) => string): string {
  if (argument.startsWith(CONSTANT)) return argument
  const prefix = { uplink: 'up=', downlink: 'down=', rtt: 'rtt=' }
  const parts = filesOf(argument, place).map(({ path, lane }) => (lane === null ? '' : prefix[lane]) + path)
  return parts.join('+')
}

/** `a.up+b.down`, each with a lane before it or not; a file that exists under the whole name is that file. */
function filesOf(argument: string, place: (path: string) => string): LinkFile[] {
  if (existsSync(place(argument))) return [{ path: place(argument), lane: null }]
  return argument.split('+').map((part) => {
    const match = /^(up|down|rtt)=(.+)$/.exec(part)
    if (part === '') {
      throw new InputError({ where: 'link', expected: LINK_ARGUMENT, found: show(argument) })
    }
    if (match === null) return { path: place(part), lane: null }
    return { path: place(match[2]), lane: LANE_OF[match[1] as keyof typeof LANE_OF] }
  })
}

async function openParts(
  files: readonly LinkFile[],
  declared: DeclaredParts,
  settings: ReadSettings,
): Promise<RecordedParts> {
  const whole: Trace[] = []
  const parts: Record<Lane, LinkPart | null> = { uplink: null, downlink: null, rtt: null }
  for (const file of files) {
    const trace = await openRecording(file.path, withDirection(settings, file, files, declared))
    if (file.lane === null) whole.push(trace)
    else if (parts[file.lane] === null) parts[file.lane] = { kind: 'paired', trace }
    else throw twice(file.lane, [file.path])
  }
  for (const lane of LANES) {
    const value = declared[lane]
    const measured = whole.filter((trace) => measures(trace, COLUMN[lane]))
    if (value !== undefined) parts[lane] = { kind: 'constant', value }
    else if (parts[lane] === null && measured.length > 0) {
      if (measured.length > 1)
        throw twice(
          lane,
          measured.map(({ meta }) => meta.name),
        )
      parts[lane] = { kind: whole.length === 1 ? 'recording' : 'paired', trace: measured[0] }
    }
  }
  return madeTogether(parts)
}

function twice(lane: Lane, names: readonly string[]): InputError {
  return new InputError({
    where: `link: ${lane}`,
    expected: 'one recording that measures it',
    found: names.join(' and '),
    remedy: 'say which file each part is read from: up=FILE+down=FILE+rtt=FILE',
  })
}

/** A trace file (Parquet), or a recording in a format that can be imported, by its content. */
export async function openRecording(path: string, settings: ReadSettings = {}): Promise<Trace> {
  if (readHead(path, 4)?.toString('latin1') === 'PAR1') return readTrace(path)
  const { source, ...options } = settings
  return importTraceFile(path, { origin: 'not stated', licence: 'not stated', ...source }, options)
}

/**
 * Some formats do not say which direction they recorded. Where neither the name nor the user says it, a file that a
 * lane was declared for is of that lane, and a file beside a link whose other direction comes from elsewhere is of this
 * one.
 */
function withDirection(
  settings: ReadSettings,
  { path, lane }: LinkFile,
  files: readonly LinkFile[],
  declared: DeclaredParts,
): ReadSettings {
  const told = lane === 'uplink' ? 'up' : lane === 'downlink' ? 'down' : null
  if (told !== null) return { ...settings, source: { ...settings.source, direction: told } }
  const isElsewhere = (other: Lane): boolean =>
    declared[other] !== undefined || files.some((file) => file.lane === other)
  const [up, down] = [isElsewhere('uplink'), isElsewhere('downlink')]
  if (settings.source?.direction !== undefined || up === down || /\.(up|down)$/.test(path)) return settings
  const direction: Direction = up ? 'down' : 'up'
  return { ...settings, source: { ...settings.source, direction } }
}

/** `drive.up` and `drive.down` were recorded together, on one time axis: one recording, not a pair. */
function madeTogether(parts: RecordedParts): RecordedParts {
  const { uplink, downlink, rtt } = parts
  if (!isRecorded(uplink) || !isRecorded(downlink) || uplink.trace === downlink.trace) return parts
  if (!areOneDrive([uplink.trace, downlink.trace])) return parts
  const name = basename(uplink.trace.meta.name.replace(/\.(up|down)$/, ''))
  const rttOf = (trace: Trace) => (isRecorded(rtt) && rtt.trace === trace ? [COLUMN.rtt] : [])
  const traces = [
    keepColumns(uplink.trace, [COLUMN.uplink, 'lossRatio', ...rttOf(uplink.trace)]),
    keepColumns(downlink.trace, [COLUMN.downlink, ...rttOf(downlink.trace)]),
  ]
  const part = { kind: 'recording', trace: mergeTraces(traces, name) } as const
  const isInside = isRecorded(rtt) && (rtt.trace === uplink.trace || rtt.trace === downlink.trace)
  return { uplink: part, downlink: part, rtt: isInside ? part : rtt }
}

const isRecorded = (part: LinkPart | null): part is LinkPart & { trace: Trace } =>
  part !== null && 'trace' in part

/** The parts of a whole link. @throws InputError naming the first part that comes from nowhere */
export function wholeLink(
  parts: RecordedParts,
  remedies: Readonly<Record<Lane, string>> = NAME_PARTS,
): LinkComposition {
  for (const lane of LANES) {
    if (parts[lane] !== null) continue
    throw new InputError({
      where: `link: ${lane}`,
      expected: 'a recording or a constant',
      found: 'nothing',
      remedy: `declare it by ${remedies[lane]}: what is missing is never filled in`,
    })
  }
  return parts as LinkComposition
}

const NAME_PARTS: Readonly<Record<Lane, string>> = {
  uplink: 'up=<recording> or --up-mbps <n>',
  downlink: 'down=<recording> or --down-mbps <n>',
  rtt: 'rtt=<recording> or --rtt-ms <n>',
}

/** How long a drawn link is, and in which bins. */
interface DrawSettings {
  /** Length of a sample of a synthetic link; a recording has its own. */
  readonly modelSeconds: number
  readonly binSeconds: number
}

/** Draws a link: a sample of a synthetic one, a window of recordings, or the constant. */
export function drawLink(opened: OpenedLink, settings: DrawSettings, random: RandomStream): LinkSeries {
  if (opened.kind === 'constant') return opened.series
  if (opened.kind === 'model') return sampleLink(opened.model, settings.modelSeconds, random)
  return composeLink(wholeLink(opened.parts), { binSeconds: settings.binSeconds }, random)
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
    where: 'link',
    expected: 'constant:up=<Mbit/s>,down=<Mbit/s>,rtt=<ms>',
    found: show(text),
  })
}
