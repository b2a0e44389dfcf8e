import { createHash } from 'node:crypto'
import { InputError } from '../../core/errors.ts'
import { quantile } from '../../core/quantile.ts'
import { decodeDecisions, readDecisionLog } from '../../core/journal/decisions.ts'
import type { ReadLogOptions } from '../../core/journal/decisions.ts'
import type { LogRecord } from '../../core/journal/types.ts'
import { makeTrace, MAX_TRACE_ROWS } from '../table.ts'
import type { Trace } from '../table.ts'
import { collectLink, ratesOf, rttOf } from './edgewiseLink.ts'
import type { Grid, LinkEvidence } from './edgewiseLink.ts'
import { emptyError } from '../lines.ts'
import { sourceMeta } from './source.ts'
import type { SourceInfo } from './source.ts'

/** Name of the edgewise log format. */
export const EDGEWISE_FORMAT = 'edgewise'
const DEFAULT_BIN_MILLISECONDS = 1000
/** Bins that a log of any size may have: three days at the default width. */
const MIN_BINS = 262_144

/** The records of a log; after they were read, also the count of damaged lines, of all bytes, and their hash. */
interface Opened {
  readonly records: Iterable<LogRecord>
  damagedLines(): number
  bytes(): number
  sha256(): string
}

/** Opens a decision log's folder, or one of its files. */
export function openLog(path: string): Opened {
  return opened((options) => readDecisionLog(path, options))
}

function opened(read: (options: ReadLogOptions) => Iterable<LogRecord>): Opened {
  let damaged = 0
  let size = 0
  const hash = createHash('sha256')
  const records = read({
    onProblem: () => damaged++,
    onBytes: (bytes) => {
      size += bytes.byteLength
      hash.update(bytes)
    },
  })
  return { records, damagedLines: () => damaged, bytes: () => size, sha256: () => hash.digest('hex') }
}

/** Like importEdgewiseLog, from the text of one file. */
export function importEdgewise(text: string, source: SourceInfo, binMilliseconds?: number): Trace {
  const bytes = Buffer.from(text)
  const log = opened((options) => {
    options.onBytes?.(bytes)
    return decodeDecisions([bytes], source.where, options)
  })
  return linkOf(log, source, binMilliseconds)
}

/**
 * Imports the link that a device in service measured (docs/logs.md), in bins (default 1 s). A bin's rate is the bits
 * transferred in it over the seconds of transfer, zero while the log says that the link was down. Where nothing was
 * sent, the last known rate and round trip hold for a minute; after that comes a gap.
 * The rates are goodput of transfers whose sizes the policy chose; the notes give these sizes.
 * @param path a log's folder or one of its files
 */
export function importEdgewiseLog(path: string, source: SourceInfo, binMilliseconds?: number): Trace {
  return linkOf(openLog(path), source, binMilliseconds)
}

function linkOf(log: Opened, source: SourceInfo, binMilliseconds = DEFAULT_BIN_MILLISECONDS): Trace {
  const evidence = collectLink(log.records, source.where)
  if (evidence.transfers.up.count + evidence.transfers.down.count + evidence.heartbeats.length === 0) {
    throw emptyError(source.where, 'a transfer or a heartbeat')
  }
  const binSeconds = binMilliseconds / 1000
  const grid = { binSeconds, count: Math.max(1, Math.ceil(evidence.endSeconds / binSeconds - 1e-9)) }
  checkBins(grid, log.bytes(), source.where)
  const meta = sourceMeta(
    source,
    '',
    EDGEWISE_FORMAT,
    'tcp-goodput',
    notesOf(evidence, log.damagedLines()),
    binSeconds,
  )
  return makeTrace(
    {
      meta: { ...meta, rateKind: 'tcp-goodput', sourceSha256: log.sha256() },
      timeSeconds: edgesOf(grid),
      uplinkBitsPerSecond: ratesOf(evidence, 'up', grid),
      downlinkBitsPerSecond: ratesOf(evidence, 'down', grid),
      rttSeconds: rttOf(evidence, grid),
    },
    source.where,
  )
}

/**
 * Checked before anything of that size is allocated: a log of a few lines may say that years went by. A log of a device
 * in service has more than a byte for each bin (a heartbeat a minute), at the default width.
 */
function checkBins({ count }: Grid, logBytes: number, where: string): void {
  const most = Math.min(MAX_TRACE_ROWS, MIN_BINS + logBytes)
  if (count <= most) return
  throw new InputError({
    where,
    expected: `at most ${most} bins, for a log of ${logBytes} bytes`,
    found: `${count}`,
    remedy: 'take a larger --bin-ms',
  })
}

function edgesOf({ binSeconds, count }: Grid): Float64Array {
  const edges = new Float64Array(count + 1)
  for (let i = 0; i <= count; i++) edges[i] = i * binSeconds
  return edges
}

function notesOf(evidence: LinkEvidence, damagedLines: number): string[] {
  const notes = [
    `served by ${evidence.software} from ${evidence.startedAt} on, ${evidence.sessions} start(s)`,
  ]
  for (const lane of ['up', 'down'] as const) {
    const { count, bytes } = evidence.transfers[lane]
    if (count === 0) continue
    const sizes = Float64Array.from(bytes.toArray()).sort()
    const [p5, p50, p95] = [0.05, 0.5, 0.95].map((q) => quantile(sizes, q))
    notes.push(
      `${lane}: ${count} transfers of ${p5} / ${p50} / ${p95} bytes (p5/p50/p95); what was observed depends on their size`,
    )
  }
  if (damagedLines > 0) notes.push(`${damagedLines} damaged lines left out`)
  return notes
}
