import type { RecordedRequests } from '../lengths.ts'
import { openLog } from './edgewise.ts'
import { SessionClock } from './edgewiseLink.ts'
import { Column, emptyError } from '../lines.ts'
import { baseName } from './source.ts'

/** The requests in a log of a device in service, in order of arrival. */
interface ServedRequests extends RecordedRequests {
  readonly arrivalSeconds: Float64Array
  /** Time of the first arrival, ISO 8601. */
  readonly startedAt: string
  readonly sourceSha256: string
  /** Requests that arrived but are not in the lists: without an outcome, with an error, or without any token. */
  readonly leftOut: number
  /** Cancelled requests in the lists; their answers might have been longer. */
  readonly cancelled: number
  readonly damagedLines: number
}

interface Pending {
  readonly at: number
  readonly promptTokens: number
}

/**
 * Reads arrival times and lengths of the requests in a log. Request numbers of two starts may repeat.
 * @param path a log's folder or one of its files
 * @throws InputError if no request was answered
 */
export function readServedRequests(path: string): ServedRequests {
  const log = openLog(path)
  const clock = new SessionClock()
  let pending = new Map<number, Pending>()
  const rows: [number, number, number][] = []
  let originSeconds = NaN
  let [arrived, cancelled] = [0, 0]
  for (const record of log.records) {
    if (record.kind === 'header') {
      if (clock.begins(record.startedAt)) pending = new Map()
      if (Number.isNaN(originSeconds)) originSeconds = Date.parse(record.startedAt) / 1000
      continue
    }
    const at = clock.place(record.atSeconds)
    if (record.kind === 'arrival') {
      arrived++
      pending.set(record.request, { at, promptTokens: record.promptTokens })
    } else if (record.kind === 'outcome') {
      const arrival = pending.get(record.request)
      if (arrival === undefined) continue
      pending.delete(record.request)
      if (record.end === 'error' || record.outputTokens === 0 || arrival.promptTokens === 0) continue
      if (record.end === 'cancelled') cancelled++
      rows.push([arrival.at, arrival.promptTokens, record.outputTokens])
    }
  }
  if (rows.length === 0) throw emptyError(path, 'at least one request that was answered')
  rows.sort((a, b) => a[0] - b[0])
  return {
    label: `served ${baseName(path)}`,
    ...columnsOf(rows),
    notes: [],
    startedAt: new Date(1000 * (originSeconds + rows[0][0])).toISOString(),
    sourceSha256: log.sha256(),
    leftOut: arrived - rows.length,
    cancelled,
    damagedLines: log.damagedLines(),
  }
}

function columnsOf(rows: readonly (readonly [number, number, number])[]) {
  const columns = [new Column(), new Column(), new Column()]
  for (const row of rows) row.forEach((value, i) => columns[i].push(i === 0 ? value - rows[0][0] : value))
  const [arrivalSeconds, promptTokens, outputTokens] = columns.map((column) => column.toArray())
  return { arrivalSeconds, promptTokens, outputTokens }
}

/** Provenance of a workload that is written as text. */
interface WorkloadSource {
  readonly origin: string
  readonly licence: string
}

/**
 * Formats requests in the Azure form, which scenarios read (`recorded: file.csv`), after comment lines (`#`) with their
 * provenance. Times have microseconds.
 */
export function formatWorkload(requests: ServedRequests, { origin, licence }: WorkloadSource): string {
  const plain = (text: string) => text.replace(/\s+/g, ' ')
  const head = [
    `# ${requests.label}: ${plain(origin)}; licence: ${plain(licence)}`,
    `# from a decision log with SHA-256 ${requests.sourceSha256}, ${requests.damagedLines} damaged lines`,
    `# ${requests.leftOut} requests without an answer left out; ${requests.cancelled} of those here were cancelled`,
    'TIMESTAMP,ContextTokens,GeneratedTokens',
  ]
  // Whole seconds are handled apart from the fraction, because a Date has milliseconds only.
  const origins = Date.parse(requests.startedAt) / 1000
  const rows = Array.from(requests.arrivalSeconds, (seconds, i) => {
    const micros = Math.round(1e6 * (origins + seconds))
    const whole = new Date(1000 * Math.floor(micros / 1e6)).toISOString().slice(0, 19).replace('T', ' ')
    const fraction = String(micros % 1e6).padStart(6, '0')
    return `${whole}.${fraction},${requests.promptTokens[i]},${requests.outputTokens[i]}`
  })
  return `${[...head, ...rows].join('\n')}\n`
}
