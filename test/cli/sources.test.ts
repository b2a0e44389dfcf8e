import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { runCli } from '../../src/cli/program.ts'
import { COMMANDS } from '../../src/cli/registry.ts'
import { describeShared, sharedPath } from '../shared.ts'
import { recordIo } from './io.ts'

const root = sharedPath('traces')

/** A row of the table of expected statistics in the shared folder. */
interface Source {
  readonly folder: string
  readonly files: RegExp
  /** How the command line reads them. */
  readonly argv?: string
  readonly lane: 'uplink' | 'downlink' | 'rtt'
  /**
   * Of a rate: traces, hours, dt s, then Mbit/s: mean, sd, p5, p50, p95; zero s %. Of the round trip: ms p5, p50, p95,
   * n. NaN: not comparable, for the reason that stands beside it.
   */
  readonly table: readonly number[]
  /** Share by which the figures may differ; default 1 %. */
  readonly tolerance?: number
  /** Files of the same source that other columns are read from. */
  readonly more?: { readonly files: RegExp; readonly argv: string }
}

const pensieve = '--format pensieve --direction down'
const SOURCES: readonly Source[] = [
  {
    folder: 'mahimahi-us-cellular',
    files: /\.up$/,
    lane: 'uplink',
    table: [4, 0.87, 0.1, 1.42, 3.1, 0.01, 1.02, 1.45, 4.8],
  },
  {
    folder: 'mahimahi-us-cellular',
    files: /\.down$/,
    lane: 'downlink',
    table: [2, 0.55, 0.1, 1.22, 1.36, 0.01, 0.67, 3.88, 3.8],
  },
  {
    folder: 'azure-5g-iperf3',
    files: /\.json$/,
    lane: 'downlink',
    table: [22, 0.18, 1, 947, 681, 89.1, 706, 1987, 0],
  },
  {
    folder: 'conext25-la-boston',
    files: /uplink/,
    lane: 'uplink',
    table: [29, 0.96, 0.5, 43.9, 35.7, 0.52, 35.1, 116, 3.8],
  },
  {
    folder: 'conext25-la-boston',
    files: /downlink/,
    lane: 'downlink',
    table: [25, 0.83, 0.5, 288, 268, 3.67, 223, 836, 3.4],
  },
  // The table's 4222 samples hold one more a nuttcp connection, and one duplicate.
  { folder: 'conext25-la-boston', files: /ping/, lane: 'rtt', table: [43.3, 64.5, 125, 4167] },
  { folder: 'pam25-us-ping', files: /\.out$/, lane: 'rtt', table: [43.2, 65.1, 129, 5955] },
  {
    folder: 'solis-wifi-beijing',
    files: /\.txt$/,
    argv: '--format pensieve --stamp start --direction up',
    lane: 'uplink',
    table: [48, 2.67, 1, 20.4, 22.9, 4.88, 7.97, 74.5, 1.6],
  },
  {
    folder: 'zhuge-wifi-4g',
    files: /trace$/,
    argv: pensieve,
    lane: 'downlink',
    table: [13, 1.08, 0.2, 120, 203, 0.58, 28.5, 634, 1.5],
  },
  {
    folder: 'fcc-broadband-2016',
    files: /trace_/,
    argv: pensieve,
    lane: 'downlink',
    table: [36, 14.8, 5, 1.39, 1, 0.38, 1.06, 3.63, 0.4],
  },
  {
    folder: 'puffer-2021-2022',
    files: /cooked_traces/,
    argv: pensieve,
    lane: 'downlink',
    table: [53, 13.4, 2, 1.95, 2.04, 0.03, 1.1, 5.88, 1.4],
  },
  {
    folder: 'starlink-mmsys24',
    files: /downlink.*\.json$/,
    lane: 'downlink',
    table: [1, 0.03, 0.1, 33.3, 22.1, 7.45, 29, 78.2, 0],
  },
  {
    folder: 'starlink-mmsys24',
    files: /uplink.*\.json$/,
    lane: 'uplink',
    table: [1, 0.08, 0.1, 6.76, 2.71, 3.06, 6.63, 11.7, 0],
  },
  { folder: 'starlink-mmsys24', files: /uplink.*\.json$/, lane: 'rtt', table: [44.7, 56.7, 104, 3000] },
]

const scratch = mkdtempSync(join(tmpdir(), 'edgewise-sources-'))
afterAll(() => rmSync(scratch, { recursive: true }))

function filesOf(folder: string, files: RegExp): string[] {
  const entries = readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  return paths.filter((path) => files.test(path.slice(root.length)) && !/\.md$/.test(path)).sort()
}

const words = (argv = ''): string[] => argv.split(' ').filter((word) => word !== '')

async function edgewise(...argv: string[]): Promise<string> {
  const io = recordIo()
  const code = await runCli(argv, io, COMMANDS, '0.0.0')
  expect(code, io.err()).toBe(0)
  return io.out()
}

/** What `trace stats` is told to read: the files, or, where they are of two forms, traces imported from them. */
async function argumentsOf({ folder, files, argv, more }: Source): Promise<string[]> {
  const own = filesOf(folder, files)
  if (more === undefined) return [...words(argv), ...own]
  const traces: string[] = []
  const importAll = async (paths: readonly string[], options: readonly string[]): Promise<void> => {
    for (const path of paths) {
      const out = join(scratch, `${folder}-${traces.length}.parquet`)
      await edgewise('trace', 'import', path, '--out', out, '--origin', 'x', '--licence', 'x', ...options)
      traces.push(out)
    }
  }
  await importAll(own, words(argv))
  await importAll(filesOf(folder, more.files), words(more.argv))
  return traces
}

/** Statistics of all files of a source together, as `trace stats --json` says them. */
async function statistics(source: Source): Promise<number[]> {
  const { lane } = source
  const out = await edgewise('trace', 'stats', '--together', '--json', ...(await argumentsOf(source)))
  const found = JSON.parse(out).all[lane]
  expect(found, `${lane} was not measured`).not.toBeNull()
  if (lane === 'rtt')
    return [1000 * found.p5Seconds, 1000 * found.p50Seconds, 1000 * found.p95Seconds, found.count]
  const rates = ['mean', 'sd', 'p5', 'p50', 'p95'].map((name) => found[`${name}BitsPerSecond`] / 1e6)
  return [found.traces, found.hours, found.dtSeconds, ...rates, 100 * found.silentShare]
}

// The recordings' licences keep them out of this repository; without them there is nothing to compare.
describeShared(
  'every shared source gives its published statistics through the command line',
  ['traces'],
  () => {
    it.each(SOURCES)('$folder $lane', async (source) => {
      const found = await statistics(source)
      for (const [i, expected] of source.table.entries()) {
        if (Number.isNaN(expected)) continue
        // 1 %, or half of the last digit that the table prints.
        const printed = i === 8 ? 0.051 : 0.0051
        expect(Math.abs(found[i] - expected), `figure ${i} of ${found.join(', ')}`).toBeLessThanOrEqual(
          Math.max((source.tolerance ?? 0.01) * expected, printed),
        )
      }
    })
  },
)
