import { encodeLine } from '../../src/core/journal/line.ts'
import type { RandomStream } from '../../src/core/random.ts'
import { decodeTrace, encodeTrace } from '../../src/trace/file.ts'
import { importTrace } from '../../src/trace/import/detect.ts'
import type { ImportOptions } from '../../src/trace/import/detect.ts'
import { parseWorkload } from '../../src/trace/import/workload.ts'
import { HEADER } from '../core/journal/support.ts'

/** A reader of what came from outside, and files for it. */
export interface Reader {
  readonly name: string
  /** A file of about `rows` rows that reads without an error. */
  make(rows: number): Uint8Array
  read(bytes: Uint8Array): unknown
}

const source = { where: 'x.up', origin: 'test', licence: 'test', direction: 'up' } as const
const lines = (rows: number, line: (row: number) => string): string =>
  Array.from({ length: rows }, (_, row) => line(row)).join('\n')

function recording(
  name: string,
  make: (rows: number) => string,
  options: ImportOptions = {},
  direction: 'up' | undefined = 'up',
): Reader {
  return {
    name,
    make: (rows) => Buffer.from(make(rows)),
    read: (bytes) => importTrace(Buffer.from(bytes).toString(), { ...source, direction }, options),
  }
}

function workload(name: string, make: (rows: number) => string): Reader {
  return {
    name,
    make: (rows) => Buffer.from(make(rows)),
    read: (bytes) => parseWorkload(Buffer.from(bytes).toString(), 'x'),
  }
}

const interval = (row: number) => ({
  streams: [{ rtt: 30_000 + (row % 100) }],
  sum: { start: row, end: row + 1, seconds: 1, bytes: 125_000, bits_per_second: 1e6 + row, omitted: false },
})

/** Every reader of recordings and of recorded requests. */
export const READERS: readonly Reader[] = [
  recording('mahimahi', (rows) => lines(rows, (row) => `${3 * row + 1}`), { format: 'mahimahi' }),
  recording(
    'iperf3',
    (rows) =>
      JSON.stringify({
        start: { version: 'iperf 3.12', test_start: { protocol: 'TCP', reverse: 0 } },
        intervals: Array.from({ length: rows }, (_, row) => interval(row)),
        end: {},
      }),
    { format: 'iperf3' },
    undefined,
  ),
  recording('pensieve', (rows) => lines(rows, (row) => `${row}.5 ${1 + (row % 7)}.25`), {
    format: 'pensieve',
  }),
  recording(
    'csv',
    (rows) =>
      `time_s,uplink_mbps,rtt_ms,cell\n${lines(rows, (row) => `${row}.25,${row % 9}.5,${20 + (row % 5)},"a,${row}"`)}`,
    { format: 'csv' },
  ),
  recording(
    'oboe',
    (rows) => lines(rows, (row) => `${200 * (row >> 1) + 150 * (row % 2)}.0 ${1000 + (row >> 1)}.5`),
    {
      format: 'oboe',
    },
  ),
  recording(
    'riiser',
    (rows) =>
      lines(
        rows,
        (row) => `${1_285_675_666 + row} ${1000 * row + 310_761} 59.88 10.76 ${288_648 + row} 1000`,
      ),
    { format: 'riiser' },
  ),
  recording(
    'lists',
    (rows) => `Run 1\n${Array.from({ length: rows }, (_, row) => `${30 + (row % 9)}.5`).join(',')}\n`,
    { format: 'lists', everySeconds: 0.1, columns: { uplink: { column: 1, unit: 'Mbit/s' } } },
  ),
  recording(
    'iperf3 text',
    (rows) =>
      `Connecting to host x, port 5201\n[ ID] Interval           Transfer     Bitrate\n${lines(rows, (row) => `[  5]   ${row}.00-${row + 1}.00   sec  1.88 MBytes  15.7 Mbits/sec`)}`,
    { format: 'iperf3' },
  ),
  recording('nuttcp', (rows) => `nuttcp-t: v8\n${lines(rows, () => ' 0.0625 MB / 0.50 sec = 1.0486 Mbps')}`, {
    format: 'nuttcp',
  }),
  recording(
    'ping',
    (rows) =>
      `PING x\n${lines(rows, (row) => `64 bytes from 192.0.2.1: icmp_seq=${(row + 1) % 65_536} ttl=55 time=${30 + (row % 9)}.5 ms`)}`,
    { format: 'ping' },
  ),
  recording(
    'edgewise',
    (rows) =>
      [HEADER, ...Array.from({ length: rows }, (_, row) => transferAt(row))]
        .map((record) => encodeLine(record))
        .join(''),
    { format: 'edgewise' },
  ),
  {
    name: 'trace file',
    make: (rows) =>
      encodeTrace(
        importTrace(
          `time_s,uplink_mbps\n${lines(rows, (row) => `${row},${row % 9}`)}`,
          { ...source, where: 'x.csv' },
          { format: 'csv' },
        ),
      ),
    read: (bytes) => decodeTrace(bytes, 'x.parquet'),
  },
  workload(
    'Azure',
    (rows) =>
      `TIMESTAMP,ContextTokens,GeneratedTokens\n${lines(rows, (row) => `${stamp(row)}.5,${100 + (row % 9)},44`)}`,
  ),
  workload('Mooncake', (rows) =>
    lines(
      rows,
      (row) =>
        `{"timestamp": ${30 * row}, "input_length": 6758, "output_length": 500, "hash_ids": [0,${row}]}`,
    ),
  ),
  workload('ShareGPT', (rows) =>
    JSON.stringify(
      Array.from({ length: rows }, (_, row) => ({
        conversations: [
          { from: 'human', value: `question ${row}` },
          { from: 'gpt', value: 'an answer of some words' },
        ],
      })),
    ),
  ),
]

