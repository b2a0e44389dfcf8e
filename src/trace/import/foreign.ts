import { InputError, show } from '../../core/errors.ts'
import { nameForeign } from '../../core/foreign.ts'
import { linesOf } from '../lines.ts'

/** How a recording in each format that can be read comes about. */
const HOW = {
  iperf3: 'iperf3 (`iperf3 --json`: the rate of every second)',
  csv: 'csv (a table with a time and a rate; say which: --column time=NAME:UNIT --column uplink=NAME:UNIT)',
  pensieve: 'pensieve (lines of two numbers: seconds and Mbit/s)',
  mahimahi: 'mahimahi (one whole millisecond a line, for each packet)',
  ping: 'ping (the text that it prints)',
  edgewise: 'edgewise (the folder of a decision log)',
} as const
type Nearest = readonly [keyof typeof HOW, keyof typeof HOW]

interface Kind {
  readonly what: string
  readonly nearest: Nearest
  /** On the beginning of the text, without a byte order mark. */
  readonly looks: RegExp
}

const AVERAGE = 'one average over a whole test, not the course of a link'

/** Files of measurements that people have and that no importer reads. */
const KINDS: readonly Kind[] = [
  {
    what: `a result of speedtest-cli (JSON): ${AVERAGE}`,
    nearest: ['iperf3', 'csv'],
    looks: /^\{(?=[^]{0,4000}"download"\s*:\s*[\d.])(?=[^]{0,4000}"upload"\s*:\s*[\d.])[^]{0,4000}"ping"\s*:/,
  },
  {
    what: 'a trace of Sabre (JSON: duration_ms, bandwidth_kbps, latency_ms)',
    nearest: ['csv', 'pensieve'],
    looks: /^\[\s*\{(?=[^{}]{0,400}"duration_ms")[^{}]{0,400}"bandwidth_kbps"/,
  },
  {
    what: 'a HAR file (requests of a browser)',
    nearest: ['iperf3', 'csv'],
    looks: /^\{\s*"log"\s*:\s*\{[^]{0,400}"(?:creator|version)"/,
  },
  {
    what: 'the text that traceroute or mtr prints',
    nearest: ['ping', 'csv'],
    looks: /^(?:traceroute to |Tracing route to |Start: [^\n]{1,60}\nHOST: )/,
  },
  {
    what: 'the text that `ss -ti` prints',
    nearest: ['iperf3', 'csv'],
    looks: /^State\s+Recv-Q\s+Send-Q/,
  },
  {
    what: 'a synthetic link (YAML)',
    nearest: ['csv', 'iperf3'],
    looks: /^schemaVersion:[^]{0,80}kind: synthetic/,
  },
  {
    what: 'requests of a language model: a workload, not a recording of a link (name it by --workload)',
    nearest: ['csv', 'edgewise'],
    looks:
      /^(?:"?TIMESTAMP"?,"?ContextTokens"?|Timestamp,Model,Request tokens|"?arrived_at"?,|\{"timestamp"[^{}]{0,200}"input_length"|\[\s*\{[^]{0,300}"conversations"\s*:)/,
  },
]

/** A pattern looks no further. */
const HEAD_CHARACTERS = 8192

/** What a text is that no importer reads; null for one that none of the known kinds is. */
export function nameForeignRecording(text: string): { what: string; remedy: string } | null {
  const start = text
    .slice(0, HEAD_CHARACTERS)
    .replace(/^\ufeff/, '')
    .trimStart()
  const kind = KINDS.find(({ looks }) => looks.test(start))
  if (kind !== undefined) return { what: kind.what, remedy: nearestFormats(kind.nearest) }
  return nameForeign(text)
}

function nearestFormats([first, second]: Nearest): string {
  return `record or convert it to ${HOW[first]}, or ${HOW[second]}`
}

/** The error for a text that no importer reads: what it is, where that is known, and the two formats nearest to it. */
export function foreignRecording(text: string, where: string, formats: readonly string[]): InputError {
  const expected = `a recording in one of the formats ${formats.join(', ')}`
  const known = nameForeignRecording(text)
  if (known !== null) return new InputError({ where, expected, found: known.what, remedy: known.remedy })
  for (const line of linesOf(text)) {
    const remedy = `name the format by --format if it is one of them; nearest: ${nearestFormats(nearestTo(line.text))}`
    return new InputError({ where: `${where}:${line.number}`, expected, found: show(line.text), remedy })
  }
  return new InputError({ where: `${where}:1`, expected, found: 'an empty file' })
}

/** The formats whose lines look most like this one. */
function nearestTo(line: string): Nearest {
  if (/^[[{]/.test(line)) return ['iperf3', 'csv']
  if (/\bms\b/.test(line)) return ['ping', 'csv']
  if (/[,;\t|]/.test(line)) return ['csv', 'iperf3']
  if (/^[-+\d.]/.test(line)) return ['csv', 'pensieve']
  return ['iperf3', 'ping']
}
