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
const road =
  '--max-step 10 --zero-is-missing --column time=timestamp_start:datetime --column end=timestamp_end:datetime ' +
  '--column uplink=upload:bit/s --column downlink=download:bit/s'
/** Seconds that the logger skipped are gaps; of a doubled second both rows count, where the table's zeros count one. */
const ucc =
  '--max-step 1 --column time=Timestamp:datetime --column downlink=DL_bitrate:kbit/s --column uplink=UL_bitrate:kbit/s --column rtt=PINGAVG:ms'
const wild = (way: string) => `--column time=_start:s --column end=_end:s --column ${way}=Throughput:Mbit/s`
const wildDown = /(?:20065|20036|15652|run123|20092|20091|run68)-iPerf\.csv$/
const gophers =
  '--every 1 --column downlink=throughput_mbps:Mbit/s --group protocol --group carrier --group num_tcp_conn --group server_location --group run_num'
/** One file holds many recordings, and the table counts each. */
const MANY = NaN

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
    folder: 'norway-3g-riiser',
    files: /\.log$/,
    argv: '--direction down',
    lane: 'downlink',
    // Rows that span minutes, and files whose rows overlap: the table bounds them in a way that it does not say.
    table: [40, 10.5, 1.01, 1.12, 1, 0, 0.94, 3.15, NaN],
    tolerance: 0.06,
  },
  {
    folder: 'sydney-3g4g',
    files: /\.cap$/,
    argv: '--column time=1:s --column downlink=4:kbit/s',
    lane: 'downlink',
    table: [36, 19.1, 10, 1.51, 0.5, 0.62, 1.57, 2.17, 0],
  },
  {
    folder: 'ucc-5g',
    files: /Download.*\.csv$/,
    argv: ucc,
    lane: 'downlink',
    table: [8, 3.01, 1, 33, 62, 0, 8.91, 186, NaN],
  },
  {
    folder: 'ucc-5g',
    files: /Download.*\.csv$/,
    argv: ucc,
    lane: 'uplink',
    table: [8, 3.01, 1, 0.11, 0.1, 0, 0.09, 0.27, NaN],
  },
  // The samples of transfers; the table's 467 leave out repetitions.
  {
    folder: 'ucc-5g',
    files: /Download.*\.csv$/,
    argv: `${ucc} --only State=D`,
    lane: 'rtt',
    table: [66, 77, 143, NaN],
  },
  {
    folder: 'ucc-5g',
    files: /Netflix.*\.csv$/,
    argv: ucc,
    lane: 'downlink',
    table: [1, 0.12, 1, 1.11, 5.86, 0, 0, 5.24, 88],
  },
  {
    folder: 'ucc-5g',
    files: /Netflix.*\.csv$/,
    argv: ucc,
    lane: 'uplink',
    table: [1, 0.12, 1, 0.02, 0.09, 0, 0, 0.08, 88.9],
  },
  {
    folder: '5gophers-us-mmwave',
    files: /01-Throughput/,
    argv: gophers,
    lane: 'downlink',
    table: [MANY, 2.02, 1, 423, 433, 10.7, 278, 1468, 0.5],
  },
  {
    folder: '5gophers-us-mmwave',
    files: /02-Round-Trip/,
    argv: '--every 1 --column rtt=rtt_ms:ms --group carrier --group server_location',
    more: {
      files: /Ping-Traces.*\.log$/,
      argv: '--every 1 --column rtt=rtt_in_ms:ms --group network_type --group ue_location --group target_server',
    },
    lane: 'rtt',
    table: [23.4, 56.7, 135, 1748],
  },
  {
    folder: 'mn-wild-5g',
    files: wildDown,
    argv: wild('downlink'),
    lane: 'downlink',
    table: [4, 1.13, 1, 517, 796, 12.5, 95.1, 2410, 1.4],
  },
  {
    folder: 'mn-wild-5g',
    files: /(?<!20065|20036|15652|run123|20092|20091|run68)-iPerf\.csv$/,
    argv: wild('uplink'),
    lane: 'uplink',
    // 215 of the files' 8485 seconds are zero: 2.5 %, where the table says 1.8.
    table: [8, 2.36, 1, 53.9, 33.8, 7.35, 53.5, 106, NaN],
  },
  {
    folder: 'azure-5g-iperf3',
    files: /\.json$/,
    lane: 'downlink',
    table: [22, 0.18, 1, 947, 681, 89.1, 706, 1987, 0],
  },
  {
    folder: '5gmemu-mmwave-uplink',
    files: /throughput.*\.list$/,
    argv: '--format lists --every 0.1 --column uplink=1:Mbit/s',
    lane: 'uplink',
    // 12 of 8296 bins are zero, where the table's 0.2 % are 13 or more.
    table: [MANY, 2.31, 0.1, 45.4, 29.6, 14.1, 42.6, 129, NaN],
  },
  {
    folder: '5gmemu-mmwave-uplink',
    files: /ping.*\.list$/,
    argv: '--format lists --every 0.2 --column rtt=1:ms',
    lane: 'rtt',
    table: [12.6, 31.5, 59.3, 24287],
  },
  {
    folder: 'wheels-us-static',
    files: /_dl_.*\.out$/,
    lane: 'downlink',
    // Bins of tests that ran longer than asked do not align.
    table: [20, 0.18, 0.1, 441, 627, NaN, 136, 2028, 3.8],
  },
  {
    folder: 'wheels-us-static',
    files: /_ul_.*\.out$/,
    lane: 'uplink',
    table: [18, 0.23, 0.1, 39, 57.1, 2.1, 22, 207, 1.1],
  },
  // The table's 4232 samples hold one more a nuttcp connection.
  { folder: 'wheels-us-static', files: /ping.*\.out$/, lane: 'rtt', table: [24.1, 62.9, 150, 4193] },
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
  {
    folder: 'conext25-chicago-boston',
    files: /downlink.*\.out$/,
    lane: 'downlink',
    table: [10, 0.11, 0.1, 126, 139, 0.23, 109, 327, 5],
  },
  {
    folder: 'conext25-chicago-boston',
    // 1745100747076 is the file of a test that did not take place.
    files: /(?<!1745100747076_uplink\/)uplink[^/]*\.out$/,
    lane: 'uplink',
    table: [23, 0.38, 0.1, 55.8, 39.6, 10.4, 52.1, 136, 4.2],
  },
  { folder: 'conext25-chicago-boston', files: /rtt.*\.out$/, lane: 'rtt', table: [33.8, 41.8, 71, 3445] },
  { folder: 'pam25-us-ping', files: /\.out$/, lane: 'rtt', table: [43.2, 65.1, 129, 5955] },
  {
    folder: 'tongji-5g-rtt',
    files: /\.txt$/,
    argv: '--column time=pub_time(ms):ms --column rtt=delay(ms):ms',
    lane: 'rtt',
    table: [15, 18, 25, 5246],
  },
  {
    folder: 'solis-wifi-beijing',
    files: /\.txt$/,
    argv: '--format pensieve --stamp start --direction up',
    lane: 'uplink',
    table: [48, 2.67, 1, 20.4, 22.9, 4.88, 7.97, 74.5, 1.6],
  },
  {
    folder: 'sbu-fsc-wifi-cellular',
    files: /\.csv$/,
    argv: '--stamp end --column time=1:s --column downlink=2:byte/s',
    lane: 'downlink',
    table: [46, 1.27, 1, 34.7, 21, 0, 38.5, 68.5, 5.1],
  },
  {
    folder: 'zhuge-wifi-4g',
    files: /trace$/,
    argv: pensieve,
    lane: 'downlink',
    table: [13, 1.08, 0.2, 120, 203, 0.58, 28.5, 634, 1.5],
  },
  {
    folder: 'mecperf-edge-cloud-rtt',
    files: /RTT.*\.txt$/,
    argv: '--row-delimiter , --delimiter _ --header no --column time=1:datetime --column rtt=2:ms',
    lane: 'rtt',
    table: [2, 39, 81, 12000],
  },
  {
    folder: 'fcc-broadband-2016',
    files: /trace_/,
    argv: pensieve,
    lane: 'downlink',
    table: [36, 14.8, 5, 1.39, 1, 0.38, 1.06, 3.63, 0.4],
  },
  {
    folder: 'oboe-sessions',
    files: /trace_.*\.txt$/,
    argv: '--direction down',
    lane: 'downlink',
    table: [172, 8.18, 3.3, 2.72, 1.51, 0.57, 2.7, 5.06, 0],
    tolerance: 0.012,
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
  // The table counts the file's segments as traces, and bounds its long rows otherwise.
  {
    folder: 'starlink-road',
    files: /iperf\.csv$/,
    argv: road,
    lane: 'downlink',
    table: [MANY, 4.82, 1, 268, NaN, NaN, 286, 408, NaN],
  },
  {
    folder: 'starlink-road',
    files: /iperf\.csv$/,
    argv: road,
    lane: 'uplink',
    table: [MANY, 4.58, 1, 18.1, 8.95, NaN, 16.9, 35, NaN],
  },
  {
    folder: 'starlink-road',
    files: /ping\.csv$/,
    argv: '--column time=timestamp_start:datetime --column end=timestamp_end:datetime --column rtt=ping_avg:ms',
    lane: 'rtt',
    table: [48, 57.6, 73.7, 1190],
  },
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
