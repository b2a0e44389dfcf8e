import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { randomStream } from '../../src/core/random.ts'
import { writeTrace } from '../../src/trace/file.ts'
import { drawLink, openLink, placeLink } from '../../src/trace/import/openLink.ts'
import { combineParts } from '../../src/trace/merge.ts'
import { rateStatistics } from '../../src/trace/statistics.ts'

const folder = mkdtempSync(join(tmpdir(), 'edgewise-open-link-'))
afterAll(() => rmSync(folder, { recursive: true }))
const at = (name: string) => join(folder, name)
const write = (name: string, text: string) => writeFileSync(at(name), text)

/** A packet every 10 ms: 1.2 Mbit/s for `seconds`. */
const packets = (seconds: number) => Array.from({ length: 100 * seconds }, (_, i) => 10 * (i + 1)).join('\n')
write('drive.up', packets(4))
write('drive.down', `${packets(4)}\n4000\n`)
write('other.down', packets(3))
write('ping.csv', 'time_s,rtt_ms\n1700000000,20\n1700000001,40\n1700000002,60\n')
write('rates.csv', 'time_s,uplink_mbps,downlink_mbps\n1700000001,1,2\n1700000002,3,4\n')
// Riiser's columns: the units are known, the direction is not.
const riiser = (ms: number, bytes: number) => `1285675666 ${ms} 59.9 10.7 ${bytes} 1000\n`
write('plain.txt', riiser(1000, 625_000) + riiser(2000, 875_000))
write('12.up', '1\n')

const draw = { modelSeconds: 10, binSeconds: 1 }
const place = at
const open = async (argument: string | readonly string[], declared = {}) => {
  const opened = await openLink({ argument, declared, place })
  return { opened, link: () => drawLink(opened, draw, randomStream(1, 'open link')) }
}

describe('a link is opened from any argument', () => {
  it('two directions of one drive share a window; others are paired', async () => {
    const drive = (await open('drive.up+drive.down', { rtt: 0.04 })).link()
    expect(drive.label).toContain('uplink: recorded raw-capacity "drive"')
    expect(drive.label).toContain('rtt: constant 40 ms')
    expect(drive.timeSeconds.length).toBe(5)
    const paired = (await open(['drive.up', 'other.down'], { rtt: 0.04 })).link()
    expect(paired.label).toMatch(/uplink: paired .*"drive\.up".*downlink: paired .*"other\.down"/)
    expect(paired.timeSeconds.length).toBe(4)
  })

  it('parts are named where a file does not say its direction, and in place of the other', async () => {
    const { link } = await open('up=plain.txt+drive.down+rtt=ping.csv')
    expect([...link().upBitsPerSecond]).toEqual([5e6, 7e6])
    expect(link().rttSeconds.length).toBe(2)
    // Where the downlink is declared, a file that does not say is the uplink.
    const half = await open('plain.txt', { downlink: 1e6, rtt: 0.01 })
    expect([...half.link().upBitsPerSecond]).toEqual([5e6, 7e6])
    // A name that says it is not overruled.
    await expect(
      open('drive.down', { downlink: 1e6, rtt: 0.01 }).then(({ link: of }) => of()),
    ).rejects.toThrow(/link: uplink[^]*never filled in/)
  })

  it('a Parquet, a constant and a synthetic link are links, too', async () => {
    const { opened } = await open('drive.up+drive.down', { rtt: 0.04 })
    if (opened.kind !== 'recorded') throw new Error('not recorded')
    writeTrace(at('drive.parquet'), combineParts(opened.parts))
    const link = (await open('drive.parquet')).link()
    expect([...link.rttSeconds].map((seconds) => Math.round(1e6 * seconds))).toEqual([4e4, 4e4, 4e4, 4e4])
    expect(link.label).toContain('uplink: recorded raw-capacity "drive"')
    expect((await open('constant:up=10,down=40,rtt=30')).link().rttSeconds[0]).toBe(0.03)
    const model = await openLink({ argument: join(import.meta.dirname, '../../traces/links/wifi-cafe.yaml') })
    expect(drawLink(model, draw, randomStream(1, 'm')).timeSeconds.length).toBeGreaterThan(5)
  })

  it.each([
    ['constant:up=1,down=1,rtt=1', { rtt: 0.1 }, /has all of them[^]*a constant rtt/],
    [join(import.meta.dirname, '../../traces/links/wifi-cafe.yaml'), { rtt: 0.1 }, /has all of them/],
    ['drive.up+other.up', {}, /other\.up[^]*ENOENT/],
    ['drive.up+up=plain.txt', {}, null],
    ['rates.csv+drive.up', {}, /link: uplink[^]*one recording that measures it[^]*up=FILE/],
    ['plain.txt', {}, /direction/],
    ['drive.up++', {}, /joined by \+/],
    ['drive.up', {}, /link: downlink[^]*--down-mbps/],
    ['constant:up=1', {}, /constant:up=<Mbit/],
  ])('%s with %j', async (argument, declared, message) => {
    const opening = open(argument, declared).then(({ opened, link }) =>
      opened.kind === 'recorded' && message === null ? null : link(),
    )
    if (message === null) expect(await opening).toBeNull()
    else await expect(opening).rejects.toThrow(message)
  })

  it('keeps its parts when its paths are put elsewhere', () => {
    const there = (path: string) => `/there/${path}`
    expect(placeLink('a.up+down=b.txt', there)).toBe('/there/a.up+down=/there/b.txt')
    expect(placeLink('constant:up=1,down=1,rtt=1', there)).toBe('constant:up=1,down=1,rtt=1')
  })
})

