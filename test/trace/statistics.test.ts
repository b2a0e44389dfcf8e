import { describe, expect, it } from 'vitest'
import { importTrace } from '../../src/trace/import/detect.ts'
import { resample } from '../../src/trace/resample.ts'
import { rateStatistics } from '../../src/trace/statistics.ts'

const source = { where: 'x.up', origin: 'test', licence: 'own' }
const csv = (rows: string) => importTrace(`time_s,end_s,uplink_bps\n${rows}`, source)
const up = (rows: string) => rateStatistics([csv(rows)], 'uplinkBitsPerSecond')!

describe('statistics of rates', () => {
  it('are those of 1 s bins, whatever the length of the rows', () => {
    const trace = csv('0,0.3,10\n0.3,4.2,20\n4.2,4.9,30\n4.9,8,40\n')
    const bins = [...resample(trace, 'uplinkBitsPerSecond', 0, 1, 8)].sort((a, b) => a - b)
    const found = rateStatistics([trace], 'uplinkBitsPerSecond')!
    expect(found.meanBitsPerSecond).toBeCloseTo(bins.reduce((sum, value) => sum + value, 0) / 8, 9)
    expect([found.p5BitsPerSecond, found.p50BitsPerSecond, found.p95BitsPerSecond]).toEqual([
      bins[0],
      bins[4],
      bins[7],
    ])
    expect(found.silentShare).toBe(1)
  })

  it('do not reach over a gap into the next stretch', () => {
    expect(up('0,0.6,10\n0.8,1.4,30\n').meanBitsPerSecond).toBeCloseTo(20, 9)
  })

  it('exist for a recording of less than a second, also between longer ones', () => {
    expect(up('0,0.1,10\n0.1,0.2,30\n')).toMatchObject({ traces: 1, meanBitsPerSecond: 20 })
    const both = [csv('0,0.1,10\n'), csv('0,3,30\n')]
    expect(rateStatistics(both, 'uplinkBitsPerSecond')).toMatchObject({ traces: 2, meanBitsPerSecond: 25 })
  })

  it('cost what the rows are, not what the time is: three rows of 30 years', () => {
    const found = up('0,1e9,10\n1e9,2e9,20\n2e9,3e9,30\n')
    expect(found).toMatchObject({ meanBitsPerSecond: 20, p50BitsPerSecond: 20, p5BitsPerSecond: 10 })
    expect(found.hours).toBeCloseTo(3e9 / 3600, 3)
  })
})
