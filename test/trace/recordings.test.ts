import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { importTraceFile } from '../../src/trace/import/detect.ts'
import type { ImportOptions } from '../../src/trace/import/detect.ts'
import { rateStatistics, rttStatistics } from '../../src/trace/statistics.ts'
import type { Direction } from '../../src/trace/types.ts'
import { describeShared, sharedPath } from '../shared.ts'

const root = sharedPath('traces')

interface Row {
  source: string
  files: RegExp
  direction?: Direction
  options?: ImportOptions
  column: 'uplinkBitsPerSecond' | 'downlinkBitsPerSecond'
  /** NaN: not comparable, because the table counts starlink-road's segments as traces and bounds its long rows.
   * traces, hours, dt, then Mbit/s: mean, sd, p5, p50, p95; silent %: as the shared table prints them.
   */
  table: number[]
}

const up = { direction: 'up', column: 'uplinkBitsPerSecond' } as const
const down = { direction: 'down', column: 'downlinkBitsPerSecond' } as const
const sbu: ImportOptions = {
  header: false,
  stamp: 'end',
  columns: { time: { column: 1, unit: 's' }, downlink: { column: 2, unit: 'byte/s' } },
}
const road: ImportOptions = {
  maxStepSeconds: 10,
  zeroIsMissing: true,
  columns: {
    time: { column: 'timestamp_start', unit: 'datetime' },
    end: { column: 'timestamp_end', unit: 'datetime' },
    uplink: { column: 'upload', unit: 'bit/s' },
    downlink: { column: 'download', unit: 'bit/s' },
  },
}
const rows: Row[] = [
  {
    source: 'mahimahi-us-cellular',
    files: /\.up$/,
    ...up,
    table: [4, 0.87, 0.1, 1.42, 3.1, 0.01, 1.02, 1.45, 4.8],
  },
  {
    source: 'mahimahi-us-cellular',
    files: /\.down$/,
    ...down,
    table: [2, 0.55, 0.1, 1.22, 1.36, 0.01, 0.67, 3.88, 3.8],
  },
  {
    source: 'azure-5g-iperf3',
    files: /\.json$/,
    column: down.column,
    table: [22, 0.18, 1, 947, 681, 89.1, 706, 1987, 0],
  },
  {
    source: 'starlink-mmsys24',
    files: /uplink.*\.json$/,
    column: up.column,
    table: [1, 0.08, 0.1, 6.76, 2.71, 3.06, 6.63, 11.7, 0],
  },
  {
    source: 'starlink-mmsys24',
    files: /downlink.*\.json$/,
    column: down.column,
    table: [1, 0.03, 0.1, 33.3, 22.1, 7.45, 29, 78.2, 0],
  },
  {
    source: 'solis-wifi-beijing',
    files: /\.txt$/,
    ...up,
    options: { format: 'pensieve', stamp: 'start' },
    table: [48, 2.67, 1, 20.4, 22.9, 4.88, 7.97, 74.5, 1.6],
  },
  {
    source: 'sbu-fsc-wifi-cellular',
    files: /\.csv$/,
    ...down,
    options: sbu,
    table: [46, 1.27, 1, 34.7, 21, 0, 38.5, 68.5, 5.1],
  },
  {
    source: 'zhuge-wifi-4g',
    files: /trace$/,
    ...down,
    options: { format: 'pensieve' },
    table: [13, 1.08, 0.2, 120, 203, 0.58, 28.5, 634, 1.5],
  },
  {
    source: 'fcc-broadband-2016',
    files: /trace_/,
    ...down,
    options: { format: 'pensieve' },
    table: [36, 14.8, 5, 1.39, 1, 0.38, 1.06, 3.63, 0.4],
  },
  {
    source: 'puffer-2021-2022',
    files: /cooked_traces/,
    ...down,
    options: { format: 'pensieve' },
    table: [53, 13.4, 2, 1.95, 2.04, 0.03, 1.1, 5.88, 1.4],
  },
  {
    source: 'conext25-la-boston',
    files: /uplink/,
    column: up.column,
    table: [29, 0.96, 0.5, 43.9, 35.7, 0.52, 35.1, 116, 3.8],
  },
  {
    source: 'conext25-la-boston',
    files: /downlink/,
    column: down.column,
    table: [25, 0.83, 0.5, 288, 268, 3.67, 223, 836, 3.4],
  },
  {
    source: 'starlink-road',
    files: /iperf\.csv$/,
    column: down.column,
    options: road,
    table: [NaN, 4.82, 1, 268, NaN, NaN, 286, 408, NaN],
  },
  {
    source: 'starlink-road',
    files: /iperf\.csv$/,
    column: up.column,
    options: road,
    table: [NaN, 4.58, 1, 18.1, 8.95, NaN, 16.9, 35, NaN],
  },
]

function load(row: Row) {
  const names = readdirSync(join(root, row.source), { recursive: true, withFileTypes: true })
  const paths = names.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const wanted = paths.filter((path) => row.files.test(path) && !/ORIGIN\.md$/.test(path)).sort()
  const source = { origin: 'test', licence: 'test', ...(row.direction ? { direction: row.direction } : {}) }
  return wanted.map((path) => importTraceFile(path, source, row.options))
}

// The recordings' licences keep them out of this repository; without them there is nothing to compare.
describeShared('importers reproduce the published statistics of recordings', ['traces'], () => {
  it.each(rows)('$source $column', (row) => {
    const traces = load(row)
    const found = rateStatistics(traces, row.column)!
    const megabits = [
      found.meanBitsPerSecond,
      found.sdBitsPerSecond,
      found.p5BitsPerSecond,
      found.p50BitsPerSecond,
      found.p95BitsPerSecond,
    ].map((rate) => rate / 1e6)
    const all = [found.traces, found.hours, found.dtSeconds, ...megabits, 100 * found.silentShare]
    for (const [i, expected] of row.table.entries()) {
      if (Number.isNaN(expected)) continue
      // 1 %, or half of the last digit that the table prints.
      const printed = i === 8 ? 0.051 : 0.0051
      expect(Math.abs(all[i] - expected), `figure ${i}: ${all[i]}`).toBeLessThanOrEqual(
        Math.max(0.01 * expected, printed),
      )
    }
  })

  it('conext25-la-boston RTT', () => {
    const found = rttStatistics(
      load({ source: 'conext25-la-boston', files: /ping/, column: up.column, table: [] }),
    )!
    // The table's 4222 samples hold one more a nuttcp connection, and one duplicate.
    expect(found.count).toBe(4167)
    expect(found.p5Seconds / 0.0433).toBeCloseTo(1, 1)
    expect(found.p50Seconds / 0.0645).toBeCloseTo(1, 1)
    expect(found.p95Seconds / 0.125).toBeCloseTo(1, 1)
  })

  it('starlink-mmsys24 RTT of the sending side', () => {
    const found = rttStatistics(load(rows[3]))!
    expect(found.count).toBe(3000)
    expect(found.p5Seconds).toBeCloseTo(0.0447, 4)
    expect(found.p50Seconds).toBeCloseTo(0.0567, 4)
    expect(found.p95Seconds).toBeCloseTo(0.104, 3)
  })
})