describe('parts combined into one trace', () => {
  const combine = async (argument: readonly string[], declared = {}, name?: string) => {
    const { opened } = await open(argument, declared)
    if (opened.kind !== 'recorded') throw new Error('not recorded')
    return combineParts(opened.parts, name)
  }

  it('overlapping clocks stay on their axis; what was recorded apart is paired and said to be', async () => {
    const clocks = await combine(['ping.csv', 'rates.csv'])
    expect([...clocks.timeSeconds].map((seconds) => seconds - 1.7e9)).toEqual([0, 1, 2, 3])
    expect([...clocks.uplinkBitsPerSecond]).toEqual([NaN, 1e6, 3e6])
    expect([...clocks.rttSeconds]).toEqual([0.02, 0.04, 0.06])
    const apart = await combine(['drive.up', 'other.down', 'ping.csv'], {}, 'mine')
    expect(apart.timeSeconds[0]).toBe(0)
    expect(apart.rttSeconds[0]).toBe(0.02)
    expect(apart.meta).toMatchObject({ name: 'mine', rateKind: 'raw-capacity' })
    expect(apart.meta.notes.join()).toContain('paired: not recorded together')
  })

  it('a declared part takes the place of a recorded one', async () => {
    const trace = await combine(['rates.csv'], { downlink: 9e6, rtt: 0.04 })
    expect([...trace.downlinkBitsPerSecond]).toEqual([9e6, 9e6])
    expect(trace.meta.notes).toContain('rtt: constant 40 ms, declared')
    await expect(combine([], { rtt: 1 })).rejects.toThrow(/one recording/)
  })
})

describe('a recording shorter than a bin', () => {
  it('repeats, as every link does, and has a rate', async () => {
    const { opened, link } = await open('12.up', { downlink: 1e6, rtt: 0.01 })
    expect([...link().upBitsPerSecond]).toEqual([12e6])
    const long = await open('12.up+down=plain.txt', { rtt: 0.01 })
    expect([...long.link().upBitsPerSecond]).toEqual([12e6, 12e6])
    if (opened.kind !== 'recorded') throw new Error('not recorded')
    const statistics = rateStatistics([combineParts(opened.parts)], 'uplinkBitsPerSecond')
    expect(statistics?.meanBitsPerSecond).toBeCloseTo(12e6, 3)
  })
})