const transferAt = (row: number) => ({
  kind: 'transfer',
  atSeconds: row / 10,
  direction: 'up',
  bytes: 9999,
  seconds: 0.05,
})

const stamp = (row: number): string =>
  new Date(1.7e12 + 1000 * row).toISOString().slice(0, 19).replace('T', ' ')

/** What files say that is not so: figures of other sizes, half a line, other formats' words. */
const TOKENS = [
  ...[
    '0',
    '-1',
    '1e308',
    '99999999999',
    '9007199254740993',
    'NaN',
    '-nan',
    'Infinity',
    '',
    ' ',
    '\n',
    '\r',
    '"',
    "'",
  ],
  ...[
    ',',
    ';',
    '\t',
    '|',
    '{',
    '}',
    '[',
    ']',
    ':',
    'null',
    'true',
    '\ufeff',
    '\u0000',
    '[[[[[[[[',
    '{"a":',
    '#',
    '0x10',
  ],
  ...[
    'icmp_seq=4294967295',
    'nuttcp-r:',
    'TIMESTAMP',
    '2024-02-30 25:61:61',
    '1,234.5',
    '1.234,5',
    'sum',
    '"intervals":',
  ],
].map((token) => Buffer.from(token))

/** A file with one to four changes: bytes replaced, cut, doubled, moved, or a token put in. */
export function mutate(bytes: Uint8Array, random: RandomStream): Uint8Array {
  let changed = Buffer.from(bytes)
  for (let left = 1 + random.integer(4); left > 0; left--) {
    const at = random.integer(changed.length + 1)
    const end = Math.min(changed.length, at + random.integer(24))
    const [head, middle, tail] = [changed.subarray(0, at), changed.subarray(at, end), changed.subarray(end)]
    const kind = random.integer(6)
    if (kind === 0) changed = Buffer.concat([head, TOKENS[random.integer(TOKENS.length)], tail])
    else if (kind === 1) changed = Buffer.concat([head, TOKENS[random.integer(TOKENS.length)], middle, tail])
    else if (kind === 2) changed = Buffer.concat([head, tail])
    else if (kind === 3) changed = Buffer.concat([head, middle, middle, tail])
    else if (kind === 4) changed = Buffer.concat([tail, middle, head])
    else if (at < changed.length) changed[at] = random.integer(256)
  }
  return changed
}
