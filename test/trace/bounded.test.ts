import { describe, expect, it } from 'vitest'
import { encodeLine } from '../../src/core/journal/line.ts'
import { importTrace } from '../../src/trace/import/detect.ts'
import type { ImportOptions } from '../../src/trace/import/detect.ts'
import { resample } from '../../src/trace/resample.ts'
import { rateStatistics } from '../../src/trace/statistics.ts'
import { HEADER } from '../core/journal/support.ts'

const load = (text: string, options: ImportOptions = {}) =>
  importTrace(text, { where: 'x.up', origin: 'test', licence: 'own', direction: 'up' }, options)

/** Files of a few lines that say that days, years or ages went by. */
const columns = { time: { column: 1, unit: 's' }, uplink: { column: 2, unit: 'bit/s' } }
const SPANS: [string, string, ImportOptions][] = [
  ['mahimahi', '1\n2678400000\n', { format: 'mahimahi', binMilliseconds: 1 }],
  ['csv', '0,1\n1e12,2\n2e12,3\n', { columns }],
  ['csv', '0,1\n1e12,2\n2e12,3\n', { columns, maxStepSeconds: 1e15 }],
  ['pensieve', '0 1\n1e12 2\n', { format: 'pensieve', maxStepSeconds: 1e15 }],
  ['oboe', '0 5\n999999999990 5\n999999999991 6\n999999999993 6\n', {}],
  ['riiser', '1285675666 999999999999 59.9 10.7 288648 9999999\n', {}],
  ['nuttcp', 'nuttcp-t: x\n1 MB / 3599.00 sec = 1 Mbps\n', {}],
  ['ping', 'PING x\nicmp_seq=1 time=1 ms\nicmp_seq=4000000000 time=1 ms\n', {}],
]

describe('a file of a few lines makes a few rows, whatever time it says', () => {
  it.each(SPANS)('%s', (_, text, options) => {
    const trace = load(text, options)
    expect(trace.timeSeconds.length).toBeLessThan(12)
    rateStatistics([trace], 'uplinkBitsPerSecond')
  })

  it('an edgewise log has no more bins than bytes and a base', () => {
    const transfer = { kind: 'transfer', direction: 'up', bytes: 9999, seconds: 1 }
    const log = [HEADER, { ...transfer, atSeconds: 1 }, { ...transfer, atSeconds: 190_000 }].map(encodeLine)
    expect(() => load(log.join(''), { binMilliseconds: 10 })).toThrow(/bytes[^]*larger --bin-ms/)
    expect(load(log.join('')).timeSeconds).toHaveLength(190_001)
  })

  it('a link of it has no more bins than rows allow', () => {
    const trace = load('1\n2678400000\n', { format: 'mahimahi' })
    expect(() => resample(trace, 'uplinkBitsPerSecond', 0, 0.1, 26_784_000)).toThrow(/3 rows[^]*wider bins/)
    expect(resample(trace, 'uplinkBitsPerSecond', 0, 100, 26_784)).toHaveLength(26_784)
  })
})
